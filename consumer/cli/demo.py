"""`demo`: the whole way in one process, from an embedded Kafka to receivers here, and back from the dead letters.

It is the code that runs in production: only the broker is librdkafka's mock cluster, and the third parties are ours.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable

import click
import uvloop
from rich.console import Console
from rich.live import Live
from rich.table import Table

from consumer.broker.kafka import EmbeddedKafka, Kafka
from consumer.cli.consume import run_until_signalled
from consumer.cli.receiver import Arrival, Receiver
from consumer.cli.replica import pipeline
from consumer.clock import SystemClock
from consumer.codec import Codec
from consumer.errors import SprintlyError
from consumer.event import Outgoing, record_key
from consumer.health import Health
from consumer.logs import configure
from consumer.metrics import Metrics
from consumer.pipeline import Pipeline
from consumer.replay import read_table, replay
from consumer.settings import Settings
from consumer.subscriptions import Subscription, parse_subscriptions
from consumer.topics import DEFAULT_PARTITIONS, topic_specs
from schemas import examples

PATIENCE = 30.0  # seconds for each part of the story, on a slow machine
LOOK = 0.2  # seconds between two looks at what no arrival announces
BROKEN = ("/tracker", "Comment")  # what the third receiver refuses until it is mended
SUBSCRIPTIONS = """
subscriptions:
  - {id: team-chat, product: 1111, service: webhook, events: ["*.created"], options: {urls: "${DEMO_URL}/team-chat"}}
  - {id: audit, product: "*", service: webhook, options: {urls: "${DEMO_URL}/audit", secret: "${DEMO_SECRET}"}}
  - {id: tracker, product: 1111, service: webhook, options: {urls: "${DEMO_URL}/tracker"}}
