"""One replica and another on the fake broker: cycles that fail, partitions that move, orderly and other ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from harness import TOPIC, answered, value
from replicas import (
    CONTROL,
    FAST,
    LETTERS,
    PATIENCE,
    REPLAYS,
    STATES,
    Destination,
    Replica,
    cluster,
    committed,
    eventually,
    owed,
    produce,
    running,
    scenario,
)

from consumer import pipeline
from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker, MemoryWriter
from consumer.core import CoreSettings
from consumer.deadletter import read_dead_letter
from consumer.errors import BrokerError, CycleAborted, LoginRefused, WriterLost
from consumer.event import Outgoing, TopicPartition
from consumer.pipeline import Timing
from consumer.wire import Answer, Request

STALL = 0.3  # seconds
HASTY = Timing(cycle_interval=0.02, drain_timeout=0.1, revoke_timeout=0.1)


class Standing(Destination):
    """The whole process stands still once, after its first attempt has begun, for longer than cycles may take."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def start(self, request: Request, done: Callable[[Answer], None]) -> None:
        super().start(request, done)
        self.told.append("attempt")
        if len(self.got) == 1:
            asyncio.get_running_loop().call_soon(self.told.append, "next turn")
            time.sleep(2 * STALL)


def test_a_replica_that_stood_still_begins_nothing_until_it_knows_what_it_still_has() -> None:
    async def play() -> None:
        broker, destination = cluster(), Standing()
        produce(broker, *[value(n) for n in range(3)])
        async with running(Replica(broker, destination, Timing(cycle_interval=0.05, cycle_stall=STALL))):
            await eventually(lambda: committed(broker) == 3, "it did not go on")
        assert destination.told == ["attempt", "next turn", "attempt", "attempt"]

    scenario(play)


def test_what_arrives_is_committed_and_a_second_start_delivers_nothing_again() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        produce(broker, *[value(n) for n in range(20)])
        for _ in range(2):
            async with running(Replica(broker, destination)):
                await eventually(lambda: committed(broker) == 20, "it was not committed")
        assert len(destination.ids) == len(set(destination.ids)) == 20

    scenario(play)


def test_a_cycle_that_fails_is_written_again_and_nothing_is_delivered_twice() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination(lambda _: answered(400))
        produce(broker, value(), b"poison")
        broker.fail_next_writes(2, CycleAborted("fenced"))
        broker.fail_next_writes(1, CycleAborted("nobody knows"), in_doubt=True)
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: replica.metrics.cycles.value("durable") > 0, "no cycle became durable")
            await eventually(lambda: committed(broker) == 2, "it was not committed")
            assert replica.metrics.cycles.value("aborted") == 3
            assert not replica.health.has("cycle")
        assert len(destination.ids) == 1
        assert len({record.key for record in broker.read(LETTERS)}) == 2

    scenario(play)


def test_while_nothing_becomes_durable_nothing_is_taken_in_no_attempt_starts_and_the_replica_is_unready() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        produce(broker, value())
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: committed(broker) == 1, "it does not begin")
            broker.fail_next_writes(10**6, CycleAborted("the broker is away"))
            produce(broker, value())
            await eventually(lambda: replica.core.held, "it goes on")
            before = len(destination.got)
            produce(broker, value(), value())
            await eventually(lambda: replica.core.buffered > 0, "the events were not fetched")
            await eventually(lambda: replica.health.has("cycle"), "it does not say so")
            assert len(destination.got) == before == 2
            assert replica.core.in_hand <= 1
            assert "nothing is taken in" in replica.health.not_ready()["cycle"]
            broker.mend()
            await eventually(lambda: committed(broker) == 4, "it did not go on")
            assert not replica.health.has("cycle")
        assert len(destination.ids) == 4

    scenario(play)


def test_after_a_cycle_that_failed_nothing_begins_before_another_is_durable() -> None:
    """It is so however short that takes, and whatever there is to write: a take-over may have left nothing."""

    async def play() -> None:
        broker, destination = cluster(), Destination()
        produce(broker, value())
        patient = Timing(cycle_interval=0.05, cycle_stall=60.0)
        async with running(Replica(broker, destination, patient)) as replica:
            await eventually(lambda: committed(broker) == 1, "it does not begin")
            broker.fail_next_writes(10**6, CycleAborted("the broker is away"))
            produce(broker, value())
            await eventually(lambda: replica.core.held, "it goes on")
            before = len(destination.got)
            produce(broker, *[value()] * 20)
            await eventually(lambda: replica.core.buffered > 0, "the events were not fetched")
            assert len(destination.got) == before
            assert not replica.health.has("cycle"), "that has not lasted for long"
            broker.mend()
            await eventually(lambda: committed(broker) == 22, "it did not go on")
            broker.fail_next_writes(1, CycleAborted("once"))
            produce(broker, value())
            await eventually(lambda: committed(broker) == 23, "it did not go on")
            await eventually(lambda: not replica.core.held, "it is held for ever")
        assert len(destination.got) == 23

    scenario(play)


