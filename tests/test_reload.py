"""A replica whose subscriptions change while it runs: all or nothing, told of, and nothing lost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from harness import TOPIC, Ping, subscription, value
from replicas import (
    DIRECTORY,
    Destination,
    Replica,
    cluster,
    committed,
    entry,
    eventually,
    produce,
    running,
    scenario,
    with_topic,
)

from consumer.broker.memory import MemoryBroker
from consumer.delivery import delivery_id
from consumer.entries import write_removal
from consumer.errors import BrokerUnreachable
from consumer.event import Outgoing
from consumer.health import HealthServer
from consumer.reload import Found
from consumer.sealed import Seal
from consumer.subscriptions_file import SubscriptionsFile
from services import Payload

SEAL = Seal([Fernet.generate_key().decode()])


class Odd(Ping):
    """
    Odd

    Has a validator that fails in its own way.
    """

    name = "odd"

    @classmethod
    def read_options(cls, options: Any) -> Any:
        raise RuntimeError("t0ps3cret")

    def send(self, payload: Payload) -> None:
        raise NotImplementedError


def text(*ids: str) -> str:
    return "subscriptions:\n" + "".join(f"  - {{id: {id_}, product: '*', service: ping}}\n" for id_ in ids)


class Filed(Replica):
    """A replica whose subscriptions stand in a file."""

    def __init__(self, broker: MemoryBroker, destination: Destination, path: Path) -> None:
        source = SubscriptionsFile(path, {}, {"ping": Ping, "odd": Odd})
        super().__init__(broker, destination, subscriptions=source.read().subscriptions, source=source)

    def ready(self) -> tuple[int, str]:
        """Return what `/readyz` answers, and the reason that it gives."""
        server = HealthServer(("127.0.0.1", 0), self.health, self.metrics)
        answer = server.answer("/readyz")
        server._server.server_close()
        return int(answer.status), json.loads(answer.body)["reasons"].get("subscriptions", "")

    def shown(self, metric: str) -> float:
        return value_of(self, metric)


def value_of(replica: Replica, metric: str) -> float:
    lines = replica.metrics.render().decode().splitlines()
    return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"sprintly_{metric} ")), -1.0)


def changed(replica: Replica, count: int) -> Callable[[], bool]:
    return lambda: replica.metrics.configuration_reloads.value("accepted") == count


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "subscriptions.yaml"
    path.write_text(text("a"))
    return path


def test_what_is_added_and_removed_in_the_file_is_taken_in(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        async with running(Filed(broker, destination, path)) as replica:
            produce(broker, value(), value())
            await eventually(lambda: committed(broker) == 2, "it was not committed")
            assert (len(destination.ids), value_of(replica, "configuration_generation")) == (2, 1)
            path.write_text(text("a", "b"))
            await eventually(changed(replica, 1), "it is not taken in")
            produce(broker, value(), value())
            await eventually(lambda: committed(broker) == 4, "it was not committed")
            assert len(destination.ids) == 6
            path.write_text(text("b"))
            await eventually(changed(replica, 2), "it is not taken in")
            produce(broker, value())
            await eventually(lambda: committed(broker) == 5, "it was not committed")
            assert len(set(destination.ids)) == 7
            assert value_of(replica, "configuration_generation") == 3
        said = capsys.readouterr().out
        assert said.count("subscriptions changed") == 2
        assert "removed=1" in said

    scenario(play)


def test_a_broken_file_is_refused_the_old_one_stays_and_readiness_says_so(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        async with running(Filed(broker, destination, path)) as replica:
            await eventually(lambda: replica.core.partitions, "it does not begin")
            path.write_text(text("b", "c") + "  - {id: d, product: x, service: none}\n")
            await eventually(lambda: replica.ready()[1], "it does not say so")
            status, reason = replica.ready()
            assert status == 503
            assert reason.startswith("the former subscriptions are active, what is there now is refused: ")
            assert "subscription d: product is neither" in reason
            assert value_of(replica, "configuration_refused") == 1
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it was not committed")
            assert len(destination.ids) == 1
            path.write_text(text("a"))
            await eventually(lambda: replica.ready()[0] == 200, "it does not recover")
            assert value_of(replica, "configuration_refused") == 0
            assert value_of(replica, "configuration_generation") == 1
            assert replica.metrics.configuration_reloads.value("refused") == 1
            assert replica.metrics.configuration_reloads.value("unchanged") == 1
        assert capsys.readouterr().out.count("the former ones stay active") == 2

    scenario(play)


def test_whatever_a_service_raises_refuses_the_file_and_is_not_told(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def play() -> None:
        async with running(Filed(cluster(), Destination(), path)) as replica:
            path.write_text("subscriptions: [{id: a, product: 1, service: odd}]")
            await eventually(lambda: "cannot be read: RuntimeError" in replica.ready()[1], "it is not refused")
            assert "t0ps3cret" not in replica.ready()[1]
            path.unlink()
            await eventually(lambda: "there is no such subscriptions file" in replica.ready()[1], "it is not refused")
        assert "t0ps3cret" not in capsys.readouterr().out

    scenario(play)


def test_it_is_read_again_when_it_is_told_to(path: Path) -> None:
    async def play() -> None:
        async with running(Filed(cluster(), Destination(), path)) as replica:
            replica.pipeline.reload()
            unchanged = lambda: replica.metrics.configuration_reloads.value("unchanged") == 1  # noqa: E731
            await eventually(unchanged, "it is not read")

    scenario(play)


def test_a_replica_without_a_source_is_told_in_vain(path: Path) -> None:
    async def play() -> None:
        async with running(Replica(cluster(), Destination())) as replica:
            replica.pipeline.reload()
            assert replica.metrics.configuration_reloads.value("accepted") == 0

    scenario(play)


class Hasty:
    """A source that has changed whenever it is looked at, `left` times more."""

    name = topic = ""
    left = 1000

    async def wait(self) -> None:
        await asyncio.sleep(0 if self.left else 0.1)

    async def close(self) -> None:
        pass

    def read(self) -> Found:
        left = self.left
        others = [subscription(f"x{left % 7}")] * (left % 2) + [subscription("y", events=("*.updated",))] * (
            left % 3 > 0
        )
        return Found((*others, subscription("a")))

    def look(self, *, anew: bool = False) -> Found | None:
        if not self.left:
            return None
        self.left -= 1
        return self.read()


def test_a_thousand_changes_in_a_row_under_load_lose_nothing() -> None:
    async def play() -> None:
        broker, destination, source = cluster(), Destination(), Hasty()
        steady = subscription("a")
        async with running(Replica(broker, destination, subscriptions=[steady], source=source)) as replica:
            written = 0
            while source.left:
                produce(broker, *(value(written + number) for number in range(5)))
                written += 5
                await eventually(lambda least=written - 100: committed(broker) > least, "it stands still")
            await eventually(lambda: committed(broker) == written, "it was not committed")
            assert replica.metrics.configuration_reloads.value("accepted") > 500
            await eventually(lambda: replica.core.in_hand == 0, "who is gone stays in memory")
        got = {delivery_id(record, "a") for record in broker.read(TOPIC)}
        assert got <= {line.partition(" ")[2] for line in destination.ids}
        assert len(got) == written

    scenario(play)


# -- a topic


BAD = Outgoing(DIRECTORY, b"a", b"{}")


def test_what_is_written_to_the_topic_is_taken_in() -> None:
    async def play() -> None:
        broker, destination = with_topic(entry("a")), Destination()
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it was not committed")
            list(broker.produce([entry("b"), entry("c", events=["*.updated"])]))
            await eventually(changed(replica, 1), "it is not taken in")
            list(broker.produce([write_removal(DIRECTORY, "a"), entry("c")]))
            await eventually(changed(replica, 2), "it is not taken in")
            produce(broker, value())
            await eventually(lambda: committed(broker) == 2, "it was not committed")
            assert len(set(destination.ids)) == 3

    scenario(play)


def test_of_a_topic_that_is_made_anew_what_is_set_counts_and_nothing_else_is_taken_away() -> None:
    async def play() -> None:
        broker, destination = with_topic(entry("a"), entry("b"), entry("c"), entry("d")), Destination()
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            await eventually(lambda: replica.core.partitions, "it does not begin")
            broker.make_anew(DIRECTORY)
            list(broker.produce([entry("b", events=["*.updated"]), write_removal(DIRECTORY, "c"), entry("e")]))
            await eventually(changed(replica, 1), "it is not taken in")
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it was not committed")
        assert len(destination.ids) == len("ade")

    scenario(play)


def test_one_whose_record_becomes_bad_waits_and_gets_everything_when_it_is_mended() -> None:
    async def play() -> None:
        broker, destination = with_topic(entry("a"), entry("b")), Destination()
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            await eventually(lambda: replica.core.partitions, "it does not begin")
            list(broker.produce([BAD]))
            await eventually(changed(replica, 1), "it is not taken in")
            assert replica.health.not_ready() == {}
            assert replica.health.notes()["subscriptions"].startswith(f"1 record(s) of {DIRECTORY} are set aside")
            assert value_of(replica, "subscriptions_set_aside") == 1
            produce(broker, *(value() for _ in range(10)))
            await eventually(lambda: committed(broker) == 10, "it was not committed")
            assert len(destination.ids) == 10
            list(broker.produce([entry("a")]))
            await eventually(lambda: len(destination.ids) == 20, "it does not get what it waited for")
            assert replica.health.notes() == {}
            assert value_of(replica, "configuration_generation") == 3
        assert len(set(destination.ids)) == 20

    scenario(play)


def test_it_gets_everything_although_the_replica_was_started_again_meanwhile() -> None:
    async def play() -> None:
        broker, destination = with_topic(entry("a"), entry("b")), Destination()
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it was not committed")
            list(broker.produce([BAD]))
            await eventually(changed(replica, 1), "it is not taken in")
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            produce(broker, *(value() for _ in range(10)))
            await eventually(lambda: committed(broker) == 11, "it was not committed")
            list(broker.produce([entry("a")]))
            await eventually(lambda: len(destination.ids) == 22, "it does not get what it waited for")

    scenario(play)


def test_keys_that_open_nothing_leave_the_former_ones_active() -> None:
    async def play() -> None:
        broker, destination = with_topic(entry("a")), Destination()
        async with running(Replica(broker, destination, topic=DIRECTORY)) as replica:
            await eventually(lambda: replica.core.partitions, "it does not begin")
            list(broker.produce([entry("a", SEAL), entry("b", SEAL)]))
            said = lambda: "none of the 2 sealed" in replica.health.not_ready().get("subscriptions", "")  # noqa: E731
            await eventually(said, "it does not say so")
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it was not committed")
            assert len(destination.ids) == 1
            list(broker.produce([entry("a"), write_removal(DIRECTORY, "b")]))
            await eventually(lambda: replica.health.not_ready() == {}, "it does not recover")

    scenario(play)


class Deaf(MemoryBroker):
    """A broker whose logs cannot be read again while `deaf`."""

    deaf = False

    def log_reader(self) -> Any:
        if self.deaf:
            raise BrokerUnreachable("no Kafka broker answered")
        return super().log_reader()


def test_a_topic_that_cannot_be_read_for_long_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumer.reload.PATIENCE", 0.1)
    broker = with_topic(entry("a"), broker=cluster(kind=Deaf))
    assert isinstance(broker, Deaf)

    async def play() -> None:
        replica = Replica(broker, Destination(), topic=DIRECTORY)
        source = replica.pipeline._reload._source  # type: ignore[union-attr]
        async with running(replica):
            await eventually(lambda: replica.core.partitions, "it does not begin")
            broker.deaf, source._reader = True, None  # type: ignore[attr-defined]
            said = "changes of subscriptions cannot be read: no Kafka broker answered"
            await eventually(lambda: replica.health.not_ready().get("subscriptions") == said, "it does not say so")
            broker.deaf = False
            await eventually(lambda: replica.health.not_ready() == {}, "it does not recover")

    scenario(play)
