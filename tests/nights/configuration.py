"""Nights in which subscriptions are at fault: records of their topic cannot be used, or a changed file is refused."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from nights.night import Night, Place

from consumer.event import Outgoing


class SetAside(Night):
    """The records of two subscriptions are broken: of one that was active, and of one that is new."""

    alert: ClassVar[str] = "SprintlySubscriptionsSetAside"
    how: ClassVar[str] = "two broken records in the subscriptions topic: of one that was active, of one that is new"
    done: ClassVar[str] = "subscriptions set; the new one backfilled"

    def __init__(self, place: Place, folder: Path) -> None:
        super().__init__(place, folder)
        self._topic = f"{self.made.topic}.subscriptions"
        self.made.environ["SPRINTLY_SUBSCRIPTIONS"] = f"kafka:{self._topic}"

    def prepare(self) -> None:
        self.made.create_topics()
        self.subscribe(*self.subscribed)
        self.made.do("subscriptions", "set", str(self.made.subscriptions))
        self.start_all()
        self.deliver(40)

    def provoke(self) -> None:
        for id_ in ("acme", "new"):
            self.made.produce_raw(Outgoing(self._topic, id_.encode(), b'{"id": "%s"}' % id_.encode(), partition=0))
        self.until(lambda: self._set_aside() == 2 * self.replicas, "they are not set aside")
        self.write(40)

    def mend(self) -> None:
        (check,) = self.section.look
        written, backfill = self.section.do
        said = self.follow(check, code=2, says="acme")
        assert "new" in said, said
        self.subscribe("acme", "other", "new")
        self.follow(written, FILE=str(self.made.subscriptions))
        self.follow(check, says="3 subscription(s), and nothing is wrong with them")
        self.follow(backfill, ID="new")
        self.until(lambda: self._set_aside() == 0, "they have not taken it in")

    def _set_aside(self) -> float:
        metrics = [replica.get("/metrics") for replica in self.running.values()]
        lines = (line for text in metrics for line in text.splitlines())
        return sum(float(line.split()[1]) for line in lines if line.startswith("sprintly_subscriptions_set_aside "))

    def well(self) -> str:
        self.until(lambda: self.delivered("new") >= set(range(self._written)), "the new one is not backfilled")
        return "both have all"


class ConfigurationRefused(Night):
    """Somebody saves a subscriptions file with a mistake in it."""

    alert: ClassVar[str] = "SprintlyConfigurationRefused"
    how: ClassVar[str] = "a mistake in the subscriptions file"
    done: ClassVar[str] = "mended beside it, checked, renamed"

    def provoke(self) -> None:
        self.subscribe(*self.subscribed, "another")
        self._right = self.made.subscriptions.read_text("utf-8")
        self.made.subscriptions.write_text(self._right.replace("webhook", "webhok"))
        self.until(lambda: all("subscriptions" in why for why in self.unready().values()), "it is not refused")
        self.deliver(40)  # by the former ones

    def mend(self) -> None:
        (look,) = self.section.look
        (check,) = self.section.do
        self.follow(look, code=2, says="webhok")
        beside = self.made.folder / "beside.yaml"
        beside.write_text(self._right)
        self.follow(check, FILE=str(beside), says="nothing is wrong")
        beside.replace(self.made.subscriptions)
        self.until(lambda: not self.unready(), "it is not taken in", self.unready)

    def well(self) -> str:
        metrics = [replica.get("/metrics") for replica in self.running.values()]
        assert all("sprintly_configuration_generation 2.0" in text for text in metrics), "another generation is active"
        assert self.delivered("another") == set(range(80, 100)), "the one that was added does not begin"
        return "the mended file active"