def test_too_much_that_nobody_can_read_stops_the_intake_loudly_and_a_restart_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        produce(broker, value(), *[b"poison"] * 5, value())
        limited = CoreSettings(poison_limit=3)
        async with running(Replica(broker, destination, settings=limited)) as replica:
            await eventually(lambda: replica.health.has("poison"), "it goes on")
            await eventually(lambda: committed(broker) == 4, "what was let in was not finished")
            reason = replica.health.not_ready()["poison"]
            assert f"3 records in a row cannot be read, the last one at {TOPIC}[0] offset 3: not Avro" in reason
            assert "SPRINTLY_POISON_LIMIT=off" in reason
            assert replica.health.not_alive() == {}
            assert b"sprintly_poisoned 1.0" in replica.metrics.render()
        assert len(destination.ids) == 1
        assert len(list(broker.read(LETTERS))) == 3
        async with running(Replica(broker, destination, settings=limited)) as replica:
            await eventually(lambda: committed(broker) == 7, "the rest was not read")
            assert not replica.health.has("poison")
        assert len(destination.ids) == 2

    scenario(play)
    assert capsys.readouterr().out.count("its producer must be broken") == 1


def test_a_dead_letter_that_is_too_large_is_cut_and_does_not_hold_anything_up() -> None:
    async def play() -> None:
        broker, destination = cluster(max_message_bytes="100000"), Destination()
        produce(broker, b"x" * 200_000, value())
        async with running(Replica(broker, destination)):
            await eventually(lambda: committed(broker) == 2, "it holds everything up")
        (letter,) = broker.read(LETTERS)
        assert letter.value == b"x" * 65_536
        assert ("dlq.truncated", b"200000") in letter.headers

    scenario(play)


def test_headers_and_keys_that_are_too_large_are_left_out_and_do_not_hold_anything_up() -> None:
    async def play() -> None:
        broker, destination = cluster(max_message_bytes="20000"), Destination()
        headers = (("trace", b"1"), ("large", b"x" * 30_000))
        list(broker.produce([Outgoing(TOPIC, b"k" * 30_000, b"poison", headers, partition=0)]))
        produce(broker, b"x" * 19_990, value())
        async with running(Replica(broker, destination)):
            await eventually(lambda: committed(broker) == 3, "it holds everything up")
        first, second = sorted(map(read_dead_letter, broker.read(LETTERS)), key=lambda letter: letter.origin.offset)
        assert (first.origin.value, first.origin.key, first.origin.headers) == (b"poison", None, (("trace", b"1"),))
        assert (first.dropped, first.truncated) == (60_005, 0)
        assert (second.truncated, second.dropped) == (19_990, 0)

    scenario(play)


def test_an_unreachable_broker_and_a_missing_topic_are_waited_for() -> None:
    async def play() -> None:
        broker, destination = MemoryBroker(), Destination()
        broker.reachable = False
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: replica.health.has("kafka"), "it is ready without a broker")
            broker.reachable = True
            await eventually(
                lambda: "topics create" in replica.health.not_ready().get("kafka", ""), "it names no topic"
            )
            broker.create([TopicSpec(name, 1) for name in (TOPIC, REPLAYS, LETTERS, STATES, CONTROL)])
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it did not begin")
            assert replica.health.not_ready() == {}

    scenario(play)


class Strict(MemoryBroker):
    """A broker that does not allow everything while something is `not_allowed`, and lets nobody in while `shut`."""

    not_allowed = "Kafka does not allow this client Read on topic events"
    shut = False

    def partitions(self, timeout: float = 5.0) -> dict[str, int]:
        if self.shut:
            raise LoginRefused("Kafka and this client do not accept each other")
        return super().partitions(timeout)

    def lacking(self, topics: Mapping[str, Sequence[str]], timeout: float = 5.0, *, member: bool = False) -> list[str]:
        assert member
        return [self.not_allowed] if self.not_allowed else []


