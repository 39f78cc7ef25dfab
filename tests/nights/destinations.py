"""Nights in which a receiver is at fault: it is down, refuses, is slow, or is away until its events leave the topic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from confluent_kafka import Producer
from nights.night import Night, Place, number_of
from receivers import Answer, Got, Reply

from consumer.event import Outgoing

HOUR = 3600


class _Refused(Night):
    """Nights in which paths are answered with what `statuses` has for them."""

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self.statuses: dict[str, int] = {}

    def answer(self, got: Got) -> Answer:
        return self.statuses.get(got.path, 204)


class DestinationDown(_Refused):
    """One receiver's credentials expire; another one is gone for good."""

    alert: ClassVar[str] = "SprintlyDestinationDown"
    how: ClassVar[str] = "one receiver answers 401, another one 404"
    done: ClassVar[str] = "401: enable, dlq replay; 404: disable, removed, forget, dlq drop"
    subscribed: ClassVar[tuple[str, ...]] = ("acme", "former", "other")

    def provoke(self) -> None:
        self.statuses = {"/acme": 401, "/former": 404}
        self.write(400)

    def mend(self) -> None:
        (owed,) = self.section.look
        enable, disable, forget = self.section.do
        said = self.follow(owed, says="the receiver answered 401")
        assert "former" in said, said
        self.statuses = {"/former": 404}
        self.follow(enable, ID="acme")
        self.follow(disable, ID="former")
        self.gone.add("former")
        self.subscribe("acme", "other")
        self.until(lambda: self._standing("former") == "gone", "it is not gone", self.owed)
        self.follow(forget, ID="former")

    def _standing(self, id_: str) -> str:
        return "".join(row["standing"] for row in self.owed() if row["subscription"] == id_)


class OwedTooOld(_Refused):
    """Events are more than six days old, and two receivers are still down."""

    alert: ClassVar[str] = "SprintlyOwedTooOld"
    how: ClassVar[str] = "events whose timestamps are 6 days and 1 hour old, two receivers down"
    done: ClassVar[str] = "retention lengthened; one mended and enabled, one enable --skip"
    subscribed: ClassVar[tuple[str, ...]] = ("acme", "former", "other")
    own_kafka: ClassVar[bool] = True
    old: ClassVar[int] = 145 * HOUR
    fate: ClassVar[str] = "passed over on purpose"
    severities: ClassVar[set[str]] = {"page", "ticket"}

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._age = self.old

    def write(self, count: int) -> range:
        """Write events as they would have been written days ago, until these are over."""
        if not self._age:
            return super().write(count)
        numbers = range(self._written, self._written + count)
        write_old(self.place.bootstrap, [self.record(number) for number in numbers], self._age)
        self._written += count
        return numbers

    def provoke(self) -> None:
        self.statuses = {"/acme": 503, "/former": 503}
        self._owed = self.write(60)
        self._age = 0
        self.until(lambda: self._severities() == self.severities, "it is not told to all", self._severities)

    def _severities(self) -> set[str]:
        alerts = self.prometheus.alerts()
        return {alert.labels["severity"] for alert in alerts if (alert.name, alert.state) == (self.alert, "firing")}

    def mend(self) -> None:
        ((owed, listed),) = self.section.look
        longer, enable, skip, usual = self.section.do
        self.follow((owed,), says="the receiver answered 503")
        self.follow((listed,), says="former")
        self.follow(longer)
        self.statuses = {"/former": 503}
        self.follow(enable, ID="acme")
        self.follow(skip, ID="former")
        self.lost["former"] = set(self._owed) - self.delivered("former")
        self.statuses = {}
        self.until(lambda: not self.missing(), "not all is delivered", self.missing)
        self.follow(usual)