"""
DEMO_SECRET = "whsec_c3ByaW50Lmx5IGRlbW8sIG5vIHNlY3JldCBhdCBhbGw="


class Story:
    """What arrived, and whether the broken receiver is mended; shared by the receiver's threads and the teller."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.mended = False
        self._changed = threading.Condition()
        self._ended = False

    def answer(self, path: str, payload: dict[str, object]) -> int:
        """Say how a receiver answers: one of them does not understand comments, at first."""
        return 422 if (path, payload["model"]) == BROKEN and not self.mended else 204

    def arrived(self, arrival: Arrival) -> None:
        """Keep what arrived."""
        with self._changed:
            self.arrivals.append(arrival)
            self._changed.notify_all()

    def end(self) -> None:
        """Have nobody wait any longer."""
        self._ended = True

    def wait(self, until: Callable[[], bool], what: str) -> None:
        """Wait until something is true; raises SprintlyError, saying `what` did not happen, when it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not until():
            if self._ended or time.monotonic() > deadline:
                raise SprintlyError(f"the demo ended early: {what}")
            with self._changed:
                self._changed.wait(LOOK)

    @property
    def delivered(self) -> list[Arrival]:
        """What arrived and was accepted."""
        return [arrival for arrival in self.arrivals if arrival.status < 300]

    def table(self) -> Table:
        """Return what arrived, as it is now."""
        table = Table(title="What the receivers got", title_justify="left", box=None, pad_edge=False)
        for column in ("receiver", "event", "webhook-id", "answer"):
            table.add_column(column)
        for path, delivery, payload, status in list(self.arrivals):
            style = "green" if status < 300 else "red"
            table.add_row(path, f"{payload['model']}.{payload['action']}", delivery, f"[{style}]{status}[/]")
        return table


@click.command()
@click.option("--keep", is_flag=True, help="Go on running, so that `produce` in another terminal reaches it.")
def demo(keep: bool) -> None:
    """See it work, with nothing to install: events travel from an embedded Kafka to receivers on this machine.

    One receiver refuses an event: it becomes a dead letter, the receiver is mended, the dead letter is replayed and
    arrives. The summary counts what the receivers got.
    """
    configure("console", "error")
    console, story = Console(), Story()
    with Receiver(story.answer, story.arrived) as receiver:
        console.print("Starting an embedded Kafka (librdkafka's mock cluster) and three receivers ...")
        embedded = EmbeddedKafka()
        settings = Settings.load(
            {"SPRINTLY_BOOTSTRAP_SERVERS": embedded.bootstrap, "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8"}
        )
        kafka = embedded.kafka(settings.group_id)
        kafka.create(topic_specs(settings.topic, DEFAULT_PARTITIONS, 1))
        subscriptions = _subscriptions(receiver.url)
        replica = pipeline(settings, kafka, subscriptions, Health(SystemClock().monotonic), Metrics())
        uvloop.run(_play(console, story, replica, settings, kafka, keep=keep))


async def _play(
    console: Console, story: Story, replica: Pipeline, settings: Settings, kafka: Kafka, *, keep: bool
) -> None:
    running = asyncio.create_task(run_until_signalled(replica))
    with Live(get_renderable=story.table, console=console, refresh_per_second=8):
        telling = asyncio.create_task(asyncio.to_thread(_tell, console, story, settings, kafka))
        await asyncio.wait({running, telling}, return_when=asyncio.FIRST_COMPLETED)
        if not telling.done():  # a signal, or the replica failed
            story.end()
        await telling
    _sum_up(console, story)
    if keep:
        _say_how_to_reach_it(console, kafka.bootstrap)
        seen = len(story.arrivals)
        while not running.done():
            await asyncio.wait({running}, timeout=0.2)
            seen = _print_new(console, story, seen)
    replica.stop()
    await running


def _tell(console: Console, story: Story, settings: Settings, kafka: Kafka) -> None:
    """Produce the documented payloads, wait for what becomes of them, mend the receiver, replay its dead letter."""
    payloads = examples()
    codec = Codec()
    records = [Outgoing(settings.topic, record_key(payload), codec.encode(payload)) for payload in payloads.values()]
    for name, written in zip(payloads, kafka.produce(records), strict=True):
        console.print(f"produced {name}.json to {written.topic}[{written.partition}], offset {written.offset}")
    expected = 3 * len(records)
    story.wait(lambda: len(story.arrivals) >= expected, f"{expected} requests did not arrive")
    story.wait(lambda: bool(read_table(kafka, settings.dead_letter_topic).entries), "there was no dead letter")
    (entry,) = read_table(kafka, settings.dead_letter_topic).entries
    console.print(f"dead letter {entry.letter.id} for {entry.letter.subscription}: {entry.letter.error}")
    story.mended = True
    console.print("the receiver is mended; replaying")
    replay(
        kafka.writer(f"{settings.group_id}-replay"),
        [entry],
        dead_letters=settings.dead_letter_topic,
        replays=settings.replay_topic,
        done=lambda _: None,
    )
    story.wait(lambda: len(story.delivered) >= expected, "the replayed delivery did not arrive")


def _sum_up(console: Console, story: Story) -> None:
    """Say what the receivers counted."""
    delivered = story.delivered
    refused = [arrival.delivery for arrival in story.arrivals if arrival.status >= 300]
    by_receiver = Counter(arrival.path for arrival in delivered)
    counts = ", ".join(f"{path} {count}" for path, count in sorted(by_receiver.items()))
    twice = len(delivered) - len({arrival.delivery for arrival in delivered})
    again = [arrival.delivery for arrival in delivered if arrival.delivery in refused]
    console.print(f"\n{len(delivered)} deliveries arrived ({counts}), {twice} of them twice.")
    console.print(f"{len(refused)} was refused, became a dead letter, was replayed, and arrived as {', '.join(again)}.")


def _say_how_to_reach_it(console: Console, bootstrap: str) -> None:
    console.print("\nStill running, until Ctrl-C. In another terminal:\n")
    console.print(f"  export SPRINTLY_BOOTSTRAP_SERVERS={bootstrap}")
    console.print("  sprintly-services produce FILE.json\n")


def _print_new(console: Console, story: Story, seen: int) -> int:
    for arrival in story.arrivals[seen:]:
        event = f"{arrival.payload['model']}.{arrival.payload['action']}"
        console.print(f"{arrival.path} got {event} {arrival.delivery}: {arrival.status}")
        seen += 1
    return seen


def _subscriptions(url: str) -> tuple[Subscription, ...]:
    return parse_subscriptions(SUBSCRIPTIONS, {"DEMO_URL": url, "DEMO_SECRET": DEMO_SECRET}, source="the demo")