def test_a_right_that_is_missing_is_named_before_a_topic_is_and_waited_for() -> None:
    async def play() -> None:
        broker, destination = Strict(), Destination()
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: replica.health.has("kafka"), "it is ready without rights")
            assert replica.health.not_ready()["kafka"] == broker.not_allowed
            broker.create([TopicSpec(name, 1) for name in (TOPIC, REPLAYS, LETTERS, STATES, CONTROL)])
            broker.not_allowed = ""
            produce(broker, value())
            await eventually(lambda: committed(broker) == 1, "it did not begin")
            assert replica.health.not_ready() == {}

    scenario(play)


def test_a_trouble_lasts_until_the_right_that_is_missing_is_back() -> None:
    async def play() -> None:
        broker, destination = cluster(kind=Strict), Destination()
        assert isinstance(broker, Strict)
        broker.not_allowed = ""
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: replica.core.partitions, "it got nothing")
            broker.not_allowed = "no right"
            replica.pipeline.trouble("the client says it once")
            await eventually(lambda: replica.health.not_ready().get("kafka") == "no right", "it forgot the trouble")
            broker.shut = True
            await eventually(lambda: "accept" in replica.health.not_ready().get("kafka", ""), "it keeps an old reason")
            broker.shut, broker.not_allowed = False, ""
            await eventually(lambda: not replica.health.not_ready(), "it is not ready again")

    scenario(play)


def test_who_is_not_let_in_ends_at_once() -> None:
    async def play() -> None:
        broker = Strict()
        broker.shut = True
        with pytest.raises(LoginRefused):
            await asyncio.wait_for(Replica(broker, Destination()).pipeline.run(), PATIENCE)

    scenario(play)


def test_what_cannot_be_written_is_known_before_anything_is_delivered() -> None:
    class Mute(MemoryBroker):
        mute = True

        def writer(self, name: str | None = None) -> MemoryWriter:
            if self.mute:
                raise WriterLost("no transaction could be begun")
            return super().writer(name)

    async def play() -> None:
        broker, destination = cluster(kind=Mute), Destination()
        assert isinstance(broker, Mute)
        produce(broker, value())
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: "transaction" in replica.health.not_ready().get("kafka", ""), "it says nothing")
            assert destination.got == []
            broker.mute = False
            await eventually(lambda: committed(broker) == 1, "it did not begin")

    scenario(play)


def test_a_partition_that_moves_is_finished_first_and_delivered_once() -> None:
    async def play() -> None:
        broker, destination = cluster(partitions=2), Destination()
        destination.hold = True
        for partition in (0, 1):
            produce(broker, *[value(n) for n in range(5)], partition=partition)
        async with running(Replica(broker, destination)) as first:
            await eventually(lambda: len(destination.got) == 10, "nothing began")
            async with running(Replica(broker, destination)) as second:
                await eventually(lambda: first.metrics.rebalances.value("revoked"), "nothing was revoked")
                assert second.core.partitions == ()
                destination.release()
                await eventually(lambda: second.core.partitions, "the second got nothing")
                produce(broker, value(), partition=0)
                produce(broker, value(), partition=1)
                await eventually(
                    lambda: (committed(broker, 0), committed(broker, 1)) == (6, 6), "not all was committed"
                )
        assert len(destination.ids) == len(set(destination.ids)) == 12

    scenario(play)


def test_a_replica_with_nothing_assigned_is_ready() -> None:
    async def play() -> None:
        broker = cluster()
        async with running(Replica(broker, Destination())) as first:
            await eventually(lambda: first.core.partitions, "the first got nothing")
            async with running(Replica(broker, Destination())) as second:
                await eventually(lambda: b"sprintly_ready 1.0" in second.metrics.render(), "it is not ready")
                assert (second.core.partitions, second.health.not_ready()) == ((), {})

    scenario(play)


def served(replica: Replica) -> dict[str, float]:
    """Return what Prometheus would store of a replica, by name and labels without `sprintly_`."""
    lines = [line for line in replica.metrics.render().decode().splitlines() if line.startswith("sprintly_")]
    return {name.removeprefix("sprintly_"): float(number) for name, number in (line.rsplit(" ", 1) for line in lines)}


