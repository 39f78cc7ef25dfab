"""What is owed, on the fake broker: written, taken over, read from the log again, and what becomes of a lost log."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import ClassVar

import pytest
from harness import OK, TOPIC, answered, destinations_down, subscription, value
from replicas import (
    FAST,
    LETTERS,
    PATIENCE,
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

from consumer.breaker import BreakerSettings
from consumer.broker.memory import MemoryBroker
from consumer.clock import SystemClock
from consumer.core import CoreSettings
from consumer.errors import BrokerError, BrokerUnreachable
from consumer.event import Outgoing, TopicPartition
from consumer.patience import Limits
from consumer.pipeline import Timing
from consumer.state import State, latest_states, write_state
from consumer.subscriptions import Subscription
from consumer.takeover import TakeOver
from consumer.wire import Answer, AnswerKind, Request
from consumer.workers import Workers
from services import Payload, PingSession, RecordingSession, ServiceBase

P0 = TopicPartition(TOPIC, 0)
DOWN = answered(503)
PROBING = BreakerSettings(failures=3, lanes=2, first_probe=0.05, longest_pause=0.1)
SOON = CoreSettings(breaker=PROBING, quick_attempts=1, limits=Limits(hold=0.1), retry_delays=(0.1,) * 20)


def is_for(request: Request, id_: str) -> bool:
    return any(line == f"x-subscription: {id_}" for line in request.headers)


class Named(ServiceBase):
    """
    Named

    Says in a header whose it is.
    """

    name = "named"

    def send(self, payload: Payload) -> None:
        self.session.post("http://127.0.0.1/", json=payload, headers={"x-subscription": self.whose})

    whose = ""


def named(id_: str) -> Subscription:
    service = Named({}, RecordingSession())
    service.whose = id_
    return Subscription(id=id_, product=None, service=service)


def states(broker: MemoryBroker) -> list[State]:
    found, problems = latest_states(broker.read(STATES))
    assert problems == []
    return list(found.values())


def test_a_dead_destination_costs_its_neighbour_nothing_and_catches_up_in_order() -> None:
    async def play() -> None:
        broker, down = cluster(), [True]
        destination = Destination(lambda request: DOWN if down[0] and is_for(request, "dead") else OK)
        replica = Replica(broker, destination, subscriptions=[named("dead"), named("well")], settings=SOON)
        async with running(replica):
            for _ in range(30):
                produce(broker, *[value(n) for n in range(100)])
            await eventually(lambda: committed(broker) == 3000, "the dead one holds the partition up")
            assert [state.subscription for state in states(broker)] == ["dead"]
            assert len(list(broker.read(STATES))) < 100
            assert destinations_down(replica.core) == 1
            down[0] = False
            await eventually(lambda: states(broker) == [], "it does not catch up")
        ids = [(is_for(request, "dead"), request.body) for request in destination.got]
        assert len([one for one in ids if not one[0]]) == 3000
        assert list(broker.read(LETTERS)) == []

    scenario(play)


def test_what_is_owed_survives_a_restart_and_an_outage_uses_up_no_attempts() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination(lambda _: DOWN)
        produce(broker, *[value(n) for n in range(50)])
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: committed(broker) == 50, "it holds the partition up")
        assert states(broker)[0].topic_id != ""
        destination = Destination()
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: states(broker) == [], "it is still owed")
        assert len(set(destination.ids)) == 50
        assert list(broker.read(LETTERS)) == []

    scenario(play)


def test_records_that_left_the_log_unread_are_reported_and_the_rest_goes_on() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination(lambda _: DOWN)
        produce(broker, *[value(n) for n in range(50)])
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: committed(broker) == 50, "it holds the partition up")
        broker.expire(P0, 40)
        destination = Destination()
        async with running(Replica(broker, destination, settings=SOON)) as replica:
            await eventually(lambda: states(broker) == [], "it waits for what is gone")
            assert replica.metrics.expired.value("ping") > 0
        assert len(set(destination.ids)) == 10

    scenario(play)


def test_a_topic_that_was_made_anew_begins_at_its_beginning_and_owes_nothing_of_the_former_one() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination(lambda _: DOWN)
        produce(broker, *[value(n) for n in range(50)])
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: committed(broker) == 50, "it holds the partition up")
        broker.make_anew(TOPIC)
        produce(broker, *[value(n) for n in range(20)])
        destination = Destination()
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: len(set(destination.ids)) == 20, "it does not begin")
            await eventually(lambda: states(broker) == [], "the former topic's state is still there")
        assert len(destination.ids) == 20

    scenario(play)


def test_a_state_that_cannot_be_read_is_left_alone_and_holds_nothing_up(capsys: pytest.CaptureFixture[str]) -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        strange = write_state(STATES, State("a", P0, next=3))._replace(value=b'{"version": 99}')
        list(broker.produce([strange, Outgoing(STATES, b"what", b"is this", partition=0)]))
        produce(broker, value())
        async with running(Replica(broker, destination)):
            await eventually(lambda: committed(broker) == 1, "it does not begin")
        assert len(list(broker.read(STATES))) == 2

    scenario(play)
    said = capsys.readouterr().out
    assert "version is 99" in said
    assert said.count("a state is left alone") == 2


def test_a_broker_that_cannot_be_asked_where_to_begin_is_asked_again() -> None:
    class Silent(MemoryBroker):
        silent = 2

        def committed(self, *arguments: object) -> object:  # type: ignore[override]
            if not arguments:
                return super().committed()  # what tests look at
            self.silent -= 1
            if self.silent >= 0:
                raise BrokerUnreachable("no Kafka broker answered")
            return super().committed(*arguments)  # type: ignore[arg-type]

    async def play() -> None:
        broker, destination = cluster(kind=Silent), Destination()
        produce(broker, value())
        async with running(Replica(broker, destination)) as replica:
            await eventually(lambda: "take-over" in replica.health.not_ready(), "it is ready although it reads nothing")
            await eventually(lambda: len(destination.got) == 1, "it gave up")
            assert "take-over" not in replica.health.not_ready()

    scenario(play)


def test_a_take_over_that_does_not_come_to_an_end_is_told_of_before_kafka_gives_up() -> None:
    class Waiting(MemoryBroker):
        """Offsets of an open transaction are waited for."""

        ended = threading.Event()

        def committed(self, *arguments: object) -> object:  # type: ignore[override]
            assert self.ended.wait(PATIENCE)
            return super().committed(*arguments)  # type: ignore[arg-type]

    async def play() -> None:
        broker, replica = cluster(kind=Waiting), Replica(cluster(), Destination())
        assert isinstance(broker, Waiting)
        health, clock, begun = replica.health, SystemClock(), asyncio.Event()

        async def reach(_: int) -> None:
            return

        def begin(offsets: Mapping[TopicPartition, int]) -> None:
            assert offsets == {TopicPartition(TOPIC, 0): 0}
            begun.set()

        take_over = TakeOver(replica.core, broker, STATES, begin, reach, clock=clock, health=health, patience=0.05)
        replica.core.assigned([TopicPartition(TOPIC, 0)])
        take_over.start([TopicPartition(TOPIC, 0)], lambda _: None)
        assert not health.has("take-over")
        await eventually(lambda: health.has("take-over"), "it is ready although it reads nothing")
        assert health.not_ready()["take-over"] == (
            "1 partitions cannot be taken over yet: no answer for 0.05 s; a transaction may still be open"
        )
        broker.ended.set()
        await asyncio.wait_for(begun.wait(), PATIENCE)
        assert not health.has("take-over")
        take_over.close()

    scenario(play)


def test_a_log_that_cannot_be_read_again_for_a_while_is_read_when_it_can() -> None:
    class Shy(MemoryBroker):
        refusals = 1

        def log_reader(self) -> object:  # type: ignore[override]
            broker, reader = self, super().log_reader()

            class Reader:
                close = reader.close

                def read(self, *arguments: object) -> object:
                    broker.refusals -= 1
                    if broker.refusals >= 0:
                        raise BrokerError("the partition has no leader")
                    return reader.read(*arguments)  # type: ignore[arg-type]

            return Reader()

    async def play() -> None:
        broker, destination = cluster(kind=Shy), Destination(lambda _: DOWN)
        produce(broker, *[value(n) for n in range(10)])
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: len(destination.got) >= 3, "nothing was attempted")
            destination.answer = lambda _: OK
            await eventually(lambda: committed(broker) == 10 and states(broker) == [], "it never got on")
        assert len(set(destination.ids)) == 10

    scenario(play)


def test_a_partition_lost_in_the_middle_of_its_take_over_is_left_to_its_owner() -> None:
    async def play() -> None:
        broker, destination = cluster(partitions=2), Destination()
        for partition in (0, 1):
            produce(broker, *[value(n) for n in range(20)], partition=partition)
        async with running(Replica(broker, destination)) as first, running(Replica(broker, destination)) as second:
            await eventually(lambda: (committed(broker, 0), committed(broker, 1)) == (20, 20), "not all arrived")
            await eventually(lambda: second.core.partitions, "the second got nothing")
            assert first.core.in_hand == second.core.in_hand == 0
        assert len(set(destination.ids)) == 40

    scenario(play)


class Slow(ServiceBase):
    """
    Slow

    Sends by itself.
    """

    name = "slow"
    blocking = True
    sent: ClassVar[list[tuple[int, str]]] = []
    fails: ClassVar[int] = 0

    def send(self, payload: Payload) -> None:
        if Slow.fails:
            Slow.fails -= 1
            raise ConnectionResetError
        Slow.sent.append((payload["attributes"]["number"], self.session.delivery_id))


def session(delivery_id: str) -> PingSession:
    made = PingSession()
    made.delivery_id = delivery_id
    return made


def test_a_blocking_service_keeps_order_and_retries_like_any_other() -> None:
    async def play() -> None:
        Slow.sent, Slow.fails = [], 2
        broker = cluster()
        list(broker.produce([Outgoing(TOPIC, b"k", value(n), partition=0) for n in range(10)]))
        blocking = Subscription(id="slow", product=None, service=Slow({}, RecordingSession()))
        replica = Replica(broker, Destination(), subscriptions=[blocking], workers=Workers(2, session=session))
        async with running(replica):
            await eventually(lambda: committed(broker) == 10 and not owed(broker), "it did not arrive")
        assert [number for number, _ in Slow.sent] == list(range(10))
        assert len({delivery_id for _, delivery_id in Slow.sent}) == 10
        assert replica.metrics.attempts.value("slow", "transient") == 2

    scenario(play)


def test_an_orderly_end_owes_what_hangs_and_nobody_loses_it() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        destination.hold = True
        produce(broker, *[value(n) for n in range(5)])
        hasty = Timing(cycle_interval=0.02, drain_timeout=0.1, revoke_timeout=0.1)
        async with running(Replica(broker, destination, hasty)):
            await eventually(lambda: len(destination.got) == 5, "nothing began")
        assert [entry.attempts for entry in owed(broker)] == [0] * 5
        second = Destination()
        async with running(Replica(broker, second, FAST)):
            await eventually(lambda: not owed(broker), "it is still owed")
        assert sorted(set(second.ids)) == sorted(set(destination.ids))

    scenario(play)


def test_a_state_that_is_too_large_is_set_aside_and_others_go_on() -> None:
    async def play() -> None:
        broker = cluster(partitions=2, states={"max.message.bytes": "300"})
        destination = Destination(lambda request: DOWN if b'"number":7' in (request.body or b"") else OK)
        destination.answer = lambda request: Answer(AnswerKind.ANSWERED, 500) if failing(request) else OK
        patient = CoreSettings(quick_attempts=1, retry_delays=(3600.0,), breaker=BreakerSettings(failures=10**6))
        for partition in (0, 1):
            produce(broker, *[value(n, parent=1 + partition) for n in range(20)], partition=partition)
        async with running(Replica(broker, destination, settings=patient)):
            await eventually(lambda: committed(broker, 0) == 20, "the other partition waits as well")
            produce(broker, value(99), partition=0)
            await eventually(lambda: committed(broker, 0) == 21, "nothing becomes durable any more")
            assert committed(broker, 1) == 0

    def failing(request: Request) -> bool:
        return request.url.endswith("/1")

    scenario(play)


def test_subscriptions_that_are_gone_leave_what_they_are_owed_where_it_is() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination(lambda _: DOWN)
        produce(broker, *[value(n) for n in range(5)])
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: committed(broker) == 5, "it holds the partition up")
        before = states(broker)
        async with running(Replica(broker, Destination(), subscriptions=[subscription("other")])):
            produce(broker, value())
            await eventually(lambda: committed(broker) == 6, "it does not go on")
        assert states(broker) == before
        destination = Destination()
        async with running(Replica(broker, destination, settings=SOON)):
            await eventually(lambda: states(broker) == [], "it is not resumed")
        assert len(set(destination.ids)) >= 5

    scenario(play)


def test_the_loop_is_not_asked_to_wait_for_the_log() -> None:
    async def play() -> None:
        broker, destination = cluster(), Destination()
        async with running(Replica(broker, destination)) as replica:
            produce(broker, *[value(n) for n in range(50)])
            await eventually(lambda: committed(broker) == 50, "it was not delivered")
            assert replica.core.read_again_bytes == 0
            assert asyncio.get_running_loop().is_running()
        assert states(broker) == []
        assert list(broker.read(STATES)) == []

    scenario(play)
