"""What becomes of each delivery, as lines for the log that all carry its id: who has one can follow it.

A delivery that goes well says nothing. Those that do not may be thousands at once, when a destination is down: of what
happens to one subscription the first is told, and then, each half minute, how many more there were and the last of
them. `verbose` tells all: each attempt as well.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from consumer.reminder import REMIND

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.deadletter import DeadLetter
    from consumer.delivery import Delivery
    from consumer.event import Event, Record
    from consumer.notices import Notices
    from consumer.outcome import Outcome
    from consumer.tracecontext import TraceContext

MOST_CROWDS = 10_000  # dead letters name subscriptions that nobody knows any more; further ones share a line

Fields: TypeAlias = dict[str, object]


class Kind(NamedTuple):
    """Something that may happen to many deliveries: the line about one, and the one about more of them."""

    level: str
    one: str
    more: str


FAILED = Kind("warning", "a delivery failed for the first time", "more deliveries failed for the first time")
WAITS = Kind("info", "a receiver asks to wait", "a receiver has asked to wait more often")
OWED = Kind("info", "a delivery failed, and is owed", "more deliveries failed, and are owed")
DEAD = Kind("warning", "a delivery is a dead letter", "more deliveries are dead letters")
REPLAYED = Kind("info", "a delivery is replayed", "more deliveries are replayed")
AT_LAST = Kind("info", "delivered at last", "more were delivered at last")


class Crowd:
    """What happened alike to deliveries of one subscription: when it was told last, and how often since."""

    __slots__ = ("count", "last", "told")

    def __init__(self, now: float) -> None:
        self.told = now
        self.count = 0
        self.last: Fields = {}


class Story:
    """Tells what becomes of deliveries."""

    def __init__(
        self, notices: Notices, clock: Clock, *, verbose: bool = False, most_crowds: int = MOST_CROWDS
    ) -> None:
        """Write it down in `notices`. Whether it is `verbose` is for callers to ask, before they tell of attempts."""
        self._notices = notices
        self._clock = clock
        self.verbose = verbose
        self._most = most_crowds
        self._crowds: dict[tuple[Kind, str], Crowd] = {}

    # -- each attempt: only to be told where it is verbose

    def begun(self, delivery: Delivery, trace: TraceContext | None) -> None:
        """Tell that an attempt begins."""
        fields = _of(delivery, trace)
        if delivery.requests is not None and len(delivery.requests) > 1:
            fields["request"] = delivery.step + 1
        self._notices.add("debug", "an attempt begins", **fields, attempt=delivery.attempts + 1)

    def answered(self, delivery: Delivery, outcome: Outcome, seconds: float) -> None:
        """Tell how an attempt ended."""
        fields = {**_of(delivery), "attempt": delivery.attempts + 1, "outcome": outcome.verdict.value}
        self._notices.add("debug", "an attempt ended", **fields, **_why(outcome), seconds=round(seconds, 4))

    def skipped(self, delivery: Delivery) -> None:
        """Tell that the service has nothing to send."""
        self._notices.add("debug", "there is nothing to send", **_of(delivery))

    # -- what is not as it should be, and its end

    def failed(self, delivery: Delivery, outcome: Outcome, pause: float) -> None:
        """Tell that an attempt failed, and is repeated after `pause` seconds."""
        fields = {**_of(delivery), "attempt": delivery.attempts, **_why(outcome), "again_in": round(pause, 3)}
        if delivery.attempts == 1:
            self._tell(FAILED, fields)
        elif self.verbose:
            self._notices.add("debug", "a delivery failed again", **fields)

    def waits(self, delivery: Delivery, outcome: Outcome, wait: float) -> None:
        """Tell that a receiver wants nothing further for `wait` seconds."""
        self._tell(WAITS, {**_of(delivery), **_why(outcome), "wait": round(wait, 3)})

    def owed(self, delivery: Delivery, outcome: Outcome, due: float = 0.0) -> None:
        """Tell that a delivery is owed until `due` (seconds since 1970), or until its destination is back."""
        until = datetime.fromtimestamp(due, UTC).isoformat(timespec="seconds") if due else "its destination is back"
        self._tell(OWED, {**_of(delivery), **_why(outcome), "attempts": delivery.attempts, "until": until})

    def dead(self, letter: DeadLetter, trace: TraceContext | None) -> None:
        """Tell that a dead letter is durable."""
        fields = _fields(letter.id, letter.origin, letter.subscription, letter.service, trace)
        fields |= {"stage": letter.stage.value, "reason": letter.reason, "error": letter.error}
        fields |= {"status": letter.status} if letter.status else {}
        self._tell(DEAD, {**fields, "attempts": letter.attempts, "replays": letter.replays})

    def replayed(self, id_: str, event: Event, subscription: str, service: str, replays: int) -> None:
        """Tell that an operator has sent a dead letter again."""
        fields = _fields(id_, event.origin, subscription, service, event.trace)
        self._tell(REPLAYED, {**fields, "replays": replays})

    def at_last(self, delivery: Delivery) -> None:
        """Tell that a delivery was made that had not gone well, or had been a dead letter."""
        fields: Fields = {**_of(delivery), "attempts": delivery.attempts + 1, "replays": delivery.replays}
        self._tell(AT_LAST, {**fields, "seconds": round(self._clock.time() - delivery.first_attempt, 3)})

    # -- crowds

    def tick(self) -> None:
        """Tell of those that were only counted, half a minute after the last line about them."""
        if not self._crowds:
            return
        now = self._clock.monotonic()
        for key, crowd in [each for each in self._crowds.items() if now - each[1].told >= REMIND]:
            if not crowd.count:
                del self._crowds[key]  # it is over
                continue
            kind, _ = key
            self._notices.add(kind.level, kind.more, count=crowd.count, **crowd.last)  # of the last, with its id
            crowd.told, crowd.count = now, 0

    def _tell(self, kind: Kind, fields: Fields) -> None:
        key = kind, str(fields["subscription"])
        if key not in self._crowds and len(self._crowds) >= self._most:
            key = kind, ""
        crowd = self._crowds.get(key)
        if crowd is None:
            self._crowds[key] = Crowd(self._clock.monotonic())
            self._notices.add(kind.level, kind.one, **fields)
            return
        crowd.count += 1
        crowd.last = fields
        if self.verbose:
            self._notices.add("debug", kind.one, **fields)


def _of(delivery: Delivery, trace: TraceContext | None = None) -> Fields:
    event, subscription = delivery.event, delivery.flow.channel.subscription
    assert event is not None
    return _fields(delivery.id, event.origin, subscription.id, subscription.service.name, trace or event.trace)


def _fields(id_: str, origin: Record, subscription: str, service: str, trace: TraceContext | None) -> Fields:
    place = f"{origin.topic}[{origin.partition}]@{origin.offset}"
    fields: Fields = {"delivery": id_, "record": place, "subscription": subscription, "service": service}
    return fields if trace is None else {**fields, "trace_id": trace.trace_id}


def _why(outcome: Outcome) -> Fields:
    """Return what there is to say of an outcome: a status, an error."""
    said: Fields = {"status": outcome.status, "error": outcome.error}
    return {name: value for name, value in said.items() if value}
