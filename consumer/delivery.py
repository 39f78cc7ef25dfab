"""One event × one subscription, from its place in a lane until it is finished."""

from __future__ import annotations

from hashlib import sha1
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from consumer.event import Event, Record
    from consumer.partition import Flow
    from consumer.render import Rendered

# Our own namespace: ids of deliveries are stable only as long as this number is.
NAMESPACE = UUID("6f0a3a53-5d1c-4b8e-9d0a-5e5b1a3c7e11")

# The digit that holds the variant: its two upper bits become 10.
VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def delivery_id(origin: Record, subscription: str) -> str:
    """Return the id that all attempts and replays of a delivery share (a UUIDv5 in text).

    The timestamp is part of it, since a topic made anew counts its offsets from 0 again. `subscription` is empty for
    a record that could not be read, and so concerns nobody yet.
    """
    name = f"{origin.topic}:{origin.partition}:{origin.offset}:{origin.timestamp}:{subscription}"
    # By hand what `str(uuid5(NAMESPACE, name))` says (RFC 9562, 5.5), in a third of its time: each delivery needs one.
    h = sha1(NAMESPACE.bytes + name.encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


class Delivery:
    """The state of one delivery in memory; `follower` is the next in its lane."""

    __slots__ = (
        "attempts",
        "error",
        "event",
        "first_attempt",
        "flow",
        "follower",
        "id",
        "replays",
        "requests",
        "status",
        "step",
    )

    def __init__(self, event: Event, flow: Flow, replays: int = 0) -> None:
        self.event = event
        self.flow = flow
        self.replays = replays  # how often an operator has replayed it already
        self.follower: Delivery | None = None
        self.id = delivery_id(event.origin, flow.channel.subscription.id)
        self.requests: list[Rendered] | None = None  # what the service recorded, once it was asked
        self.step = 0  # the first of `requests` that did not succeed yet
        self.attempts = 0
        self.first_attempt: float | None = None  # monotonic
        self.status = 0  # of the last attempt; 0 where no answer came
        self.error = ""
