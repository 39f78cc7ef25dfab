"""One night: an alert is provoked on a real Kafka, its section followed, and looked whether all is well again.

What all nights have: an installation with replicas at addresses of their own, a receiver, a Prometheus with the rules
of deploy/alerts.yaml, and the commands of the alert's section in docs/operating.md.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.error import URLError

from installation import Installation, Replica
from kafka import Container, KafkaUnavailable
from nights.runbook import OURS, Block, Command, section
from observed import ALERTS
from ports import LOOPBACK, free_port
from prometheus import Prometheus, PrometheusMissing, running
from receivers import Answer, Got, Receiver
from sequences import event

from consumer.codec import Codec
from consumer.errors import SprintlyError
from consumer.event import Outgoing, record_key

PATIENCE = 120.0  # seconds that anything may take on a busy machine, which is more than any of it needs
LOOK = 0.2  # seconds between two looks
MINUTE = 1  # seconds that a minute of the rules is here: a window of a quarter of an hour is one of 15 s
PARTITIONS = 4
# So that what waits for another attempt is tried in a second, and not in half a minute.
QUICK = {"probe_pause": "500ms", "probe_longest_pause": "1s", "retry_delays": "1s,1s,10m"}
CODEC = Codec()


class Tools(Protocol):
    """Kafka's own programs."""

    def __call__(self, program: str, *arguments: str) -> str:
        """Run one beside the broker; returns what it printed."""


@dataclass(frozen=True)
class Place:
    """The Kafka of a night. What can only be done to one of our own is None elsewhere."""

    bootstrap: str
    container: Container | None = None
    behind_gate: str = ""  # an address that can be cut off …
    cut: Callable[[], None] | None = None  # … by this, until …
    join: Callable[[], None] | None = None  # … this