def test_metrics_tell_how_far_it_is_and_why_it_is_not_ready() -> None:
    async def play() -> None:
        broker, destination = cluster(partitions=2), Destination()
        replica = Replica(broker, destination)
        assert not [name for name in served(replica) if name.startswith("lag_records")], "nothing is known yet"
        async with running(replica):
            produce(broker, *[value(n) for n in range(5)], partition=1)
            await eventually(lambda: committed(broker, 1) == 5, "it does not begin")
            lags = {'lag_records{partition="0"}': 0, 'lag_records{partition="1"}': 0}
            await eventually(lambda: lags.items() <= served(replica).items(), "no end is known")
            found = served(replica)
            assert found["ready"] == 1
            assert found["cycle_seconds_count"] == found['cycles_total{result="durable"}'] > 0
            assert 0 <= found["cycle_age_seconds"] < PATIENCE
            assert not [name for name in found if name.startswith("not_ready")]
            broker.fail_next_writes(10**6, CycleAborted("the broker is away"))
            produce(broker, *[value(n) for n in range(7)], partition=1)
            await eventually(lambda: served(replica).get('not_ready{check="cycle"}') == 1, "it does not say so")
            await eventually(lambda: served(replica)['lag_records{partition="1"}'] == 7, "nothing lags")
            assert served(replica)["ready"] == 0
            assert served(replica)["cycle_age_seconds"] > FAST.cycle_stall
            broker.mend()
            await eventually(lambda: lags.items() <= served(replica).items(), "it lags for ever")
            assert served(replica)["ready"] == 1
        assert served(replica)['not_ready{check="stop"}'] == 1

    scenario(play)


def test_a_cycle_with_a_record_that_is_too_large_counts_as_refused() -> None:
    async def play() -> None:
        broker = cluster(max_message_bytes="100000")
        produce(broker, b"x" * 200_000)
        async with running(Replica(broker, Destination())) as replica:
            await eventually(lambda: committed(broker) == 1, "it holds everything up")
            assert replica.metrics.cycles.value("refused") == 1

    scenario(play)


def test_a_loop_that_was_held_up_tells_for_how_long() -> None:
    async def play() -> None:
        async with running(Replica(cluster(), Destination())) as replica:
            await eventually(lambda: replica.core.partitions, "it got nothing")
            asyncio.get_running_loop().call_soon(time.sleep, 0.5)
            await eventually(lambda: served(replica)["loop_delay_seconds"] > 0.2, "it hides it")

    scenario(play)


def test_what_is_still_in_flight_when_the_time_is_up_is_owed_and_delivered_by_the_next_owner() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        destination.hold = True
        produce(broker, value(), value())
        async with running(Replica(broker, destination, HASTY)):
            await eventually(lambda: len(destination.got) == 2, "nothing began")
        assert committed(broker) == 2
        assert [entry.offset for entry in owed(broker)] == [0, 1]
        destination.hold = False
        async with running(Replica(broker, destination)):
            await eventually(lambda: len(destination.got) == 4, "it was lost")
            await eventually(lambda: owed(broker) == [], "it is still owed")
        assert len(set(destination.ids)) == 2

    scenario(play)


@pytest.mark.parametrize("moves", [True, False])
def test_a_last_cycle_that_does_not_return_holds_up_neither_an_end_nor_a_partition_that_moves(
    moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "LAST_CYCLE", 0.2)
    returns = threading.Event()

    class Hanging(MemoryWriter):
        def write(self, *arguments: Any) -> None:
            assert returns.wait(PATIENCE)
            super().write(*arguments)

    class Slow(MemoryBroker):
        def writer(self, name: str | None = None) -> MemoryWriter:
            writer = super().writer(name)
            writer.__class__ = Hanging
            return writer

    async def play() -> None:
        broker, destination = cluster(kind=Slow, partitions=2), Destination()
        for partition in (0, 1):
            produce(broker, value(), partition=partition)
        async with running(Replica(broker, destination, HASTY)) as first:
            await eventually(lambda: len(destination.got) == 2, "nothing began")
            if moves:
                async with running(Replica(broker, destination, HASTY)) as second:
                    await eventually(lambda: second.core.partitions, "the second got nothing")
            assert first.core.partitions
        assert (committed(broker, 0), committed(broker, 1), returns.is_set()) == (0, 0, False)
        returns.set()
        async with running(Replica(broker, destination)):
            await eventually(lambda: (committed(broker, 0), committed(broker, 1)) == (1, 1), "it was lost")

    scenario(play)


