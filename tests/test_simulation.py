"""Whatever happens in whatever order: nothing lost, lanes in order, nothing committed above what is unfinished.

Hypothesis drives the production core through interleavings of fetching, delivering, failing, committing, crashes,
moving partitions and zombies. A schedule that fails is shrunk, and printed as the moves that lead there.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st
from simulation import PARTITIONS, SCHEMA_ID, Answers, Fate, Replica, World

import schemas
from consumer.codec import WriterSchema, compile_schema

WRITER = compile_schema(WriterSchema(schemas.load()))
Move: TypeAlias = tuple[Any, ...]
"""The name of one of Schedule's methods, and its arguments."""

INDEX = st.integers(0, 20)
KEY = st.sampled_from([b"x", b"x", b"y", None])
CONTENT = st.sampled_from([*["event"] * 8, "poison", "referring"])
ANSWER = st.sampled_from([*[Answers.DELIVERED] * 4, *Answers])
LEARNT = st.sampled_from([True, True, True, True, False])
FATE = st.sampled_from([Fate.DURABLE, *Fate])


def move(times: int, name: str, *arguments: st.SearchStrategy[Any]) -> list[st.SearchStrategy[Move]]:
    """Return a kind of move, so many times as often as others."""
    return [st.tuples(st.just(name), *arguments)] * times


MOVES = st.lists(
    st.one_of(
        *move(2, "write", st.lists(st.tuples(st.integers(0, 1), KEY, CONTENT), min_size=1, max_size=6)),
        *move(4, "work", INDEX, st.integers(1, 5)),
        *move(6, "answer", INDEX, st.lists(st.tuples(INDEX, ANSWER, LEARNT), min_size=1, max_size=6)),
        *move(1, "wait", st.sampled_from([0.1, 1, 5, 60])),
        *move(2, "begin_cycle", INDEX),
        *move(2, "end_cycle", INDEX, FATE),
        *move(2, "whole_cycle", INDEX, FATE),
        *move(1, "schema_arrives", INDEX),
        *move(1, "crash", INDEX, st.booleans()),
        *move(1, "zombie_ends", INDEX),
        *move(1, "hand_over", INDEX, st.booleans()),
    ),
    min_size=40,
    max_size=120,
)


@given(st.booleans(), MOVES, st.booleans())
@settings(max_examples=300)
def test_nothing_is_lost_and_every_lane_is_in_order(both: bool, moves: list[Move], by_others: bool) -> None:
    schedule = Schedule(both)
    for name, *arguments in moves:
        getattr(schedule, name)(*arguments)
        schedule.world.check_order()
    schedule.heal(by_others=by_others)


class Schedule:
    """Two replicas at most that own partitions, and those who do not know that they own none any more."""

    def __init__(self, both: bool) -> None:
        """Begin with one replica for `both` partitions, or with one for each."""
        self.world = World()
        self.replicas = [self.world.start(*PARTITIONS)] if both else [self.world.start(tp) for tp in PARTITIONS]
        self.zombies: list[Replica] = []

    def anyone(self, index: int) -> Replica:
        everyone = self.replicas + self.zombies
        return everyone[index % len(everyone)]

    def write(self, records: list[tuple[int, bytes | None, str]]) -> None:
        for record in records:
            self.world.write(*record)

    def work(self, index: int, most: int) -> None:
        replica = self.anyone(index)
        replica.fetch(most)
        replica.turn()

    def answer(self, index: int, answers: list[tuple[int, Answers, bool]]) -> None:
        replica = self.anyone(index)
        for attempt, how, learnt in answers:
            if replica.in_flight:
                replica.answer(attempt, how, learnt=learnt)
        replica.turn()

    def wait(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    def begin_cycle(self, index: int) -> None:
        self.anyone(index).begin_cycle()

    def whole_cycle(self, index: int, fate: Fate) -> None:
        self.begin_cycle(index)
        self.end_cycle(index, fate)

    def end_cycle(self, index: int, fate: Fate) -> None:
        replica = self.anyone(index)
        if replica.writing is not None:
            replica.end_cycle(fate)

    def schema_arrives(self, index: int) -> None:
        replica = self.anyone(index)
        if replica.core.awaited:
            replica.core.learned(SCHEMA_ID, WRITER)

    def crash(self, index: int, zombie: bool) -> None:
        """A replica is gone, or only believed to be; another one takes its partitions."""
        lost = self.replicas.pop(index % len(self.replicas))
        self.replicas.append(self.world.start(*lost.owned))
        if zombie:
            self.zombies = [*self.zombies[-1:], lost]

    def zombie_ends(self, index: int) -> None:
        if self.zombies:
            replica = self.zombies.pop(index % len(self.zombies))
            replica.core.release(replica.core.partitions)
            while replica.in_flight:
                replica.answer(0, Answers.RESET)
            assert replica.core.in_hand == replica.core.in_flight == replica.core.buffered == 0
            assert not replica.core.awaited
            assert not replica.core.cycle()

    def hand_over(self, index: int, in_time: bool) -> None:
        """A partition goes from one replica to another in order, as far as time allows."""
        tp = PARTITIONS[index % len(PARTITIONS)]
        owner = self.world.owners[tp]
        others = [replica for replica in self.replicas if replica is not owner]
        owner.give_up([tp], in_time=in_time)
        if not owner.owned:
            self.replicas.remove(owner)
        if others:
            others[0].assign([tp])
        else:
            self.replicas.append(self.world.start(tp))

    def heal(self, *, by_others: bool) -> None:
        """Let everything be well again: what is left is delivered, by the present replicas or `by_others`."""
        heirs = [self.world.start(*PARTITIONS)] if by_others else self.replicas
        for heir in heirs:
            heir.core.learned(SCHEMA_ID, WRITER)
            heir.work_off()
            assert heir.core.in_hand == heir.core.buffered == heir.core.in_flight == 0
        for tp in PARTITIONS:
            for record in self.world.log.records.get(tp, []):
                assert not self.world.missing(record), f"{record} never reached {self.world.missing(record)}"
        self.world.check_order()
        self.world.check_dead_letters()
