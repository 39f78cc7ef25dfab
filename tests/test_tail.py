"""The control topic followed: a replica that cannot hear operators says so, and hears them again."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from clock import FakeClock
from harness import subscription
from replicas import CONTROL, Destination, Replica, cluster, eventually, scenario

from consumer.announcement import announce
from consumer.clock import SystemClock
from consumer.control import Kind, Word
from consumer.health import Health
from consumer.tail import PATIENCE, Tail


def test_who_cannot_hear_operators_for_long_is_not_ready_and_says_why() -> None:
    async def play() -> None:
        broker, clock = cluster(), FakeClock()
        core, health = Replica(broker, Destination()).core, Health(clock.monotonic)
        tail = Tail(broker, CONTROL, core, lambda: None, clock=clock, health=health)
        task = asyncio.create_task(tail.run())
        await tail.reach([])
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


def test_a_topic_that_is_made_anew_is_heard_from_its_begin() -> None:
    async def play() -> None:
        broker, clock = cluster(), SystemClock()
        core = Replica(broker, Destination(), subscriptions=[subscription("a"), subscription("b")]).core
        tail = Tail(broker, CONTROL, core, lambda: None, clock=clock, health=Health(clock.monotonic))
        words = [Word(id_, Kind.SWITCH, enabled=False) for id_ in ("a", "b")]
        announce(broker, CONTROL, words)
        task = asyncio.create_task(tail.run())
        await tail.reach([])
        assert (core.disabled, core.told_up_to.offset) == (2, 2)
        broker.make_anew(CONTROL)
        note = announce(broker, CONTROL, words[:1])
        await eventually(lambda: core.told_up_to == note, "it does not notice")
        assert (core.disabled, note.offset) == (1, 1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        tail.close()

    scenario(play)
