"""One event × one subscription, from its place in a lane until it is finished."""

from __future__ import annotations

from enum import Enum
from hashlib import sha1
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from consumer.event import Event, Record
    from consumer.flow import Flow
    from consumer.render import Rendered

# Our own namespace: ids of deliveries are stable only as long as this number is.
NAMESPACE = UUID("6f0a3a53-5d1c-4b8e-9d0a-5e5b1a3c7e11")
_NAMESPACE = NAMESPACE.bytes

# The digit that holds the variant: its two upper bits become 10.
VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def delivery_id(origin: Record, subscription: str) -> str:
    """Return the id that all attempts and replays of a delivery share (a UUIDv5 in text).

    The timestamp is part of it, since a topic made anew counts its offsets from 0 again. `subscription` is empty for
    a record that could not be read, and so concerns nobody yet.
    """
    name = f"{origin.topic}:{origin.partition}:{origin.offset}:{origin.timestamp}:{subscription}"
    # By hand what `str(uuid5(NAMESPACE, name))` says (RFC 9562, 5.5), in a third of its time: each delivery needs one.
    h = sha1(_NAMESPACE + name.encode(), usedforsecurity=False).hexdigest()
    return f"{h[:8]}-{h[8:12]}-5{h[13:16]}-{VARIANT[h[16]]}{h[17:20]}-{h[20:32]}"


class Place(Enum):
    """Where a delivery stands. Every place but the first is that of a lane's head."""

    FOLLOWING = "following"  # behind another delivery of its lane
    READY = "ready"  # may be attempted, its body being there
    FLYING = "flying"  # an attempt is under way
    WAITING = "waiting"  # until its due time
    WANTING = "wanting"  # its body is to be read from the log again
    ENDING = "ending"  # its dead letter is not durable yet
    DONE = "done"


class Delivery:
    """The state of one delivery in memory; `follower` is the next in its lane.

    `event` is there from the start where it was read live, and is given up once the delivery is owed: what is owed is
    read from the log again when its turn comes. `attempts` counts all, `delays` those that were waited for as owed.
    Times are seconds since 1970, 0 for none, since states keep them.
    """

    __slots__ = (
        "attempts",
        "begun",
        "by",
        "covered",
        "delays",
        "due",
        "error",
        "event",
        "first_attempt",
        "flow",
        "follower",
        "id",
        "lane",
        "late",
        "offset",
        "owed",
        "place",
        "read_again",
        "replays",
        "requests",
        "status",
        "step",
        "threaded",
        "ticket",
        "verdict",
        "wake_at",
    )

    def __init__(self, flow: Flow, offset: int, lane: int | None, ticket: int = 0) -> None:
        self.ticket = ticket  # the lower, the sooner it was taken in hand
        self.flow = flow
        self.offset = offset
        self.lane = lane  # None: it is in no lane, and nothing follows it
        self.event: Event | None = None
        self.id = ""
        self.replays = 0  # how often an operator has replayed it already
        self.follower: Delivery | None = None
        self.place = Place.FOLLOWING
        self.owed = False  # whether the state of its flow holds it, or will with the next cycle
        self.covered = False  # whether that is durable (or a durable `next` says it): it holds no watermark
        self.begun = 0.0  # when the attempt under way began (monotonic)
        self.threaded = False  # whether the attempt under way has a thread
        self.by = flow.channel.subscription  # as it was when the event came, or when it was attempted last
        self.late = False  # whether the attempt under way counts as one of what is owed
        self.read_again = False  # whether its event was
        self.wake_at = 0.0  # while it waits (monotonic)
        self.requests: list[Rendered] | None = None  # what the service recorded, once it was asked
        self.step = 0  # the first of `requests` that did not succeed yet
        self.attempts = 0
        self.delays = 0
        self.first_attempt = 0.0
        self.due = 0.0
        self.status = 0  # of the last attempt; 0 where no answer came
        self.error = ""
        self.verdict = ""  # why it becomes a dead letter as soon as its body is there

    def attach(self, event: Event, replays: int, *, again: bool = False) -> None:
        """Take the event in, read live or `again`; its record counts as held once more."""
        self.event = event
        self.by = self.flow.channel.subscription
        self.replays = replays
        self.id = delivery_id(event.origin, self.flow.channel.subscription.id)
        event.holders += 1
        if again:
            self.read_again = True
            self.flow.bodies += 1

    def detach(self) -> None:
        """Let the event go, and with it what the service made of it: another attempt begins with the first request."""
        event = self.event
        if event is not None:
            self.event = None
            self.begin_anew()
            event.release()
            if self.read_again:
                self.read_again = False
                self.flow.freed()

    def begin_anew(self) -> None:
        """Forget what the service made of the event: the next attempt asks it again, and sends the first request."""
        self.requests = None
        self.step = 0