@dataclass
class Row:
    """What a night came to."""

    alert: str
    how: str
    done: str = ""
    fired_after: float = 0.0  # seconds from when it was provoked
    over_after: float = 0.0  # seconds from when the section was followed
    well: str = ""
    ran: list[Command] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Night:
    """What is played; each kind of night says what is done to provoke its alert, and what to mend it."""

    alert: ClassVar[str]
    how: ClassVar[str]  # it is provoked
    done: ClassVar[str]  # to mend it
    settings: ClassVar[Mapping[str, str]] = {}
    subscribed: ClassVar[tuple[str, ...]] = ("acme", "other")
    rules: ClassVar[Mapping[str, str]] = {}  # what is another expression here, as `how` says
    replicas: ClassVar[int] = 2
    fate: ClassVar[str] = "lost"  # of what is not delivered, as it was to be
    own_kafka: ClassVar[bool] = False  # whether it needs what only a Kafka of our own can do

    def __init__(self, place: Place, folder: Path) -> None:
        self.place = place
        self.made = Installation(place.bootstrap, folder, **{**QUICK, **self.settings})
        self.section = section(self.alert)
        self.addresses = [f"{LOOPBACK}:{free_port()}" for _ in range(self.replicas)]
        self.running: dict[int, Replica] = {}
        self.receiver = Receiver(self._answer)
        self.row = Row(self.alert, self.how)
        self.lost: dict[str, set[int]] = defaultdict(set)  # numbers of events, by subscription: as designed
        self.gone: set[str] = set()  # subscriptions that are to get nothing more
        self._stack = ExitStack()
        self._delivered: dict[str, set[int]] = defaultdict(set)
        self._written = 0
        self._prometheus: Prometheus | None = None

    # -- what a kind of night says

    def prepare(self) -> None:
        """Have all run and be well."""
        self.made.create_topics(PARTITIONS)
        self.subscribe(*self.subscribed)
        self.start_all()
        self.deliver(40)

    def provoke(self) -> None:
        """Have something go wrong."""
        raise NotImplementedError

    def mend(self) -> None:
        """Follow the section."""
        raise NotImplementedError

    def answer(self, got: Got) -> Answer:
        """Return what a receiver answers."""
        return 204

    def well(self) -> str:
        """Return in some words what holds beside what holds after every night; raises AssertionError."""
        return ""

    # -- playing

    def play(self) -> Row:
        """Play it to its end; what does not hold is in the row's problems."""
        try:
            with self._stack:
                self._stack.enter_context(self.receiver)
                self._play()
        except (AssertionError, KafkaUnavailable, PrometheusMissing, SprintlyError) as error:
            self.row.problems.append(f"{self.alert} ({self.how}): {error}")
        return self.row

    def _play(self) -> None:
        self.prepare()
        rules = hurried(ALERTS.read_text("utf-8"), self.rules)
        self._prometheus = self._stack.enter_context(running(self.made.folder, self.addresses, rules))
        self.until(self._watched, "Prometheus does not reach all replicas, or it fires without a reason")
        began = time.monotonic()
        self.provoke()
        self.until(lambda: self.alert in self.prometheus.firing(), "it does not fire")
        self.row.fired_after = time.monotonic() - began
        began = time.monotonic()
        self.mend()
        self.until(lambda: self.alert not in {alert.name for alert in self.prometheus.alerts()}, "it does not end")
        self.row.over_after = time.monotonic() - began
        self.row.done = self.done
        self._see_that_all_is_well()
        for replica in self.running.values():
            assert replica.stop() == 0, f"a replica did not end in order\n{replica.text[-1000:]}"

    def _watched(self) -> bool:
        reached = [series.value for series in self.prometheus.query("sum(up)")] == [len(self.running)]
        return reached and self.alert not in self.prometheus.firing()

    def _see_that_all_is_well(self) -> None:
        self.deliver(20)
        self.until(lambda: not self.unready(), "not all replicas are ready", self.unready)
        self.until(lambda: not self.missing(), "not all is delivered", self.missing)
        self.until(lambda: self.owed() == [], "something is owed", self.owed)
        also = self.well()
        letters = self.made.dead_letters()
        assert letters == [], f"{len(letters)} dead letters are left: {letters[0]}"
        never = [str(each) for each in self.section.commands if each not in self._followed]
        assert not never, f"its section has commands that were not run: {never}"
        lost = sum(map(len, self.lost.values()))
        count = sum(len(numbers) for numbers in self._delivered.values())
        self.row.well = ", ".join(
            [
                "ready, nothing owed",
                f"{count:,} delivered",
                f"{lost} {self.fate}" if lost else "none lost",
                *([also] if also else []),
            ]
        )

    @property
    def _followed(self) -> set[Command]:
        return set(self.row.ran)

    # -- replicas

    def subscribe(self, *ids: str) -> None:
        """Write the subscriptions file: a webhook for each, at its own path."""
        self.made.subscribe(**{id_: f"{self.receiver.url}/{id_}" for id_ in ids})

    def start(self, number: int, **environ: str) -> Replica:
        """Start the replica of a number, at its address, as its supervisor does."""
        given = {"SPRINTLY_HTTP": self.addresses[number], **environ}
        self.running[number] = replica = self._stack.enter_context(self.made.consuming(**given))
        return replica

    def start_all(self, **environ: str) -> None:
        """Start those that do not run, and wait until each has partitions."""
        for number in range(self.replicas):
            if number not in self.running:
                self.start(number, **environ)
        self.until(lambda: not self.unready(), "replicas are not ready", self.unready)

    def stop_all(self) -> None:
        """End all in order."""
        for number in list(self.running):
            assert self.running.pop(number).stop() == 0, "a replica did not end in order"

    def kill(self, number: int) -> None:
        """End one as a power cut does."""
        self.running.pop(number).kill()

    def unready(self) -> dict[int, Any]:
        """Return why replicas are not ready, by number; those that do not answer as well."""
        found = {number: reasons_of(replica) for number, replica in self.running.items()}
        return {number: reasons for number, reasons in found.items() if reasons}

    # -- events

    def write(self, count: int) -> range:
        """Write so many events more; returns their numbers."""
        numbers = range(self._written, self._written + count)
        self.made.produce_raw(*(self.record(number) for number in numbers))
        self._written += count
        return numbers

    def record(self, number: int) -> Outgoing:
        """Return the record of one event."""
        payload = event(number)
        return Outgoing(self.made.topic, record_key(payload), CODEC.encode(payload))

    def deliver(self, count: int) -> None:
        """Write so many events, and wait until those who are well have got them."""
        self.write(count)
        self.until(lambda: not self.missing(), "not all is delivered", self.missing)

    def delivered(self, id_: str) -> set[int]:
        """Return the numbers of the events that a subscription has got."""
        return set(self._delivered[id_])

    def missing(self) -> dict[str, int]:
        """Return how many events each subscription has still to get."""
        every = range(self._written)
        left = {
            id_: sum(number not in self._delivered[id_] and number not in self.lost[id_] for number in every)
            for id_ in self.subscribed
            if id_ not in self.gone
        }
        return {id_: count for id_, count in left.items() if count}

    def _answer(self, got: Got) -> Answer:
        answered = self.answer(got)
        if (answered if isinstance(answered, int) else getattr(answered, "status", 0)) in range(200, 300):
            self._delivered[got.path.strip("/")].add(number_of(got))
        return answered

    @contextmanager
    def flood(self, rate: int) -> Iterator[None]:
        """Have so many events a second written all the time until the block ends."""
        over = threading.Event()

        def write() -> None:
            while not over.wait(1.0):
                self.write(rate)

        writing = threading.Thread(target=write)
        writing.start()
        try:
            yield
        finally:
            over.set()
            writing.join()

    # -- what an operator does and sees

    def follow(self, block: Block, *, code: int = 0, says: str = "", **words: str) -> str:
        """Type the commands of a block, which have to end with this code; returns what they printed, and must say."""
        return "".join(self.type(command, code=code, says=says, **words) for command in block)

    def type(self, command: Command, *, code: int = 0, says: str = "", **words: str) -> str:
        """Type one command."""
        self.row.ran.append(command)
        filled = command.filled(**words)
        if filled.program != OURS:
            return self._by_kafkas_own(filled, says)
        done = self.made.run(*filled.arguments, input="y\n", **dict(filled.environ))
        said = done.stdout + done.stderr
        assert done.returncode == code, f"{filled} ended with {done.returncode}: {said}"
        assert says in said, f"{filled} does not say {says!r}: {said}"
        return said

    def consume(self, block: Block) -> None:
        """Start all replicas that do not run by the one command of a block, as their supervisor does."""
        (command,) = block
        assert (command.program, command.arguments) == (OURS, ("consume",)), command
        self.row.ran.append(command)
        self.start_all(**dict(command.environ))

    def _by_kafkas_own(self, command: Command, says: str) -> str:
        assert self.place.container, "Kafka's own tools can be run on a Kafka of our own only"
        words = {"localhost:9092": self.place.bootstrap, "sprintly.events": self.made.topic}
        said = self.place.container.program(command.program, *command.filled(**words).arguments)
        assert says in said, f"{command} does not say {says!r}: {said}"
        return said

    def owed(self) -> list[dict[str, Any]]:
        """Return what is owed, as the command says."""
        found: list[dict[str, Any]] = json.loads(self.made.do("deliveries", "owed", "--json"))
        return found

    @property
    def prometheus(self) -> Prometheus:
        """The one that scrapes these replicas, as soon as they were well."""
        assert self._prometheus
        return self._prometheus

    def until(
        self, true: Callable[[], object], otherwise: str, more: Callable[[], object] = str, patience: float = PATIENCE
    ) -> None:
        """Wait until something is true; raises AssertionError, with what more there is to say, if it never is."""
        deadline = time.monotonic() + patience
        while not true():
            assert time.monotonic() < deadline, f"{otherwise}: {more()}; {self._last_words()}"
            time.sleep(LOOK)

    def _last_words(self) -> str:
        firing = sorted(self._prometheus.firing()) if self._prometheus else []
        logs = [f"{number}: {replica.text[-600:]}" for number, replica in self.running.items()]
        return "\n".join([f"firing: {firing}; not ready: {self.unready()}", *logs])


def hurried(text: str, others: Mapping[str, str]) -> str:
    """Return the rules with each minute a second, `for`, windows and offsets alike, and some words put for others."""
    for word, other in others.items():
        assert text.count(word) == 1, f"deploy/alerts.yaml has {word!r} {text.count(word)} times"
        text = text.replace(word, other)
    seconds = {"m": MINUTE, "h": 60 * MINUTE}
    return re.sub(r"\b(\d+)([mh])\b", lambda found: f"{int(found[1]) * seconds[found[2]]}s", text)


def reasons_of(replica: Replica) -> dict[str, str]:
    """Return why a replica is not ready; one that does not answer, or has no partitions yet, is not."""
    if replica.process.poll() is not None:
        return {"process": f"it ended with {replica.process.returncode}"}
    try:
        return replica.reasons()
    except (URLError, ConnectionError, TimeoutError) as error:
        return {"http": str(error)}


def number_of(got: Got) -> int:
    """Return which event a request is about."""
    found: int = int(json.loads(got.body)["attributes"]["score"])
    return found
