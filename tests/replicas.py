"""A whole replica on the fake broker, and the destination that it sends to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from harness import CODEC, OK, TOPIC, Ping, subscription

from consumer.attempts import Spans
from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.clock import SystemClock
from consumer.codec import Codec
from consumer.core import Core, CoreSettings
from consumer.directory import Directory
from consumer.entries import write_entry
from consumer.event import Outgoing, TopicPartition
from consumer.fetcher import SchemaSource
from consumer.health import Health
from consumer.metrics import Metrics
from consumer.pipeline import Pipeline, Timing, Topics
from consumer.reload import Source
from consumer.router import Router
from consumer.sealed import Seal
from consumer.state import Owed, latest_states
from consumer.subscriptions import Subscription
from consumer.transport import Transport
from consumer.wire import Answer, AnswerKind, Request
from consumer.workers import Workers

FAST = Timing(cycle_interval=0.02, cycle_stall=0.3, revoke_timeout=2.0, drain_timeout=5.0)
REPLAYS, LETTERS, STATES, CONTROL = (f"{TOPIC}.{name}" for name in ("replay", "dlq", "state", "control"))
DIRECTORY = "sprintly.subscriptions"  # the topic with the subscriptions, where they are not given
PATIENCE = 20.0  # seconds


class Destination:
    """What all subscriptions send to: it answers at once, or holds what `hold` says until `release`."""

    def __init__(self, answer: Callable[[Request], Answer] = lambda _: OK) -> None:
        self.answer = answer
        self.hold = False
        self.got: list[Request] = []
        self._held: list[tuple[Request, Callable[[Answer], None]]] = []

    @property
    def ids(self) -> list[str]:
        return [line for request in self.got for line in request.headers if line.startswith("webhook-id: ")]

    def start(self, request: Request, done: Callable[[Answer], None]) -> None:
        self.got.append(request)
        if self.hold:
            self._held.append((request, done))
        else:
            asyncio.get_running_loop().call_soon(done, self.answer(request))

    def release(self) -> None:
        self.hold = False
        held, self._held = self._held, []
        for request, done in held:
            done(self.answer(request))

    async def aclose(self) -> None:
        held, self._held = self._held, []
        for _request, done in held:
            done(Answer(AnswerKind.TRANSIENT, error="the consumer is stopping"))


class Replica:
    """A pipeline with everything around it."""

    def __init__(
        self,
        broker: MemoryBroker,
        destination: Destination | Transport,
        timing: Timing = FAST,
        schemas: SchemaSource | None = None,
        *,
        subscriptions: Sequence[Subscription] = (),
        settings: CoreSettings | None = None,
        workers: Workers | None = None,
        topic: str | None = None,
        seal: Seal | None = None,
        source: Source | None = None,
        verbose: bool = False,
        spans: Spans | None = None,
    ) -> None:
        """Subscriptions are those given, which may change in `source`, or read from `topic` at the start."""
        clock = SystemClock()
        self.health, self.metrics = Health(clock.monotonic), Metrics()
        if topic is not None:
            source = Directory(broker, topic, seal, {"ping": Ping}, health=self.health, metrics=self.metrics)
        active = None if topic is not None else tuple(subscriptions or [subscription("a")])
        codec = Codec(registry=True) if schemas else CODEC
        router = Router(active or ())
        core = Core(settings or CoreSettings(), codec, router, clock, self.metrics, verbose=verbose, spans=spans)
        self.pipeline = Pipeline(
            core,
            broker,
            destination,  # type: ignore[arg-type]  # what the pipeline uses of a transport
            Topics(TOPIC, REPLAYS, LETTERS, STATES, CONTROL),
            workers=workers,
            schemas=schemas,
            source=source,
            active=active,
            timing=timing,
            clock=clock,
            health=self.health,
            metrics=self.metrics,
        )
        self.core = core


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[Replica]:
    """Run a replica until the block ends, and then end it in order."""
    task = asyncio.create_task(replica.pipeline.run())
    try:
        yield replica
    finally:
        replica.pipeline.stop()
        await asyncio.wait_for(task, PATIENCE)


async def eventually(true: Callable[[], object], otherwise: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.01)
    assert true(), otherwise


def cluster(
    partitions: int = 1,
    *,
    kind: type[MemoryBroker] = MemoryBroker,
    states: Mapping[str, str] | None = None,
    **config: str,
) -> MemoryBroker:
    """Make a cluster with all topics; `config` are settings of the dead letters' topic, `states` of the states'."""
    broker = kind()
    settings = {name.replace("_", "."): setting for name, setting in config.items()}
    broker.create(
        [
            TopicSpec(TOPIC, partitions),
            TopicSpec(REPLAYS, 1),
            TopicSpec(LETTERS, 1, settings),
            TopicSpec(STATES, partitions, states or {}),
            TopicSpec(CONTROL, 1),
        ]
    )
    return broker


def produce(broker: MemoryBroker, *values: bytes | None, partition: int = 0) -> None:
    list(broker.produce([Outgoing(TOPIC, b"%d" % n, data, partition=partition) for n, data in enumerate(values)]))


def committed(broker: MemoryBroker, partition: int = 0) -> int:
    commit = broker.committed().get(TopicPartition(TOPIC, partition))
    return commit.offset if commit else 0


def owed(broker: MemoryBroker) -> list[Owed]:
    """Return what the state topic says is owed one by one."""
    states, problems = latest_states(broker.read(STATES))
    assert problems == []
    return sorted(entry for state in states.values() for entry in state.owed)


def scenario(play: Callable[[], object]) -> None:
    """Run an async test on a loop of its own."""
    coroutine = play()
    assert asyncio.iscoroutine(coroutine)
    asyncio.run(coroutine)


def entry(id_: str, seal: Seal | None = None, **more: Any) -> Outgoing:
    return write_entry(DIRECTORY, {"id": id_, "product": "*", "service": "ping", **more}, seal)


def with_topic(*records: Outgoing, broker: MemoryBroker | None = None) -> MemoryBroker:
    broker = broker or cluster()
    broker.create([TopicSpec(DIRECTORY, 1)])
    list(broker.produce(records))
    return broker
