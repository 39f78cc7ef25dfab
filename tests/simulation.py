#!/usr/bin/env python3
"""The production core in random schedules: all that can happen, in any order, under a clock that only moves tell.

    python tests/simulation.py [SCHEDULES] [FIRST_SEED] [--shrink] [--words] [--changes]

A schedule is a list of moves, each the name of a method of `Schedule` and small numbers. Here a seed makes the list; in
`test_simulation.py` hypothesis does, which makes one that fails as short as can be. With `--words` operators have a say
as well: they disable subscriptions, enable them, let them skip, or have them read once more; and replicas stand still
for a while, since nothing becomes durable. With `--changes` subscriptions change while replicas run: one goes, comes
back, wants other events; others get other options, or are set aside.
"""

from __future__ import annotations

import random
import re
import sys
import time
import traceback
from collections.abc import Iterable
from typing import NamedTuple, TypeAlias

from harness import TOPIC
from simulated.log import PARTITIONS
from simulated.receivers import ALL, ALWAYS, CHANGES, REFUSED, SHIFTS, Mode, moved, other
from simulated.replica import Fate, Replica
from simulated.world import World, item_of

from consumer.control import Kind as About
from consumer.control import Word
from consumer.event import TopicPartition

Move: TypeAlias = tuple[str, tuple[int, ...]]
KEYS = (b"x", b"x", b"y", b"z", None)
KINDS = (*["created"] * 10, *["updated"] * 3, "double", "silent", "broken", "referring", "cut", "poison")
FAILURES = (1, 2, 3, REFUSED, ALWAYS)
PAUSES = (0.3, 1.0, 1.0, 3.0, 6.0, 20.0)
FATES = (Fate.DURABLE, Fate.DURABLE, Fate.DURABLE, Fate.ABORTED, Fate.IN_DOUBT)
MODES = (Mode.UP, Mode.UP, Mode.UP, Mode.DOWN, Mode.DOWN, Mode.REFUSING, Mode.HANGING, Mode.THROTTLING)
WAITS = ("2", "30", None)
SETS = (("a",), ("a", "b"), ("a", "loose"), ("a", "shifting"), ("a", "paced"), ("a", "threaded"), tuple(ALL))


class Kind(NamedTuple):
    """A kind of move: how often it comes, how often where crashes are many, and how many values its numbers have."""

    weight: int
    brittle: int
    numbers: tuple[int, ...]


REPLICA, SOME = 6, 12
MOVES = {
    "write": Kind(14, 0, (2, len(KEYS), len(KINDS), len(ALL), 4 * len(FAILURES))),
    "skip": Kind(1, 0, (len(PARTITIONS), 3)),
    "fetch": Kind(10, 0, (REPLICA, 5)),
    "turn": Kind(20, 0, (REPLICA, 6)),
    "answer": Kind(40, 0, (REPLICA, SOME, 12, len(WAITS))),
    "read": Kind(16, 0, (REPLICA, 2, 8, 8)),
    "wait": Kind(10, 0, (len(PAUSES),)),
    "begin_cycle": Kind(3, 0, (REPLICA,)),
    "send_cycle": Kind(2, 0, (REPLICA,)),
    "end_cycle": Kind(4, 0, (REPLICA, len(FATES))),
    "whole_cycle": Kind(6, 0, (REPLICA, len(FATES))),
    "destination": Kind(4, 0, (len(ALL), len(MODES))),
    "replay": Kind(2, 0, (SOME,)),
    "schema": Kind(3, 0, (REPLICA, 6)),
    "reconfigure": Kind(1, 0, (3,)),
    "begin": Kind(6, 0, (len(PARTITIONS), len(FATES))),
    "revoke": Kind(1, 3, (len(PARTITIONS),)),
    "rewind": Kind(2, 3, (len(PARTITIONS),)),
    "leave": Kind(3, 3, (len(PARTITIONS), len(FATES), 4, REPLICA)),
    "lose": Kind(0, 2, (len(PARTITIONS), REPLICA)),
    "crash": Kind(0, 3, (REPLICA, 64, 2, 2, REPLICA)),
    "zombie_ends": Kind(1, 1, (2,)),
}

