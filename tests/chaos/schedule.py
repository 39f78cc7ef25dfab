"""What is done to an installation, and when: names of faults, a seed and seconds in, a list of timed actions out.

The same arguments give the same list. What is acted upon (a replica, the way to the broker, ...) is acted upon by one
action at a time; several may be under way at once.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WAY, BROKER, TOPICS = "way", "broker", "topics"  # what actions are upon, beside replicas
EXTRA = "extra"  # the replica that is added and removed
BEGIN, END = 3.0, 2.0  # seconds without an action
AWAY_SHARE = 1 / 3  # of all seconds, the longest that an action may last
APART = 2.0  # how much longer the pauses of each fault are where all of them come together


class Kind(NamedTuple):
    """A kind of action: what is done, upon what, and the shortest and the longest that it lasts (seconds)."""

    do: str
    upon: tuple[str, ...]  # none: any replica
    lasts: tuple[float, float]
    least: float = 0.0  # seconds to which it may be cut where there is little time; 0: not below the shortest
    in_turn: bool = False  # one after the other, each as often as the others; else by chance

    def duration(self, chance: random.Random, most: float) -> float:
        """Return how long it lasts this time, no longer than `most` if that may be."""
        return max(min(chance.uniform(*self.lasts), most), self.least or self.lasts[0])


class Fault(NamedTuple):
    """Something that goes wrong, or is done to the replicas in good order, again and again."""

    title: str
    kinds: tuple[Kind, ...]  # that take turns
    pause: tuple[float, float]  # seconds between the end of an action and the next: shortest and longest


class Action(NamedTuple):
    """What is done at which second, for how long, upon what (a replica's name, or one of the names above)."""

    at: float
    do: str
    upon: str
    lasts: float

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.do} {self.upon} for {self.lasts:.1f} s"


# The pauses of a replica's session: the broker's time-out is 6 s in tests, and `max.poll.interval.ms` is 10 s here.
FAULTS = {
    "kill": Fault("kill -9 of a replica, started again", (Kind("kill", (), (1, 5)),), (8, 14)),
    "restart": Fault("SIGTERM, and started again", (Kind("restart", (), (0, 3)),), (3, 8)),
    "freeze": Fault("SIGSTOP for longer than max.poll.interval.ms", (Kind("freeze", (), (12, 16)),), (8, 14)),
    "scale": Fault(
        "replicas added, and removed by SIGTERM",
        (Kind("add", (EXTRA,), (8, 15)), Kind("restart", (), (6, 12))),
        (3, 6),
    ),
    "roll": Fault(
        "replicas replaced one by one, as a Deployment does: another started, SIGTERM once it is ready",
        (Kind("roll", (), (1, 3), in_turn=True),),
        (4, 6),
    ),
    "broker": Fault("broker killed and started again", (Kind("kill", (BROKER,), (1, 6)),), (20, 30)),
    "unreachable": Fault(
        "broker unreachable: connections refused, or nothing comes through",
        (Kind("shut", (WAY,), (60, 60), least=8), Kind("stall", (WAY,), (60, 60), least=8)),
        (15, 20),
    ),
    "refusing": Fault(
        "dead-letter and state topics refuse writes",
        (
            Kind("refuse .dlq", (TOPICS,), (5, 12)),
            Kind("refuse .state", (TOPICS,), (5, 12)),
            Kind("refuse .dlq .state", (TOPICS,), (5, 12)),
        ),
        (6, 10),
    ),
    "transactions": Fault(
        "transactions time out",
        (Kind("stall", (WAY,), (2.5, 5)), Kind("slow", (WAY,), (6, 10))),
        (5, 8),
    ),
}
ALL = "all"


def faults_of(name: str) -> list[Fault]:
    """Return the faults that a name stands for."""
    return list(FAULTS.values()) if name == ALL else [FAULTS[name]]


def title_of(name: str) -> str:
    """Say what a name stands for."""
    return "all of these together" if name == ALL else FAULTS[name].title


def schedule(name: str, seed: int, seconds: float, replicas: Sequence[str]) -> list[Action]:
    """Return what is done within so many `seconds` to so many `replicas`, in the order of time."""
    faults = faults_of(name)
    chance = random.Random(f"{name}:{seed}:{seconds:g}:{','.join(replicas)}")
    stretch = 1.0 if len(faults) == 1 else APART
    waiting = [(at, each, 0) for each, at in enumerate(_firsts(faults, seconds, chance))]
    heapq.heapify(waiting)
    free: dict[str, float] = {}  # from when on something may be acted upon again
    actions: list[Action] = []
    while waiting:
        at, which, turn = heapq.heappop(waiting)
        kind = faults[which].kinds[turn % len(faults[which].kinds)]
        lasts = kind.duration(chance, AWAY_SHARE * seconds)
        if at + lasts > seconds - END:
            continue
        idle = [upon for upon in _candidates(kind, replicas, turn) if free.get(upon, 0.0) <= at]
        if not idle:
            heapq.heappush(waiting, (at + 1.0, which, turn))
            continue
        upon = chance.choice(idle)
        actions.append(Action(round(at, 1), kind.do, upon, round(lasts, 1)))
        free[upon] = at + lasts + 1.0
        heapq.heappush(waiting, (at + lasts + stretch * chance.uniform(*faults[which].pause), which, turn + 1))
    return sorted(actions)


def _candidates(kind: Kind, replicas: Sequence[str], turn: int) -> Sequence[str]:
    """Return what an action may be upon."""
    every = kind.upon or replicas
    return [every[turn % len(every)]] if kind.in_turn else every


def _firsts(faults: Sequence[Fault], seconds: float, chance: random.Random) -> Iterable[float]:
    """Say when each fault comes first: what lasts longest begins, so that each comes even in little time."""
    order = sorted(range(len(faults)), key=lambda each: -faults[each].kinds[0].lasts[1])
    span = min(10.0, (seconds - BEGIN - END) / 2 / len(faults))
    at = {each: BEGIN + place * span + chance.uniform(0, span / 2) for place, each in enumerate(order)}
    return [at[each] for each in range(len(faults))]
