"""Nights in which Kafka, the registry or who writes events is at fault."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

from nights.night import Night, Place
from receivers import Answer, Got, Reply
from registries import LocalRegistry

from consumer.event import Outgoing


class CutOff(Night):
    """Nothing comes through to Kafka any more, and no connection is refused either."""

    alert: ClassVar[str] = "SprintlyNothingDurable"
    how: ClassVar[str] = "replicas cut off from Kafka while they deliver"
    done: ClassVar[str] = "Kafka brought back"
    own_kafka: ClassVar[bool] = True

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._held = False

    def prepare(self) -> None:
        self.made.environ["SPRINTLY_BOOTSTRAP_SERVERS"] = self.place.behind_gate
        super().prepare()

    def answer(self, got: Got) -> Answer:
        return Reply(204, hold=self._held)

    def provoke(self) -> None:
        assert self.place.cut
        self._held = True
        self.write(40)
        self.until(lambda: self.receiver.holding >= 40, "nothing is under way")
        self.place.cut()
        self._held = False
        self.receiver.release()

    def mend(self) -> None:
        assert self.place.join
        (create,) = self.section.do
        self.place.join()
        self.follow(create, says="was there")  # no topic is missing: it changes nothing


class NothingTaken(Night):
    """The topic of the dead letters is deleted, while there is one to write."""

    alert: ClassVar[str] = "SprintlyNothingDurable"
    how: ClassVar[str] = "the dead letters' topic deleted, and a delivery refused"
    done: ClassVar[str] = "topics create; the dead letter replayed"

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._refusing = False

    def answer(self, got: Got) -> Answer:
        return 400 if self._refusing and got.path == "/acme" else 204

    def provoke(self) -> None:
        self.made.delete_topic(f"{self.made.topic}.dlq")
        self._refusing = True
        self.write(1)
        self.until(lambda: any("cycle" in why for why in self.unready().values()), "no replica says so")

    def mend(self) -> None:
        (create,) = self.section.do
        reasons = [why["cycle"] for why in self.unready().values() if "cycle" in why]
        assert any("does not exist" in reason for reason in reasons), reasons
        self.follow(create, says="created")
        self.until(lambda: not self.unready(), "they do not go on by themselves", self.unready)
        self._refusing = False
        self.made.do("dlq", "replay", "--yes")


class LagGrowing(Night):
    """Somebody writes a flood of events, and receivers are slow."""

    alert: ClassVar[str] = "SprintlyLagGrowing"
    how: ClassVar[str] = (
        "300 events a second, of which one replica takes 50 (SPRINTLY_MAX_IN_HAND=50, answers after a second)"
    )
    done: ClassVar[str] = "flood stopped, a replica added"
    settings: ClassVar[dict[str, str]] = {
        "max_in_hand": "50",
        "max_in_hand_per_partition": "50",
        "catch_up": "50",
        "max_in_flight_per_subscription": "1024",
    }
    subscribed: ClassVar[tuple[str, ...]] = ("acme",)

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._slow = 0.0
        self._over = ExitStack()

    def prepare(self) -> None:
        self.made.create_topics(2)
        self.subscribe(*self.subscribed)
        self.start(0)
        self.deliver(40)

    def record(self, number: int) -> Outgoing:
        return super().record(number)._replace(key=None)  # whatever order

    def answer(self, got: Got) -> Answer:
        return Reply(204, delay=self._slow)

    def provoke(self) -> None:
        self._slow = 1.0
        self._over = self._stack.enter_context(ExitStack())
        self._over.enter_context(self.flood(300))

    def mend(self) -> None:
        self._over.close()
        self._slow = 0.0
        self.start_all()


class SchemasUnavailable(Night):
    """Events come by a schema that no replica has asked for yet, while the registry is down."""

    alert: ClassVar[str] = "SprintlySchemasUnavailable"
    how: ClassVar[str] = "events by a new schema, the registry answers 503"
    done: ClassVar[str] = "registry brought back"

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._registry = self._stack.enter_context(LocalRegistry())
        self._framed = False
        self.made.environ["SPRINTLY_SCHEMA_REGISTRY_URL"] = self._registry.url

    def prepare(self) -> None:
        self.made.do("schemas", "register")
        super().prepare()

    def provoke(self) -> None:
        self._registry.outage = 503
        self._framed = True
        self.write(40)

    def record(self, number: int) -> Outgoing:
        record = super().record(number)
        assert record.value
        # Confluent's framing, a zero and the schema's id, in the place of the single-object one's ten bytes.
        return record._replace(value=b"\0\0\0\0\1" + record.value[10:]) if self._framed else record

    def mend(self) -> None:
        (show,) = self.section.look
        self.follow(show, code=1)
        self._registry.outage = None
        self.follow(show)


class Poison(Night):
    """A producer writes what are no events, a thousand and more in a row."""

    alert: ClassVar[str] = "SprintlyPoison"
    how: ClassVar[str] = "1,500 records in a row that nobody can read"
    done: ClassVar[str] = "restarted with SPRINTLY_POISON_LIMIT=off, then without; dlq drop"

    def provoke(self) -> None:
        records = (Outgoing(self.made.topic, b"p", b"poison %d" % n, partition=0) for n in range(1500))
        self.made.produce_raw(*records)
        self.write(40)

    def mend(self) -> None:
        ((listed, show),) = self.section.look
        passing, usual, drop = self.section.do
        self.follow((listed,), says="5 dead letter(s)")
        self.follow((show,), ID=self.made.dead_letters()[0]["id"], says="not readable")
        self.stop_all()
        self.consume(passing)
        self.until(lambda: not self.missing(), "what came behind is not delivered", self.missing)
        self.stop_all()
        self.consume(usual)
        self.follow(drop)