CHANGING = {
    "shift": Kind(4, 0, (REPLICA, len(SHIFTS), 2)),
    "change": Kind(3, 0, (REPLICA, len(ALL), len(CHANGES))),
}

WORDS = {
    "say": Kind(3, 0, (len(ALL), 6, 8)),
    "hear": Kind(6, 0, (REPLICA,)),
    "vanish": Kind(1, 0, (len(ALL),)),
    "hold": Kind(2, 0, (REPLICA, 3)),
}


class Schedule:
    """The moves, on one world."""

    def __init__(self, subscriptions: tuple[str, ...]) -> None:
        self.world = World(subscriptions)
        self.changing = False  # whether subscriptions change while replicas run
        first = self.world.start()
        for tp in PARTITIONS:
            self.world.give(tp, first)
            first.begin(tp)

    def play(self, moves: Iterable[Move]) -> None:
        """Make moves, and check after each that the bounds are kept."""
        for name, numbers in moves:
            getattr(self, name)(*numbers)
            for replica in self.world.everyone:
                replica.check()

    def anyone(self, index: int) -> Replica:
        everyone = self.world.everyone
        return everyone[index % len(everyone)]

    # -- the world outside

    def write(self, partition: int, key: int, kind: int, subscription: int, failure: int) -> None:
        """Append an event; one in four fails for some subscription."""
        offset = self.world.log.ends[PARTITIONS[partition]]
        self.world.write(partition, KEYS[key], KINDS[kind])
        if failure < len(FAILURES):
            item = item_of(list(ALL)[subscription], partition, offset)
            if item.subscription in self.world.subscriptions:
                self.world.receivers.failing[item] = FAILURES[failure]

    def skip(self, partition: int, offsets: int) -> None:
        self.world.log.skip(PARTITIONS[partition], offsets)

    def replay(self, index: int) -> None:
        self.world.replay(index)

    def destination(self, subscription: int, mode: int) -> None:
        self.world.receivers.modes[list(ALL)[subscription]] = MODES[mode]

    def vanish(self, subscription: int) -> None:
        """A destination is gone for good, as far as it says."""
        self.world.receivers.modes[list(ALL)[subscription]] = Mode.GONE

    def say(self, subscription: int, kind: int, back: int) -> None:
        """An operator says something of a subscription."""
        id_ = list(ALL)[subscription]
        if kind < 2:
            word = Word(id_, About.SWITCH, enabled=False)
        elif kind < 5:
            word = Word(id_, About.SWITCH, skip=kind == 4)
        else:
            ends = {tp.partition: end for tp, end in self.world.log.ends.items() if tp.topic == TOPIC}
            offsets = {partition: max(0, end - 2 * back) for partition, end in ends.items()}
            word = Word(id_, About.BACKFILL, offsets=tuple(offsets.items()))
        self.world.say(word)

    def hear(self, index: int) -> None:
        self.anyone(index).hear()

    def hold(self, index: int, on: int) -> None:
        """Nothing became durable for so long that nothing is to begin; or something has, at last."""
        self.anyone(index).core.held = on == 0

    def wait(self, index: int) -> None:
        """Let time pass, and everybody notice it."""
        self.world.clock.advance(PAUSES[index])
        for replica in self.world.everyone:
            replica.tick()

    def reconfigure(self, shift: int) -> None:
        self.world.shift = shift

    def shift(self, index: int, shift: int, aside: int) -> None:
        """The changing subscription becomes another one of those that it may be, in one replica."""
        if "shifting" in self.world.subscriptions:
            self.changing = True
            now = SHIFTS[shift]
            self.anyone(index).change("shifting", now if now is None else moved(now), aside=not aside and index == 0)

    def change(self, index: int, subscription: int, kind: int) -> None:
        """Another subscription is the same, has other options, is set aside or is mended, in one replica."""
        replica, id_ = self.anyone(index), list(ALL)[subscription]
        before = replica.subscriptions.get(id_)
        if before is not None and id_ != "shifting":
            self.changing = True
            now = {"moved": moved, "other": other}.get(CHANGES[kind], lambda same: same)(before)
            replica.change(id_, now, aside=CHANGES[kind] == "aside")

    # -- work

    def fetch(self, index: int, most: int) -> None:
        self.anyone(index).fetch(most + 1)

    def turn(self, index: int, most: int) -> None:
        self.anyone(index).turn(most + 1)

    def answer(self, index: int, flight: int, lost: int, wait: int) -> None:
        self.anyone(index).answer(flight, lost=lost == 0, wait=WAITS[wait])

    def read(self, index: int, order: int, most: int, fails: int) -> None:
        self.anyone(index).read_log(order, most, fails=fails == 0)

    def schema(self, index: int, there: int) -> None:
        """The registry answers: one in three times that there is no such schema, as long as there is none."""
        replica = self.anyone(index)
        self.world.registered = self.world.registered or there > 1
        self.world.audit.refused = self.world.audit.refused or not self.world.registered
        replica.learn(there=self.world.registered)

    # -- cycles

    def begin_cycle(self, index: int) -> None:
        self.anyone(index).begin_cycle()

    def send_cycle(self, index: int) -> None:
        self.anyone(index).send_cycle()

    def end_cycle(self, index: int, fate: int) -> None:
        self.anyone(index).end_cycle(FATES[fate])

    def whole_cycle(self, index: int, fate: int) -> None:
        self.anyone(index).cycle(FATES[fate])

    # -- the group

    def begin(self, partition: int, fate: int) -> None:
        self.world.begin(PARTITIONS[partition], FATES[fate])

    def revoke(self, partition: int) -> None:
        """The owner is to give a partition up."""
        tp = PARTITIONS[partition]
        self.world.owners[tp].drain(tp)

    def rewind(self, partition: int) -> None:
        """What is in flight has ended, or its time has."""
        tp = PARTITIONS[partition]
        owner = self.world.owners[tp]
        if tp in owner.rewound:
            owner.rewind(tp)

    def leave(self, partition: int, fate: int, patience: int, to: int) -> None:
        """The owner writes its last word, and releases the partition once all is said, or when its patience ends."""
        tp = PARTITIONS[partition]
        owner = self.world.owners[tp]
        if owner.rewound.get(tp):
            if not owner.core.settled([tp]):
                owner.cycle(FATES[fate])
            if owner.core.settled([tp]) or not patience:
                self.world.take(tp)
                self.world.give(tp, self.world.member(to))

    def lose(self, partition: int, to: int) -> None:
        tp = PARTITIONS[partition]
        self.world.take(tp)
        self.world.give(tp, self.world.member(to))

    def crash(self, index: int, received: int, sent: int, zombie: int, to: int) -> None:
        """A member is gone, or becomes a zombie; another one gets what it had."""
        members = list(self.world.epochs)
        victim = members[index % len(members)]
        had = [tp for tp, owner in self.world.owners.items() if owner is victim]
        self.world.crash(victim, received, sent=bool(sent), zombie=bool(zombie))
        for tp in had:
            self.world.give(tp, self.world.member(to))

    def zombie_ends(self, index: int) -> None:
        if self.world.zombies:
            self.world.end(self.world.zombies[index % len(self.world.zombies)])

    # -- the end

    def heal(self, *, by_others: bool) -> None:
        """Let everything be well again: what is left comes to its end, by the present replicas or `by_others`."""
        world = self.world
        world.receivers.heal()
        world.shift, world.registered = 0, True
        for zombie in list(world.zombies):
            world.end(zombie)
        present = list(world.epochs)
        for replica in present:
            if by_others or (replica.shifting is not ALL["shifting"] and not self.changing):
                world.crash(replica, 0, sent=False, zombie=False)
            elif self.changing:
                self._mend(replica)
        for tp in PARTITIONS:
            if tp in world.owners:
                self._give_up(tp)
            if tp not in world.owners:
                world.give(tp, world.member(0))
            world.begin(tp, Fate.DURABLE)
        world.work_off()
        world.check_end()

    def _mend(self, replica: Replica) -> None:
        """Let every subscription be there, and none set aside."""
        for id_ in self.world.subscriptions:
            now = moved(ALL["shifting"]) if id_ == "shifting" else replica.subscriptions[id_]
            replica.change(id_, now)

    def _give_up(self, tp: TopicPartition) -> None:
        """Finish what was begun: a partition that is being given up goes."""
        owner = self.world.owners[tp]
        if tp in owner.rewound:
            owner.rewind(tp)
            for _ in range(100):
                owner.cycle()
                if owner.core.settled([tp]):
                    break
            else:
                raise AssertionError(f"{tp} is never settled")
            self.world.take(tp)