def test_one_that_is_stopping_begins_nothing_of_what_it_is_given_meanwhile() -> None:
    """Others stop or start at the same time in a rolling update; what it delivered there would be delivered again."""

    async def play() -> None:
        broker, destination = cluster(partitions=2), Destination()
        first, second = Replica(broker, destination), Replica(broker, Destination())

        def events_of(replica: Replica) -> list[TopicPartition]:
            return [tp for tp in replica.core.partitions if tp.topic == TOPIC]

        async with running(first), running(second):
            await eventually(lambda: len(events_of(first)) == len(events_of(second)) == 1, "they do not share")
            (mine,), (other,) = events_of(first), events_of(second)
            destination.hold = True
            produce(broker, value(), partition=mine.partition)
            await eventually(lambda: len(destination.got) == 1, "nothing began")
            given = first.metrics.rebalances.value("assigned")
            first.pipeline.stop()
            second.pipeline.stop()
            await eventually(lambda: first.metrics.rebalances.value("assigned") > given, "it was not given the other")
            assert events_of(first) == [mine]
            produce(broker, value(), partition=other.partition)
            destination.release()
        assert (committed(broker, mine.partition), committed(broker, other.partition)) == (1, 0)
        async with running(Replica(broker, destination)):
            await eventually(lambda: committed(broker, other.partition) == 1, "it was lost")
        assert len(destination.ids) == len(set(destination.ids)) == 2

    scenario(play)


def test_a_partition_without_a_place_for_what_it_owes_is_held_alone_and_goes_on_once_it_has_one() -> None:
    async def play() -> None:
        broker, destination = cluster(partitions=2), Destination()
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: len(replica.core.partitions) == 3, "it did not begin")
            broker.grow(TOPIC, 4)
            for partition in range(4):
                produce(broker, value(), partition=partition)
            await eventually(lambda: (committed(broker, 0), committed(broker, 1)) == (1, 1), "the others wait too")
            await eventually(lambda: replica.health.has("take-over"), "it does not say so")
            reason = replica.health.not_ready()["take-over"]
            assert f"2 partitions cannot be taken over yet: the topic {STATES} has 2 partitions and needs 4" in reason
            assert "`sprintly-services topics grow`" in reason
            assert (committed(broker, 2), committed(broker, 3)) == (0, 0)
            broker.grow(STATES, 4)
            await eventually(lambda: (committed(broker, 2), committed(broker, 3)) == (1, 1), "it does not go on")
            assert replica.health.not_ready() == {}
        assert len(destination.ids) == len(set(destination.ids)) == 4

    scenario(play)


def test_one_that_begins_takes_over_what_has_its_place_beside_what_has_none() -> None:
    async def play() -> None:
        broker, destination = cluster(partitions=2), Destination()
        broker.grow(TOPIC, 3)
        for partition in range(3):
            produce(broker, value(), partition=partition)
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: (committed(broker, 0), committed(broker, 1)) == (1, 1), "all of them wait")
            await eventually(lambda: replica.health.has("take-over"), "it does not say so")
        assert len(destination.ids) == 2

    scenario(play)


def test_it_is_noticed_that_there_are_more_partitions_to_share_rates_by(capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        broker = cluster(partitions=2)
        async with running(Replica(broker, Destination())) as replica:
            await eventually(lambda: len(replica.core.partitions) == 3, "it did not begin")
            broker.grow(STATES, 3)
            broker.grow(TOPIC, 3)
            said: list[str] = []

            def noticed() -> bool:
                said.append(capsys.readouterr().out)
                return "there are more partitions" in "".join(said)

            await eventually(noticed, "it does not notice")
            assert "before=2 now=3" in "".join(said)

    scenario(play)


def test_an_orderly_stop_waits_for_dead_letters_and_what_they_held_up() -> None:
    async def play() -> None:
        broker = cluster()
        destination = Destination(lambda _: answered(400))
        destination.hold = True
        produce(broker, value())
        async with running(Replica(broker, destination)):
            await eventually(lambda: len(destination.got) == 1, "nothing began")
            asyncio.get_running_loop().call_later(0.1, destination.release)
        assert committed(broker) == 1
        assert len(list(broker.read(LETTERS))) == 1

    scenario(play)


def test_who_cannot_go_on_says_why() -> None:
    class Gone(MemoryBroker):
        def group_consumer(self, topics: object, rebalance: object) -> object:  # type: ignore[override]
            raise BrokerError("this member of the consumer group cannot go on")

    async def play() -> None:
        broker = Gone()
        broker.create([TopicSpec(name, 1) for name in (TOPIC, REPLAYS, LETTERS, STATES, CONTROL)])
        with pytest.raises(BrokerError, match="cannot go on"):
            await asyncio.wait_for(Replica(broker, Destination()).pipeline.run(), PATIENCE)

    scenario(play)


def test_a_defect_ends_the_replica_and_commits_nothing_of_it() -> None:
    def defect(_: Request) -> Answer:
        raise ZeroDivisionError

    async def play() -> None:
        broker, destination = cluster(), Destination(defect)
        produce(broker, value())
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(Replica(broker, destination).pipeline.run(), PATIENCE)
        assert committed(broker) == 0

    scenario(play)
