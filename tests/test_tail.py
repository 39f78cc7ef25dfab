"""The control topic followed: a replica that cannot hear operators says so, and hears them again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from clock import FakeClock
from replicas import CONTROL, Destination, Replica, cluster, eventually, scenario

from consumer.health import Health
from consumer.tail import PATIENCE, Tail


def test_who_cannot_hear_operators_for_long_is_not_ready_and_says_why() -> None:
    async def play() -> None:
        broker, clock = cluster(), FakeClock()
        core, health = Replica(broker, Destination()).core, Health(clock.monotonic)
        tail = Tail(broker, CONTROL, core, lambda: None, clock=clock, health=health)
        task = asyncio.create_task(tail.run())
        await tail.reach(0)
        broker.reachable = False
        clock.advance(PATIENCE)
        await eventually(lambda: health.has("control"), "it is ready although it hears nothing")
        assert health.not_ready()["control"] == (
            "what operators say cannot be read: no Kafka broker answered at memory within 5 s"
        )
        broker.reachable = True
        await eventually(lambda: not health.not_ready(), "it is not ready again")
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        tail.close()

    scenario(play)
