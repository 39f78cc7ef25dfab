"""The production core with a log, a clock and destinations of the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from clock import FakeClock

from consumer.attempts import Attempt, Spans
from consumer.catchup import Order
from consumer.codec import Codec
from consumer.control import NOTHING, Word, read_note, write_note, write_word
from consumer.core import Core, CoreSettings
from consumer.cycle import Cycle
from consumer.deadletter import DeadLetter, read_dead_letter
from consumer.event import Outgoing, Record, TopicPartition
from consumer.framing import confluent_frame
from consumer.metrics import Metrics
from consumer.router import Router
from consumer.state import State, read_state
from consumer.subscriptions import Subscription
from consumer.wire import Answer, AnswerKind
from services import Payload, RateLimit, RecordingSession, ServiceBase

OK = Answer(AnswerKind.ANSWERED, 204)
DOWN = Answer(AnswerKind.TRANSIENT, error="connection refused")
TOPIC = "sprintly.events"
LETTERS, CONTROL = f"{TOPIC}.dlq", f"{TOPIC}.control"
CODEC = Codec()


class Ping(ServiceBase):
    """
    Ping

    Tells a test what happened.
    """

    name = "ping"

    def send(self, payload: Payload) -> None:
        if payload["attributes"].get("title") == "unrenderable":
            raise KeyError("title")
        for step in range(payload["attributes"].get("parent", 1)):
            self.session.post(f"http://127.0.0.1/{step}", json=payload)


class Threaded(Ping):
    """
    Threaded

    Blocks a thread for as long as a test says.
    """

    name = "threaded"
    blocking = True


def subscription(id_: str, product: int | None = None, **more: Any) -> Subscription:
    return Subscription(id=id_, product=product, service=Ping({}, RecordingSession()), **more)


def threaded(id_: str) -> Subscription:
    return Subscription(id=id_, product=None, service=Threaded({}, RecordingSession()))


def paced(id_: str, per_second: float, burst: int) -> Subscription:
    """Return a subscription to a service that takes no more than so many requests a second."""
    limited = type("Paced", (Ping,), {"rate": RateLimit(per_second, burst), "__doc__": Ping.__doc__})
    return Subscription(id=id_, product=None, service=limited({}, RecordingSession()))


def value(number: int = 1, product: int = 1, *, action: str = "created", **attributes: Any) -> bytes:
    attributes = {"number": number, **attributes}
    return CODEC.encode({"action": action, "model": "Item", "product": {"id": product}, "attributes": attributes})


def refer(reference: int, number: int = 1) -> bytes:
    """Return an event whose schema a registry has under this id."""
    return CODEC.encode(
        {"model": "Item", "product": {"id": 1}, "attributes": {"number": number}}, confluent_frame(reference)
    )


def answered(status: int, body: bytes = b"", retry_after: str | None = None) -> Answer:
    return Answer(AnswerKind.ANSWERED, status, body, retry_after)


def destinations_down(core: Core) -> int:
    """Return how many subscriptions' destinations are believed down."""
    breakers = core.tally().breakers.items()
    return sum(count for (_, state), count in breakers if state in ("open", "probing"))


def flows_behind(core: Core) -> int:
    """Return how many pairs of subscription and partition are behind."""
    return sum(core.tally().behind.values())


Answers: TypeAlias = Mapping[str, Answer | None] | Callable[[Attempt], Answer | None]
"""How attempts end: by subscription, all else being well, or as the test decides; None leaves one in flight."""


def answer_to(attempt: Attempt, answers: Answers | None) -> Answer | None:
    if callable(answers):
        return answers(attempt)
    return (answers or {}).get(attempt.delivery.flow.channel.subscription.id, OK)


