"""Looks again and again at what an installation has made durable, and names each event that nobody will deliver.

What is read, in this order: the committed offsets, what is owed, the dead letters, and what the destinations answered
2xx. Things only move from owed to finished, so that a delivery that is nowhere when it is read in this order is lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from benchmarks.arrivals import Arrival, Place, unaccounted
from benchmarks.destinations import Destinations
from benchmarks.stage import Stage
from consumer.broker.kafka import Kafka
from consumer.errors import BrokerError
from consumer.replay import read_table
from consumer.state import State
from consumer.topics import DEAD_LETTERS

EVERY = 1.5  # seconds between two looks


class Look(NamedTuple):
    """What one look found. `dead` and `answered` hold events by subscription."""

    committed: Mapping[int, int]
    states: list[State]
    dead: Mapping[str, set[int]]
    answered: Mapping[str, set[int]]

    def finished(self, name: str, places: Mapping[int, Place]) -> list[int]:
        """Return the events that a subscription is durably done with: not owed, and never read again."""
        return unaccounted(places, (), self.owed_to(name), self.committed)

    def has(self, name: str, number: int) -> bool:
        """Whether a subscription got an event, or has it as a dead letter."""
        return number in self.answered[name] or number in self.dead.get(name, ())

    def owed_to(self, name: str) -> list[State]:
        """Return what a subscription is owed."""
        return [state for state in self.states if state.subscription == name]

    def unfinished(self, count: int) -> dict[str, int]:
        """Return how many of the events 0 to `count` each subscription has neither got nor as a dead letter."""
        every = set(range(count))
        return {name: len(every - got - self.dead.get(name, set())) for name, got in self.answered.items()}


class Watcher:
    """Looks while its block lasts.

    `lost` has sentences about what it found missing, by subscription and event; `durable`, by subscription, since when
    (seconds since 1970) it has known of each event that it is done with.
    """

    def __init__(
        self, bootstrap: str, stage: Stage, destinations: Destinations, names: Iterable[str], places: dict[int, Place]
    ) -> None:
        """Watch the destinations `names`, each the one of the subscription of that name; `places` may be growing."""
        self.arrivals: dict[str, list[Arrival]] = {name: [] for name in names}
        self.lost: dict[tuple[str, int], str] = {}
        self.durable: dict[str, dict[int, float]] = {name: {} for name in self.arrivals}
        self.looks = self.blind = 0  # looks that succeeded, and those in which the broker was away
        self.trouble = ""  # why the last look failed; nothing if it did not
        self.dead: Mapping[str, set[int]] = {}  # as of the last look
        self._stage = stage
        self._kafka = Kafka(bootstrap, stage.group)
        self._destinations = destinations
        self._places = places
        self._by_place: dict[Place, int] = {}
        self._answered: dict[str, set[int]] = {name: set() for name in self.arrivals}
        self._looking = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def look(self) -> Look:
        """Look once; notes what is lost. Raises BrokerError where the broker is away."""
        with self._looking:
            look = self._look()
            now, places = time.time(), self._places.copy()
            for name, known in self.durable.items():
                pending = {number: place for number, place in places.items() if number not in known}
                for number in look.finished(name, pending):
                    known[number] = now
                    if not look.has(name, number):
                        self.lost[name, number] = _sentence(name, number, places[number], look)
            self.looks += 1
            self.trouble, self.dead = "", look.dead
            return look

    def await_look(self, true: Callable[[Look], bool], seconds: float) -> Look | None:
        """Look until one says that it is true; None if none does for so many `seconds` without progress."""
        least, moved = float("inf"), time.monotonic()
        while time.monotonic() - moved < seconds:
            try:
                look = self.look()
            except BrokerError as error:
                self.trouble = str(error)
                continue
            if true(look):
                return look
            left = sum(look.unfinished(len(self._places)).values()) + len(look.states)
            if left < least:
                least, moved = left, time.monotonic()
            self._ended.wait(0.5)
        return None

    def _look(self) -> Look:
        committed = self._stage.committed()
        states = self._stage.states()
        dead = self._dead()
        self.collect()
        return Look(committed, states, dead, self._answered)

    def collect(self) -> None:
        """Take in what the destinations got, whether or not there is a broker."""
        for name, arrivals in self._destinations.take().items():
            self.arrivals[name] += arrivals
            self._answered[name].update(arrival.number for arrival in arrivals if arrival.delivered)

    def _dead(self) -> dict[str, set[int]]:
        """Return the events that are dead letters, by subscription."""
        letters = [entry.letter for entry in read_table(self._kafka, self._stage.topic + DEAD_LETTERS).entries]
        if len(self._by_place) != len(self._places):
            self._by_place = {place: number for number, place in self._places.copy().items()}
        dead: dict[str, set[int]] = {}
        for letter in letters:
            number = self._by_place.get((letter.origin.partition, letter.origin.offset))
            if number is not None:
                dead.setdefault(letter.subscription, set()).add(number)
        return dead

    def _run(self) -> None:
        while not self._ended.wait(EVERY):
            try:
                self.look()
            except BrokerError:
                self.blind += 1

    def stop(self) -> None:
        """Look no more by itself."""
        self._ended.set()
        self._thread.join()

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _sentence(name: str, number: int, place: Place, look: Look) -> str:
    partition, offset = place
    states = [state for state in look.owed_to(name) if state.partition.partition == partition]
    return (
        f"lost: event {number}, subscription {name}, partition {partition}, offset {offset}: the group has committed "
        f"{look.committed.get(partition)}, and it is neither delivered, nor owed ({states or 'no state'}), nor dead"
    )
