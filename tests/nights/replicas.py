"""Nights in which replicas are at fault: none or one does not answer, they are not ready, or partitions never rest."""

from __future__ import annotations

from typing import ClassVar

from nights.night import PARTITIONS, Night


class NoReplica(Night):
    """All machines go down; what would start again ends by itself, since the subscriptions file is wrong by now."""

    alert: ClassVar[str] = "SprintlyNoReplica"
    how: ClassVar[str] = "both killed; they do not start again, for the subscriptions file was broken"
    done: ClassVar[str] = "file mended as `subscriptions check` says, started"

    def provoke(self) -> None:
        right = self.made.subscriptions.read_text("utf-8")
        self._right = right
        self.made.subscriptions.write_text(right.replace("webhook", "webhok"))
        for number in range(self.replicas):
            self.kill(number)
        self.write(40)
        replica = self.start(0)
        self.until(lambda: replica.process.poll() is not None, "it starts with a broken file")
        assert replica.process.returncode == 2, replica.text
        del self.running[0]

    def mend(self) -> None:
        (check,) = self.section.look
        assert self.follow(check, code=2, says="webhok") in self._last_log(), "the log names another problem"
        self.made.subscriptions.write_text(self._right)
        self.follow(check, says="nothing is wrong")
        (consume,) = self.section.do
        self.consume(consume)

    def _last_log(self) -> str:
        return "".join(log.read_text() for log in self.made.folder.glob("*.log"))


class ReplicaDown(Night):
    """One of two is killed, and stays away."""

    alert: ClassVar[str] = "SprintlyReplicaDown"
    how: ClassVar[str] = "one of two killed, and not started again"
    done: ClassVar[str] = "started"

    def provoke(self) -> None:
        self.kill(1)
        self.deliver(40)  # the other one takes its partitions over

    def mend(self) -> None:
        (consume,) = self.section.do
        self.consume(consume)
        started = self.running[1]
        self.until(lambda: "partitions assigned" in started.text, "no partition moves back")


class NotReadyWithoutTopics(Night):
    """Replicas are started where there are no topics."""

    alert: ClassVar[str] = "SprintlyNotReady"
    how: ClassVar[str] = "started without topics (`kafka`)"
    done: ClassVar[str] = "topics create"

    def prepare(self) -> None:
        self.subscribe(*self.subscribed)

    def provoke(self) -> None:
        for number in range(self.replicas):
            self.start(number)
        self.until(lambda: all("kafka" in why for why in self.unready().values()), "nobody misses the topics")

    def mend(self) -> None:
        create, grow = self.section.do
        self.follow(create, says="created")
        self.until(lambda: not self.unready(), "they do not go on by themselves", self.unready)
        self.follow(grow, says="stays")  # where nothing has to grow, it does no harm


class NotReadyWithoutPlace(Night):
    """Somebody gives the events more partitions by Kafka's own tools."""

    alert: ClassVar[str] = "SprintlyNotReady"
    how: ClassVar[str] = "events given partitions by Kafka's own tools (`take-over`)"
    done: ClassVar[str] = "topics grow"

    _new = (PARTITIONS, PARTITIONS + 1)

    def provoke(self) -> None:
        self.made.kafka.grow(self.made.topic, PARTITIONS + 2)
        self.until(lambda: any("take-over" in why for why in self.unready().values()), "no replica says so")
        # The new ones have something that waits: events that are in others as well.
        self.made.produce_raw(*(self.record(0)._replace(partition=number) for number in self._new))
        self.write(40)

    def mend(self) -> None:
        create, grow = self.section.do
        self.follow(create, says="was there")  # what is there stays as it is
        self.follow(grow, says="grown")
        self.until(lambda: all(self.made.committed().get(number) for number in self._new), "the new ones stand still")


class NotReadyWithoutControl(Night):
    """Somebody deletes the control topic."""

    alert: ClassVar[str] = "SprintlyNotReady"
    how: ClassVar[str] = "the control topic deleted (`control`)"
    done: ClassVar[str] = "topics create"

    def provoke(self) -> None:
        self.made.do("subscriptions", "disable", "acme")
        self.made.delete_topic(f"{self.made.topic}.control")
        self.until(lambda: any("control" in why for why in self.unready().values()), "nobody misses it")

    def mend(self) -> None:
        create, grow = self.section.do
        self.follow(create, says="created")
        self.follow(grow, says="stays")
        self.until(lambda: not self.unready(), "they do not go on by themselves", self.unready)
        self.until(lambda: self._all_said("the control topic was made anew"), "not all have noticed")
        for word in ("disable", "enable"):  # it returns once every partition has carried it out
            self.made.do("subscriptions", word, "other")
            self.until(lambda said=f"a subscription is {word}d": self._all_said(said), "not all have heard it")

    def _all_said(self, what: str) -> bool:
        return all(what in replica.text for replica in self.running.values())


class Rebalancing(Night):
    """A second replica comes and goes all the time, as by an autoscaler that swings to and fro."""

    alert: ClassVar[str] = "SprintlyRebalancing"
    how: ClassVar[str] = "one of two started and stopped again and again (> 0.5 for each replica here, not 4)"
    done: ClassVar[str] = "held at two"
    rules: ClassVar[dict[str, str]] = {
        "> 4 * count by (job) (sprintly_build_info)": "> 0.5 * count by (job) (sprintly_build_info)"
    }

    def provoke(self) -> None:
        self.until(self._swung, "it does not fire")

    def _swung(self) -> bool:
        """Have the second one come and go once; whether it has been noticed."""
        self.write(20)
        if replica := self.running.pop(1, None):
            assert replica.stop() == 0, replica.text[-1000:]
        second = self.start(1)
        self.until(lambda: "partitions assigned" in second.text, "it gets no partition")
        return self.alert in self.prometheus.firing()

    def mend(self) -> None:
        self.until(lambda: not self.missing(), "not all is delivered", self.missing)
