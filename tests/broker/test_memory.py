"""What the fake broker can do beyond the contract: fail when told to, and keep a clock that is handed in."""

from __future__ import annotations

import threading

import pytest
from brokers import Member, until
from clock import FakeClock

from consumer.broker import TopicSpec
from consumer.broker.memory import MemoryBroker
from consumer.errors import BrokerError, BrokerUnreachable, CycleAborted, RecordTooLarge, WriterLost
from consumer.event import Commit, Outgoing, TopicPartition

TOPIC = TopicSpec("t", 2)
PLACE = TopicPartition("t", 0)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock) -> MemoryBroker:
    broker = MemoryBroker(clock)
    broker.create([TOPIC])
    return broker


def record(value: bytes = b"v") -> Outgoing:
    return Outgoing("t", b"k", value, partition=0)


def test_timestamps_come_from_the_clock(broker: MemoryBroker, clock: FakeClock) -> None:
    list(broker.produce([record()]))
    clock.advance(2.5)
    list(broker.produce([record()]))
    first, second = broker.read("t")
    assert (first.timestamp, second.timestamp) == (1_700_000_000_000, 1_700_000_002_500)


def test_writes_fail_as_often_as_they_are_told_to(broker: MemoryBroker) -> None:
    writer = broker.writer()
    broker.fail_next_writes(2, CycleAborted("first"))
    broker.fail_next_writes(1, WriterLost("then"))
    for error, text in ((CycleAborted, "first"), (CycleAborted, "first"), (WriterLost, "then")):
        with pytest.raises(error, match=text):
            writer.write([record()])
    assert list(broker.read("t")) == []
    writer.write([record()])
    assert len(list(broker.read("t"))) == 1


def test_a_write_in_doubt_is_done_and_raises_all_the_same(broker: MemoryBroker) -> None:
    member = Member(broker, ["t"])
    until(lambda: member.owned, member)
    broker.fail_next_writes(1, WriterLost("in doubt"), in_doubt=True)
    with pytest.raises(WriterLost):
        broker.writer().write([record()], {PLACE: Commit(7)}, member.consumer.membership())
    assert [r.value for r in broker.read("t")] == [b"v"]
    assert broker.committed() == {PLACE: Commit(7)}


def test_a_write_in_doubt_that_cannot_be_done_says_why(broker: MemoryBroker) -> None:
    broker.fail_next_writes(1, WriterLost("in doubt"), in_doubt=True)
    with pytest.raises(RecordTooLarge):
        broker.writer().write([record(bytes(2_000_000))])
    assert list(broker.read("t")) == []


def test_a_transaction_leaves_a_hole_in_the_offsets(broker: MemoryBroker) -> None:
    writer = broker.writer()
    writer.write([record(), record()])
    writer.write([record()])
    assert [r.offset for r in broker.read("t")] == [0, 1, 3]


def test_out_of_reach_is_said_until_it_is_there_again(broker: MemoryBroker) -> None:
    broker.reachable = False
    reader = broker.log_reader()
    for question in (
        broker.partitions,
        broker.size,
        broker.committed,
        lambda: broker.topic_ids(["t"]),
        lambda: broker.retention("t"),
        lambda: broker.begins([PLACE], None),
        lambda: broker.read("t"),
        lambda: reader.read(PLACE, 0, 1, 1.0),
    ):
        with pytest.raises(BrokerUnreachable):
            question()
    broker.reachable = True
    assert broker.partitions() == {"t": 2}


def test_a_partition_that_is_not_there_is_refused(broker: MemoryBroker) -> None:
    with pytest.raises(BrokerError):
        list(broker.produce([Outgoing("t", None, b"", partition=2)]))


def test_who_was_thrown_out_is_told_and_joins_again(broker: MemoryBroker) -> None:
    member = Member(broker, ["t"])
    until(lambda: len(member.owned) == 2, member)
    list(broker.produce([record(b"0"), record(b"1")]))
    until(lambda: len(member.records) == 2, member)
    broker.writer().write([], {PLACE: Commit(1)}, member.consumer.membership())
    broker.expel(member.consumer)
    until(lambda: len(member.records) == 3, member)
    assert member.events == ["assigned", "lost", "assigned"]
    assert member.values == [b"0", b"1", b"1"], "it goes on from what is committed"


def test_records_expire_when_they_are_told_to(broker: MemoryBroker) -> None:
    list(broker.produce([record(b"%d" % number) for number in range(10)]))
    member = Member(broker, ["t"], begins=False)
    until(lambda: member.owned, member)
    broker.expire(PLACE, 4)
    broker.expire(PLACE, 2)
    member.consumer.begin({PLACE: 1})
    assert [r.offset for r in member.poll(most=2)] == [4, 5]
    broker.expire(PLACE, 8)
    assert [r.offset for r in member.poll()] == [8, 9]
    broker.expire(PLACE, 99)
    assert list(broker.read("t")) == []
    assert broker.begins([PLACE], 0.0) == {PLACE: (10, 10)}
    list(broker.produce([record()]))
    assert [r.offset for r in member.poll()] == [10]


def test_a_topic_made_anew_is_empty_and_another(broker: MemoryBroker) -> None:
    list(broker.produce([record(b"%d" % number) for number in range(10)]))
    broker.expire(PLACE, 5)
    member = Member(broker, ["t"])
    until(lambda: len(member.records) == 5, member)
    before = broker.topic_ids(["t"])
    broker.make_anew("t")
    assert broker.topic_ids(["t"]) != before
    assert list(broker.read("t")) == []
    assert broker.begins([PLACE], None) == {PLACE: (0, 0)}
    assert broker.log_reader().read(PLACE, 7, 10, 1.0) == ([], 7, 0)
    list(broker.produce([record(b"new")]))
    assert [(r.offset, r.value) for r in member.poll()] == [(0, b"new")], "a place that is gone begins with the oldest"


def test_what_a_group_has_committed_can_be_looked_at_whole(broker: MemoryBroker) -> None:
    member = Member(broker, ["t"])
    until(lambda: member.owned, member)
    broker.writer().write([], {PLACE: Commit(7)}, member.consumer.membership())
    assert broker.committed() == {PLACE: Commit(7)}
    assert broker.of_group("other").committed() == {}


def test_a_poll_that_waits_is_woken_by_what_comes(broker: MemoryBroker) -> None:
    member = Member(broker, ["t"])
    until(lambda: member.owned, member)
    waiting = threading.Thread(target=member.poll, args=(20.0,), daemon=True)
    waiting.start()
    list(broker.produce([record()]))
    waiting.join(10.0)
    assert not waiting.is_alive()
    assert member.values == [b"v"]


def test_three_members_share_and_the_last_has_all(broker: MemoryBroker) -> None:
    broker.create([TopicSpec("wide", 5)])
    members = [Member(broker, ["t", "wide"]) for _ in range(3)]
    until(lambda: sum(len(member.owned) for member in members) == 7, *members)
    until(lambda: sorted(len(member.owned) for member in members) == [1, 3, 3], *members)
    for member in members[:2]:
        member.consumer.close()
    until(lambda: len(members[2].owned) == 7, members[2])