class Plan(NamedTuple):
    """A whole schedule: whom events are for, the moves, and whether new replicas bring it to its end."""

    subscriptions: tuple[str, ...]
    moves: tuple[Move, ...]
    by_others: bool

    def play(self) -> World:
        """Play it to its end; raises AssertionError, or whatever the core raises, where anything does not hold."""
        random.seed(0)  # of the jitter
        schedule = Schedule(self.subscriptions)
        schedule.play(self.moves)
        schedule.heal(by_others=self.by_others)
        return schedule.world


def plan(seed: int, *, words: bool = False, changes: bool = False) -> Plan:
    """Return the schedule of a seed; how often a crash that may happen does differs from one to the other."""
    rnd = random.Random(seed)
    kinds = MOVES | (WORDS if words else {}) | (CHANGING if changes else {})
    subscriptions, count, brittle = rnd.choice(SETS), rnd.choice((60, 200, 500)), rnd.choice((0, 0.3, 1))
    weights = [kind.weight + brittle * kind.brittle for kind in kinds.values()]
    moves = [
        (name, tuple(rnd.randrange(number) for number in kinds[name].numbers))
        for name in rnd.choices(list(kinds), weights, k=count)
    ]
    return Plan(subscriptions, tuple(moves), rnd.random() < 0.3)


