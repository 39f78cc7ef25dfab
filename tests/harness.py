"""The production core with a log, a clock and destinations of the test's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clock import FakeClock

from consumer.codec import Codec
from consumer.core import Attempt, Core, CoreSettings
from consumer.cycle import Cycle
from consumer.event import Outgoing, Record, TopicPartition
from consumer.framing import confluent_frame
from consumer.metrics import Metrics
from consumer.router import Router
from consumer.subscriptions import Subscription
from consumer.wire import Answer, AnswerKind
from services import Payload, RecordingSession, ServiceBase

OK = Answer(AnswerKind.ANSWERED, 204)
TOPIC = "sprintly.events"
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


def subscription(id_: str, product: int | None = None, **more: Any) -> Subscription:
    return Subscription(id=id_, product=product, service=Ping({}, RecordingSession()), **more)


def value(number: int = 1, product: int = 1, **attributes: Any) -> bytes:
    payload = {"model": "Item", "product": {"id": product}, "attributes": {"number": number, **attributes}}
    return CODEC.encode(payload)


def refer(reference: int, number: int = 1) -> bytes:
    """Return an event whose schema a registry has under this id."""
    return CODEC.encode(
        {"model": "Item", "product": {"id": 1}, "attributes": {"number": number}}, confluent_frame(reference)
    )


def answered(status: int, body: bytes = b"", retry_after: str | None = None) -> Answer:
    return Answer(AnswerKind.ANSWERED, status, body, retry_after)


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
    ) -> None:
        self.log = log or Log()
        self.clock = clock or FakeClock()
        self.metrics = Metrics()
        self.core = Core(settings or CoreSettings(), codec, Router(subscriptions), self.clock, self.metrics)
        self.in_flight: dict[str, Attempt] = {}
        self.read: dict[TopicPartition, int] = {}

    def assign(self, *partitions: int, topic: str = TOPIC) -> None:
        tps = [TopicPartition(topic, number) for number in partitions]
        self.core.assigned(tps)
        self.read |= {tp: self.log.committed.get(tp, 0) for tp in tps}

    def fetch(self) -> None:
        """Hand over everything that the log holds and that was not handed over yet."""
        for tp, offset in self.read.items():
            records = self.log.records.get(tp, [])[offset:]
            self.core.received(records)
            self.read[tp] = offset + len(records)

    def turn(self) -> list[Attempt]:
        """Let in what may come in, and start what may start; returns what was started now."""
        while self.core.admit():
            pass
        started = list(self.core.attempts())
        for attempt in started:
            assert attempt.delivery.id not in self.in_flight, "a delivery is attempted twice at once"
            self.in_flight[attempt.delivery.id] = attempt
        return started

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

    def commit(self) -> Cycle:
        """Make a cycle durable."""
        cycle = self.core.cycle()
        self.log.commit(cycle)
        self.core.durable(cycle)
        return cycle


class Log:
    """What survives a crash: records, committed offsets, dead letters."""

    def __init__(self) -> None:
        self.records: dict[TopicPartition, list[Record]] = {}
        self.committed: dict[TopicPartition, int] = {}
        self.dead: dict[bytes, Outgoing] = {}

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
            self.dead[record.key] = record
        self.committed |= cycle.offsets


def place(attempt: Attempt) -> str:
    record = attempt.delivery.event.record
    return f"{attempt.delivery.flow.channel.subscription.id}:{record.partition}:{record.offset}"