class Expired(_Refused):
    """Somebody lowers the topic's retention while a receiver is down."""

    alert: ClassVar[str] = "SprintlyExpired"
    how: ClassVar[str] = "a receiver down, retention.ms lowered to 1 s until Kafka has dropped what it is owed"
    done: ClassVar[str] = "retention restored; receiver mended; dlq replay"
    own_kafka: ClassVar[bool] = True

    def provoke(self) -> None:
        self.statuses = {"/acme": 503}
        numbers = self.write(400)
        self.until(lambda: self.delivered("other") >= set(numbers), "the other one does not get on")
        self.until(lambda: self.made.finished(440), "not all is owed")
        self._retain("1000")
        self.until(self._gone, "Kafka keeps it all")
        self.lost["acme"] = set(numbers)

    def _retain(self, milliseconds: str) -> None:
        assert self.place.container
        entity = ("--entity-type", "topics", "--entity-name", self.made.topic)
        where = ("--bootstrap-server", self.place.bootstrap)
        change = ("--alter", "--add-config", f"retention.ms={milliseconds}")
        self.place.container.program("kafka-configs.sh", *where, *entity, *change)

    def _gone(self) -> bool:
        return not list(self.made.kafka.read(self.made.topic))

    def mend(self) -> None:
        ((describe, owed),) = self.section.look
        longer, replay = self.section.do
        self.follow((describe,), says="retention.ms=1000")
        self.follow((owed,))
        assert "what was owed is not in the log any more" in "".join(r.text for r in self.running.values())
        self.follow(longer)
        self.statuses = {}
        self.follow(replay)

    def well(self) -> str:
        found = self.prometheus.query("sum(sprintly_expired_total)")
        counted = int(found[0].value) if found else 0
        lost = {number for number in self.lost["acme"] if number not in self.delivered("acme")}
        assert counted >= len(lost) > 0, f"{counted} are counted as expired, and {len(lost)} did not come"
        self.lost["acme"] = lost
        return f"{counted} counted as expired"


class DeadLetters(Night):
    """A receiver refuses some events for good."""

    alert: ClassVar[str] = "SprintlyDeadLetters"
    how: ClassVar[str] = "a receiver refuses every fifth event, 20 in all"
    done: ClassVar[str] = "receiver mended; one dropped, the rest replayed"
    fate: ClassVar[str] = "dropped on purpose"

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._refusing = False

    def answer(self, got: Got) -> Answer:
        return 400 if self._refusing and got.path == "/acme" and number_of(got) % 5 == 0 else 204

    def provoke(self) -> None:
        self._refusing = True
        self.write(100)

    def mend(self) -> None:
        ((summary, listed, show),) = self.section.look
        replay, drop = self.section.do
        self.until(lambda: len(self.made.dead_letters()) == 20, "there are not as many as were refused")
        self.follow((summary,), says="20")
        self.follow((listed,), says="20 dead letter(s)")
        unwanted = self.made.dead_letters()[0]
        said = self.follow((show,), ID=unwanted["id"], says="permanent")
        self._refusing = False
        self.follow(drop, ID=unwanted["id"])
        number = int(said.partition('"score": "')[2].partition('"')[0])
        self.lost["acme"] = {number}
        dry, really = replay
        self.follow((dry,), says="19")
        self.follow((really,), says="19 dead letter(s) sent again")


class Slow(Night):
    """A receiver takes its time, and each item's events wait for each other."""

    alert: ClassVar[str] = "SprintlySlow"
    how: ClassVar[str] = "a receiver answers after 8 s, 12 events of each item"
    done: ClassVar[str] = "receiver mended"

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._delay = 0.0

    def answer(self, got: Got) -> Answer:
        return Reply(204, delay=self._delay if got.path == "/acme" else 0.0)

    def provoke(self) -> None:
        self._delay = 8.0
        self.write(40 * 12)

    def mend(self) -> None:
        (owed,) = self.section.look
        self.follow(owed, says="acme")
        self._delay = 0.0


def write_old(bootstrap: str, records: list[Outgoing], age: float) -> None:
    """Write records as they would have been written so many seconds ago."""
    producer = Producer({"bootstrap.servers": bootstrap, "partitioner": "murmur2_random"})
    at = int((time.time() - age) * 1000)
    for record in records:
        producer.produce(record.topic, record.value, record.key, timestamp=at)
    assert producer.flush(30) == 0
