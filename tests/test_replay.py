"""The dead-letter topic as a table, and entries moved from it: never lost, never there twice."""

from __future__ import annotations

import pytest
from clock import FakeClock

from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.deadletter import DeadLetter, Stage, read_dead_letter
from consumer.errors import CycleAborted, ReplayOverrun
from consumer.event import Outgoing, Record
from consumer.replay import BATCH, Entry, Pace, drop, left_alone, read_table, replay

LETTERS, REPLAYS = "e.dlq", "e.replay"


@pytest.fixture
def broker() -> MemoryBroker:
    made = MemoryBroker()
    made.create([TopicSpec(LETTERS, 3), TopicSpec(REPLAYS, 3)])
    return made


def letter(number: int, subscription: str = "a", replays: int = 0) -> DeadLetter:
    origin = Record("e", 0, number, b"1:%d" % number, b"bytes", 1)
    stage, id_ = Stage.DELIVER, f"id-{number}-{subscription}"
    return DeadLetter(id_, origin, stage, "permanent", "no", subscription=subscription, replays=replays)


def write(broker: MemoryBroker, *letters: DeadLetter) -> None:
    list(broker.produce(one.outgoing(LETTERS) for one in letters))


def ids(entries: list[Entry]) -> list[str]:
    return [entry.letter.id for entry in entries]


def move(broker: MemoryBroker, entries: list[Entry]) -> int:
    return replay(broker.writer("r"), entries, dead_letters=LETTERS, replays=REPLAYS, done=lambda _: None)


def replayed(broker: MemoryBroker) -> list[str]:
    return sorted(read_dead_letter(record).id for record in broker.read(REPLAYS))


def test_the_last_word_on_an_id_counts_and_a_tombstone_resolves_it(broker: MemoryBroker) -> None:
    write(broker, letter(2), letter(1), letter(1, "b"), letter(2, replays=1))
    (entry,) = [entry for entry in read_table(broker, LETTERS).entries if entry.letter.subscription == "b"]
    list(broker.produce([Outgoing(LETTERS, entry.letter.key, None, partition=entry.partition)]))
    table = read_table(broker, LETTERS)
    assert ids(table.entries) == ["id-1-a", "id-2-a"]
    assert [entry.letter.replays for entry in table.entries] == [0, 1]


def test_records_of_others_are_counted_and_left_alone(broker: MemoryBroker) -> None:
    write(broker, letter(1))
    list(broker.produce([Outgoing(LETTERS, b"k", b"whatever")]))
    table = read_table(broker, LETTERS)
    assert (ids(table.entries), table.foreign) == (["id-1-a"], 1)


def test_what_is_replayed_leaves_the_table_and_is_queued_once(broker: MemoryBroker) -> None:
    write(broker, *(letter(number) for number in range(2 * BATCH + 5)))
    entries = read_table(broker, LETTERS).entries
    batches: list[int] = []
    moved = replay(broker.writer("r"), entries[5:], dead_letters=LETTERS, replays=REPLAYS, done=batches.append)
    assert (moved, batches) == (2 * BATCH, [BATCH, BATCH])
    assert ids(read_table(broker, LETTERS).entries) == ids(entries[:5])
    assert replayed(broker) == sorted(ids(entries[5:]))
    assert {read_dead_letter(record).replays for record in broker.read(REPLAYS)} == {1}


def test_a_batch_that_fails_stays_with_those_after_it(broker: MemoryBroker) -> None:
    write(broker, *(letter(number) for number in range(3 * BATCH)))
    entries = read_table(broker, LETTERS).entries

    def fail_next(_: int) -> None:
        broker.fail_next_writes(1, CycleAborted("aborted"))

    with pytest.raises(CycleAborted):
        replay(broker.writer("r"), entries, dead_letters=LETTERS, replays=REPLAYS, done=fail_next)
    assert replayed(broker) == sorted(ids(entries[:BATCH]))
    assert ids(read_table(broker, LETTERS).entries) == ids(entries[BATCH:])


def test_a_record_that_is_cut_is_left_alone_and_named(broker: MemoryBroker) -> None:
    write(broker, letter(1), letter(2).shrunk(2), letter(3))
    entries = read_table(broker, LETTERS).entries
    assert left_alone(entries) == [
        "id-2-a is left alone: only 2 of its record's 5 bytes fitted into the dead letters; "
        "the record itself was e[0] offset 2"
    ]
    assert move(broker, entries) == 2
    assert replayed(broker) == ["id-1-a", "id-3-a"]
    assert ids(read_table(broker, LETTERS).entries) == ["id-2-a"]


def test_of_two_replays_at_once_the_earlier_one_stops_and_nothing_is_doubled(broker: MemoryBroker) -> None:
    write(broker, *(letter(number) for number in range(10)))
    earlier = broker.writer("r")
    entries = read_table(broker, LETTERS).entries
    assert move(broker, read_table(broker, LETTERS).entries) == 10
    with pytest.raises(ReplayOverrun):
        replay(earlier, entries, dead_letters=LETTERS, replays=REPLAYS, done=lambda _: None)
    assert len(replayed(broker)) == 10


def test_what_is_dropped_leaves_the_table_and_is_not_queued(broker: MemoryBroker) -> None:
    write(broker, *(letter(number) for number in range(BATCH + 1)))
    entries = read_table(broker, LETTERS).entries
    counts: list[int] = []
    assert drop(broker.writer("r"), entries[1:], dead_letters=LETTERS, done=counts.append) == BATCH
    assert counts == [BATCH]
    assert ids(read_table(broker, LETTERS).entries) == ["id-0-a"]
    assert replayed(broker) == []


@pytest.mark.parametrize(("per_second", "seconds", "most"), [(500.0, 0.6, 100), (50.0, 6.0, 50), (0.5, 600.0, 1)])
def test_a_pace_is_kept_in_batches_of_a_second_at_most(
    broker: MemoryBroker, per_second: float, seconds: float, most: int
) -> None:
    clock = FakeClock()
    began = clock.monotonic()
    write(broker, *(letter(number) for number in range(301)))
    entries = read_table(broker, LETTERS).entries
    pace = Pace(per_second, clock, clock.advance)
    counts: list[int] = []
    replay(broker.writer("r"), entries, dead_letters=LETTERS, replays=REPLAYS, done=counts.append, pace=pace)
    assert sum(counts) == 301
    assert max(counts) == most
    assert clock.monotonic() - began == pytest.approx(seconds, rel=0.01)


def test_a_pace_does_not_make_up_for_what_was_slow() -> None:
    clock = FakeClock()
    pace = Pace(10.0, clock, clock.advance)
    pace.spend(10)
    clock.advance(60)
    began = clock.monotonic()
    pace.spend(10)
    pace.spend(10)
    assert clock.monotonic() - began == pytest.approx(1.0)