class Replica:
    """A core that is assigned partitions of a log; the log outlives it, as Kafka's does."""

    def __init__(
        self,
        subscriptions: Iterable[Subscription],
        *,
        log: Log | None = None,
        settings: CoreSettings | None = None,
        clock: FakeClock | None = None,
        codec: Codec = CODEC,
        verbose: bool = False,
        spans: Spans | None = None,
    ) -> None:
        self.log = log or Log()
        self.clock = clock or FakeClock()
        self.metrics = Metrics()
        router = Router(subscriptions)
        settings = settings or CoreSettings()
        self.core = Core(settings, codec, router, self.clock, self.metrics, verbose=verbose, spans=spans)
        self.in_flight: dict[str, Attempt] = {}
        self.read: dict[TopicPartition, int] = {}

    def assign(self, *partitions: int, topic: str = TOPIC, topic_id: str = "") -> None:
        tps = [TopicPartition(topic, number) for number in partitions]
        self.core.assigned(tps)
        self.hear()
        for tp in tps:
            self.read[tp] = self.log.committed.get(tp, 0)
            applied = read_note(self.log.notes.get(tp, write_note(NOTHING)))
            self.core.begin(tp, self.read[tp], self.log.states_of(tp), topic_id, applied)

    def hear(self) -> None:
        """Take in what was said of subscriptions since the last time."""
        self.core.told(self.log.control[self.core.told_up_to.offset :], len(self.log.control))

    def fetch(self) -> None:
        """Hand over everything that the log holds and that was not handed over yet."""
        for tp, offset in self.read.items():
            records = self.log.records.get(tp, [])[offset:]
            self.core.received(records)
            self.read[tp] = offset + len(records)

    def turn(self) -> list[Attempt]:
        """Let in what may come in, and start what may start; returns what was started now."""
        started: list[Attempt] = []
        while True:
            while self.core.could_admit:
                self.core.admit()
            begun = list(self.core.attempts())
            for attempt in begun:
                assert attempt.delivery.id not in self.in_flight, "a delivery is attempted twice at once"
                self.in_flight[attempt.delivery.id] = attempt
            started += begun
            if not self.read_again() and not begun and not self.core.could_admit:
                return started

    def read_again(self) -> bool:
        """Read what the core wants of the log; False if it wants nothing."""
        orders = list(self.core.reads())
        for order in orders:
            self.core.read_again(order, *self.log.run(order))
        return bool(orders)

    def answer(self, attempt: Attempt, answer: Answer = OK) -> None:
        del self.in_flight[attempt.delivery.id]
        self.core.answered(attempt.delivery, answer)

    def run(self, answer: Answer = OK, most: int = 10_000) -> list[str]:
        """Fetch, start and answer until nothing starts any more; returns `subscription:partition:offset` in order."""
        self.fetch()
        seen = []
        while started := self.turn():
            for attempt in started:
                seen.append(place(attempt))
                self.answer(attempt, answer)
                most -= 1
            assert most > 0, "it never comes to rest"
        return seen

    def serve(self, answers: Answers | None = None) -> list[str]:
        """Fetch, start and answer until nothing starts any more; returns what was started, as `run` does."""
        self.fetch()
        seen = []
        while started := self.turn():
            for attempt in started:
                seen.append(place(attempt))
                answer = answer_to(attempt, answers)
                if answer is not None:
                    self.answer(attempt, answer)
        return seen

    def live(self, seconds: float, answers: Answers | None = None, *, step: float = 1.0) -> list[str]:
        """Let time pass as it does in a running replica: a tick, a turn and a cycle each `step` seconds."""
        seen = []
        for _ in range(round(seconds / step)):
            self.pass_time(step)
            seen += self.serve(answers)
            self.commit()
        return seen

    def pass_time(self, seconds: float) -> None:
        """Let time pass, with all that the core does as it does."""
        self.clock.advance(seconds)
        self.core.tick()

    def commit(self) -> Cycle:
        """Make a cycle durable."""
        cycle = self.core.cycle()
        self.log.commit(cycle)
        self.core.durable(cycle)
        return cycle


class Log:
    """What survives a crash: records, committed offsets, dead letters, states."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.dead: dict[bytes, Outgoing] = {}
        self.states: dict[bytes, State] = {}
        self.state_records = 0  # that were ever written
        self.begins: dict[TopicPartition, int] = {}  # where the log begins, once some of it has expired
        self.records_read_again = 0
        self.control: list[Record] = []  # what was said of subscriptions
        self.notes: dict[TopicPartition, str] = {}  # the metadata of committed offsets

    def say(self, word: Word) -> None:
        """Write a word to the control topic."""
        self._keep_word(write_word(CONTROL, word))

    def _keep_word(self, record: Outgoing) -> None:
        self.control.append(Record(CONTROL, 0, len(self.control), record.key, record.value, 0))

    def append(
        self,
        data: bytes | None,
        *,
        key: bytes | None = b"k",
        partition: int = 0,
        topic: str = TOPIC,
        headers: tuple[tuple[str, bytes | None], ...] = (),
    ) -> Record:
        records = self.records.setdefault(TopicPartition(topic, partition), [])
        record = Record(topic, partition, len(records), key, data, 1_699_999_999_000, headers)
        records.append(record)
        return record

    def commit(self, cycle: Cycle) -> None:
        for record in cycle.records:
            assert record.key is not None
            if record.topic == LETTERS:
                self.dead[record.key] = record
            elif record.topic == CONTROL:
                self._keep_word(record)
            else:
                self._keep(record)
        self.committed |= cycle.offsets
        self.notes |= {tp: commit.metadata for tp, commit in cycle.commits.items()}

    def _keep(self, record: Outgoing) -> None:
        assert record.key is not None
        self.state_records += 1
        if record.value is None:
            self.states.pop(record.key, None)
        else:
            stored = Record(record.topic, record.partition or 0, 0, record.key, record.value, 0)
            self.states[record.key] = read_state(stored)

    def states_of(self, tp: TopicPartition) -> list[State]:
        """Return what those who owned a partition left owed."""
        return [state for state in self.states.values() if state.partition == tp]

    def run(self, order: Order) -> tuple[list[Record], int, int]:
        """Return what an order asks for, where it ends, and where the log begins if that is above."""
        begins = self.begins.get(order.partition.tp, 0)
        begin = max(order.offset, begins)
        some = self.records.get(order.partition.tp, [])[begin : begin + order.most]
        self.records_read_again += len(some)
        return some, begin + len(some), begins if begins > order.offset else 0

    def state(self, subscription_id: str, partition: int = 0) -> State | None:
        """Return what stands in the state topic of a subscription in a partition."""
        states = self.states_of(TopicPartition(TOPIC, partition))
        return next((state for state in states if state.subscription == subscription_id), None)

    @property
    def letters(self) -> list[DeadLetter]:
        """Return the dead letters, in the order in which they were written first."""
        return [
            read_dead_letter(Record(LETTERS, 0, 0, letter.key, letter.value, 0, letter.headers))
            for letter in self.dead.values()
        ]


def place(attempt: Attempt) -> str:
    flow = attempt.delivery.flow
    return f"{flow.channel.subscription.id}:{flow.partition.tp.partition}:{attempt.delivery.offset}"