def shortest(failing: Plan) -> Plan:
    """Return what is left of a plan that fails when every move is gone without which it fails in the same place."""
    where, size = failure(failing), len(failing.moves) // 2
    while size:
        for begin in range(len(failing.moves) - size, -1, -size):
            less = failing._replace(moves=failing.moves[:begin] + failing.moves[begin + size :])
            if failure(less) == where:
                failing = less
        size //= 2
    return failing


def failure(played: Plan) -> str:
    """Return where and with what a plan fails, without numbers; empty if it does not."""
    try:
        played.play()
    except Exception as error:  # noqa: BLE001 - whatever the core raises
        place = traceback.extract_tb(error.__traceback__)[-1]
        return re.sub(r"[0-9]+", "N", f"{place.name}: {type(error).__name__}: {error}")[:60]
    return ""


def main() -> None:
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdigit()]
    count, first = [*numbers, *(1000, 0)[len(numbers) :]]
    words, changes = "--words" in sys.argv, "--changes" in sys.argv
    began = time.monotonic()
    crashes = twice = 0
    for seed in range(first, first + count):
        try:
            world = plan(seed, words=words, changes=changes).play()
        except Exception as error:  # noqa: BLE001 - whatever the core raises
            print(f"seed {seed}: {type(error).__name__}: {error}")
            if "--shrink" in sys.argv:
                print(shortest(plan(seed, words=words, changes=changes)))
            sys.exit(1)
        crashes += world.crashes
        twice += sum(times - 1 for times in world.audit.received.values())
    speed = 60 * count / (time.monotonic() - began)
    print(f"{count} schedules, {speed:.0f} a minute, {crashes} crashes, {twice} delivered twice:", end=" ")
    print("nothing lost, nothing out of order")


if __name__ == "__main__":
    main()
