"""Subscriptions and their destinations, which are up, down, hang or ask to wait, and items that fail."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import NamedTuple

from harness import OK, Ping, answered

from consumer.attempts import Attempt
from consumer.event import TopicPartition
from consumer.subscriptions import Subscription
from consumer.wire import Answer, AnswerKind
from services import RateLimit, RecordingSession

TIMEOUT = 15.0  # seconds after which the transport ends an attempt
ALWAYS, REFUSED = 10**6, -1  # beside so many transient failures


class Paced(Ping):
    """
    Paced

    A destination that takes so many pings and no more.
    """

    name = "paced"
    rate = RateLimit(1.0, 2)


class Threaded(Ping):
    """
    Threaded

    Sends by itself, on a thread.
    """

    name = "threaded"
    blocking = True


def _subscription(id_: str, service: type[Ping] = Ping, **more: object) -> Subscription:
    return Subscription(id=id_, product=None, service=service({}, RecordingSession()), **more)  # type: ignore[arg-type]


ALL = {
    "a": _subscription("a"),
    "b": _subscription("b"),
    "loose": _subscription("loose", ordered=False),
    "shifting": _subscription("shifting"),
    "paced": _subscription("paced", Paced),
    "threaded": _subscription("threaded", Threaded),
}
CHANGES = ("same", "moved", "moved", "other", "aside", "mended")
"""What may become of a subscription while a replica runs."""
SHIFTS = (ALL["shifting"], _subscription("shifting", events=("*.created",)), None)  # as replicas may be configured


def moved(before: Subscription) -> Subscription:
    """Return a subscription as it is with other options: with a service of its own."""
    return replace(before, service=type(before.service)({}, RecordingSession()))


def other(before: Subscription) -> Subscription:
    """Return a subscription with another service, where that changes no more than its rate."""
    service = {Paced: Ping, Ping: Paced}.get(type(before.service)) if before.id == "paced" else None
    return moved(before) if service is None else replace(before, service=service({}, RecordingSession()))


class Mode(Enum):
    """How a destination does."""

    UP = "up"
    DOWN = "down"
    REFUSING = "refusing"  # as a URL that was revoked
    HANGING = "hanging"
    THROTTLING = "throttling"
    GONE = "gone"  # it answers 410


class Item(NamedTuple):
    """An event for one subscription, by where it was first read; no subscription where nobody can read it."""

    subscription: str
    tp: TopicPartition
    offset: int


class Flight(NamedTuple):
    """An attempt under way."""

    attempt: Attempt
    item: Item
    begun: float
    last: bool  # whether it is the last request of its delivery

    @property
    def gone(self) -> bool:
        return self.attempt.delivery.flow.partition.gone


class Receivers:
    """All destinations."""

    def __init__(self) -> None:
        self.modes = dict.fromkeys(ALL, Mode.UP)
        self.failing: dict[Item, int] = {}
        self.broken: set[tuple[TopicPartition, int]] = set()  # what the services cannot render

    def heal(self) -> None:
        self.modes = dict.fromkeys(ALL, Mode.UP)

    def answer(self, flight: Flight, now: float, wait: str | None) -> Answer | None:
        """Return how an attempt ends, None while it does not; `wait` is what a throttling one asks for."""
        item, mode = flight.item, self.modes[flight.item.subscription]
        if mode is Mode.HANGING:
            timed_out = now - flight.begun >= TIMEOUT and item.subscription != "threaded"  # a thread cannot be ended
            return Answer(AnswerKind.TRANSIENT, error="timed out") if timed_out else None
        if item.subscription == "threaded" and (item.tp, item.offset) in self.broken:
            return Answer(AnswerKind.BROKEN, error="KeyError")
        if mode is Mode.UP:
            return self._of_item(item)
        if mode is Mode.DOWN:
            return Answer(AnswerKind.TRANSIENT, error="connection refused")
        if mode is Mode.THROTTLING:
            return answered(429, retry_after=wait)
        return answered(401 if mode is Mode.REFUSING else 410)

    def _of_item(self, item: Item) -> Answer:
        left = self.failing.get(item, 0)
        if left == 0:
            return OK
        if left == REFUSED:
            return answered(400)
        self.failing[item] = left if left == ALWAYS else left - 1
        return answered(500)
