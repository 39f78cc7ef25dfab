"""Where assigned partitions begin: on the fake, the mock cluster and the real Kafka, with hand-overs in between."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from time import monotonic

import pytest
from brokers import Bench, Member, own_all, polls, until

from consumer.broker import Broker, Membership
from consumer.event import Outgoing, Record, TopicPartition

EACH = 200  # records in each of the four partitions
BEYOND = 10_000  # an offset that no log has got to
SEEDS = range(2)


@pytest.fixture
def topic(bench: Bench) -> str:
    name = bench.topic()
    records = [Outgoing(name, None, b"%d" % number, partition=number % 4) for number in range(4 * EACH)]
    assert len(list(bench.broker.produce(records))) == 4 * EACH
    return name


class Strict(Member):
    """A member that checks each record: only what has begun, from there on, without a gap and never twice."""

    def __init__(self, broker: Broker, topic: str, oldest: int = 0) -> None:
        self._oldest = oldest
        self.next: dict[TopicPartition, int] = {}
        super().__init__(broker, [topic], begins=False)

    def begin(self, offsets: Mapping[TopicPartition, int]) -> None:
        self.consumer.begin(offsets)
        for tp, offset in offsets.items():
            self.next[tp] = offset if self._oldest <= offset <= EACH else self._oldest

    def poll(self, timeout: float = 0.05, most: int = 500) -> list[Record]:
        records = super().poll(timeout, most)
        for record in records:
            tp = TopicPartition(record.topic, record.partition)
            assert tp in self.owned
            assert record.offset == self.next.get(tp, "not begun")
            self.next[tp] += 1
        return records

    def on_revoked(self, partitions: Sequence[TopicPartition], membership: Membership) -> None:
        super().on_revoked(partitions, membership)
        for tp in partitions:
            self.next.pop(tp, None)

    @property
    def is_done(self) -> bool:
        return self.next.keys() == self.owned and set(self.next.values()) <= {EACH}


def all_owned(*members: Member) -> bool:
    return all(member.owned for member in members) and sum(len(member.owned) for member in members) == 4


def test_nothing_comes_before_it_begins(bench: Bench, topic: str) -> None:
    member = Strict(bench.broker, topic)
    own_all(member)
    one, other, *rest = sorted(member.owned)
    for _ in polls(0.7):  # a lookup that librdkafka had in mind would be made within half a second
        assert member.poll() == []
    member.consumer.pause([one])
    member.consumer.resume([one, other])
    for _ in polls(0.2):
        assert member.poll() == []
    member.begin({one: 0})
    until(lambda: member.next[one] == EACH, member)
    member.begin(dict.fromkeys([other, *rest], EACH // 2))
    until(lambda: member.is_done, member)
    member.consumer.close()


def test_each_partition_begins_where_it_is_told_to(bench: Bench, topic: str) -> None:
    member = Strict(bench.broker, topic)
    own_all(member)
    places = sorted(member.owned)
    for offsets in ([0, EACH // 2, EACH - 1, EACH], [EACH + 1, BEYOND, 1, EACH]):
        member.begin(dict(zip(places, offsets, strict=True)))
        until(lambda: member.is_done, member)
    for _ in polls(0.7):
        assert member.poll() == []
    bench.produce(topic, [b"next"], partition=places[3].partition)
    until(lambda: member.next[places[3]] == EACH + 1, member)
    member.consumer.close()


def test_what_has_expired_begins_with_the_oldest_there_is(bench: Bench, topic: str) -> None:
    if bench.expire is None:
        pytest.skip("nothing expires there")
    for partition in range(4):
        bench.expire(TopicPartition(topic, partition), 50)
    member = Strict(bench.broker, topic, oldest=50)
    own_all(member)
    member.begin(dict(zip(sorted(member.owned), [0, 49, 50, 51], strict=True)))
    until(lambda: member.is_done, member)
    for _ in polls(0.7):
        assert member.poll() == []
    member.consumer.close()


def test_a_log_that_is_empty_begins_with_what_comes_first(bench: Bench) -> None:
    topic = bench.topic()
    member = Member(bench.broker, [topic], begins=False)
    own_all(member)
    place = min(member.owned)
    member.consumer.begin({place: 5})
    member.poll()
    bench.produce(topic, [b"%d" % number for number in range(10)], partition=place.partition)
    until(lambda: len(member.records) == 10, member)
    assert [record.offset for record in member.records] == list(range(10))
    member.consumer.close()


def test_partitions_that_are_not_assigned_are_not_begun(bench: Bench, topic: str) -> None:
    first = Strict(bench.broker, topic)
    own_all(first)
    first.consumer.begin({TopicPartition(topic, 99): 0, TopicPartition("elsewhere", 0): 0})
    second = Strict(bench.broker, topic)
    until(lambda: all_owned(first, second), first, second)
    moved = sorted(second.owned)
    first.consumer.begin(dict.fromkeys(moved, 0))
    for _ in polls(0.2):
        assert first.poll() == second.poll() == []
    second.begin(dict.fromkeys(moved, 7))
    until(lambda: second.is_done, second, first)
    second.consumer.close()
    until(lambda: len(first.owned) == 4, first)
    for _ in polls(0.2):
        assert first.poll() == []
    first.begin(dict.fromkeys(moved, 3))
    until(lambda: all(first.next[tp] == EACH for tp in moved), first)
    first.consumer.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_beginning_again_loses_and_doubles_nothing(bench: Bench, topic: str, seed: int) -> None:
    """What an owner may do at any moment: begin elsewhere, at offsets that are there or not; pause; resume."""
    chance = random.Random(seed)
    member = Strict(bench.broker, topic)
    own_all(member)
    places = sorted(member.owned)
    for _ in range(25):
        some = chance.sample(places, chance.randint(1, 4))
        member.begin({tp: chance.choice([0, 1, EACH - 1, EACH, BEYOND, chance.randrange(EACH)]) for tp in some})
        for _ in range(chance.randrange(3)):
            member.poll(chance.choice([0, 0.02]), chance.choice([1, 20, 500]))
            paused = chance.sample(places, chance.randint(0, 3))
            member.consumer.pause(paused)
            assert not {TopicPartition(r.topic, r.partition) for r in member.poll(0.01)} & set(paused)
            member.consumer.resume(paused)
    member.begin({tp: 0 for tp in places if tp not in member.next})
    until(lambda: member.is_done, member)
    for _ in polls(0.7):
        assert member.poll() == []
    member.consumer.close()


@pytest.mark.parametrize("pause_at", ["at once", "before it is polled", "later"])
def test_an_owner_may_pause_what_it_has_let_begin(bench: Bench, topic: str, pause_at: str) -> None:
    member = Strict(bench.broker, topic)
    own_all(member)
    place = min(member.owned)
    member.begin({place: 0})
    if pause_at == "later":
        until(lambda: member.next[place], member)
    else:
        member.consumer.pause([place])
        if pause_at == "at once":
            member.consumer.resume([place])
            member.consumer.pause([place])
    if pause_at == "later":
        member.consumer.pause([place])
    reached = member.next[place]
    for _ in polls(0.7):
        assert member.poll() == []
    assert member.next[place] == reached
    member.consumer.resume([place])
    until(lambda: member.next[place] == EACH, member)
    member.consumer.pause([place])
    member.begin({place: 10})
    until(lambda: member.next[place] == EACH, member)
    member.consumer.close()


class Eager(Strict):
    """A member that begins inside the callback, right after it, or half a second later, as chance will have it."""

    def __init__(self, broker: Broker, topic: str, chance: random.Random) -> None:
        self._chance = chance
        self._due: dict[TopicPartition, float] = {}
        super().__init__(broker, topic)

    def on_assigned(self, partitions: Sequence[TopicPartition]) -> None:
        super().on_assigned(partitions)
        when = self._chance.choice([None, 0.0, 0.1, 0.5])
        if when is None:
            self.begin({tp: self._offset() for tp in partitions})
        else:
            self._due |= dict.fromkeys(partitions, monotonic() + when)

    def on_revoked(self, partitions: Sequence[TopicPartition], membership: Membership) -> None:
        super().on_revoked(partitions, membership)
        for tp in partitions:
            self._due.pop(tp, None)

    def poll(self, timeout: float = 0.05, most: int = 500) -> list[Record]:
        now = monotonic()
        if due := [tp for tp, when in self._due.items() if when <= now]:
            self.begin({tp: self._offset() for tp in due})
            for tp in due:
                del self._due[tp]
        return super().poll(timeout, most)

    def _offset(self) -> int:
        return self._chance.choice([0, EACH // 2, EACH, BEYOND, self._chance.randrange(EACH)])


def test_hand_overs_lose_and_double_nothing(bench: Bench, topic: str) -> None:
    chance = random.Random(7)
    first = Eager(bench.broker, topic, chance)
    for rounds in range(4):
        second = Eager(bench.broker, topic, chance)
        until(lambda: all_owned(first, second), first, second)  # noqa: B023 - it is over before the next round
        if rounds % 2:
            until(lambda: first.is_done and second.is_done, first, second)  # noqa: B023
        first.consumer.close()
        first = second
    own_all(first)
    until(lambda: first.is_done, first)
    first.consumer.close()
