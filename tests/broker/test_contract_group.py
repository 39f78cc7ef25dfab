"""What `consumer.broker` promises to members of the group, tried on the fake, the mock cluster and the real Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from brokers import Bench, Member, joined, own_all, polls, until, values

from consumer.broker import Membership
from consumer.broker.memory import MemoryBroker
from consumer.errors import BrokerError, CycleAborted
from consumer.event import Commit, Outgoing, TopicPartition

SOON = 5.0  # seconds within which what needs no waiting for time-outs is over


def test_pause_and_resume_lose_and_double_nothing(bench: Bench) -> None:
    topic = bench.topic()
    total = 4000
    bench.produce(topic, [b"%d" % number for number in range(total)])
    with joined(bench.broker, topic) as member:
        own_all(member)
        while len(member.records) < total:
            some = sorted(member.owned)[len(member.records) % 3 :: 2]
            member.consumer.pause(some)
            for _ in polls(0.05):
                got = member.poll(0.01, 100)
                assert not {TopicPartition(r.topic, r.partition) for r in got} & set(some)
            member.consumer.resume(some)
            member.poll(0.1, 100)
        member.poll(0.3)
    assert sorted(int(value or b"") for value in member.values) == list(range(total))


def test_a_partition_that_comes_back_is_not_paused_any_more(bench: Bench) -> None:
    topic = bench.topic()
    with joined(bench.broker, topic) as first:
        own_all(first)
        first.consumer.pause(sorted(first.owned))
        with joined(bench.broker, topic) as second:
            until(lambda: second.owned and len(first.owned | second.owned) == 4, first, second)
            moved = set(second.owned)
        own_all(first)
        place = min(moved)
        bench.produce(topic, [b"after"], partition=place.partition)
        until(lambda: first.records, first)
        assert first.values == [b"after"]


def test_partitions_that_a_topic_is_given_come_to_a_member_that_runs(bench: Bench) -> None:
    topic = bench.topic()
    if not bench.chosen_partitions:
        with pytest.raises(BrokerError, match=f"the topic {topic} stays as it is"):
            bench.broker.grow(topic, 6)
        return
    bench.produce(topic, [b"before"], partition=3)
    with joined(bench.broker, topic) as member:
        own_all(member)
        assert bench.broker.grow(topic, 6) is True
        assert bench.broker.grow(topic, 6) is bench.broker.grow(topic, 5) is False
        assert bench.broker.partitions(SOON)[topic] == 6
        bench.produce(topic, [b"after"], partition=5)
        own_all(member, 6)
        until(lambda: len(member.records) == 2, member)
        assert member.values == [b"before", b"after"]
        assert member.events == ["assigned", "assigned"]


def test_a_writer_writes_to_partitions_that_its_topic_was_given_at_the_second_try(transactional: Bench) -> None:
    topic = transactional.topic(2)
    writer = transactional.broker.writer()
    writer.write([Outgoing(topic, b"a", b"1", partition=1)])
    transactional.broker.grow(topic, 3)
    with suppress(CycleAborted):  # the client may not have asked since how many there are
        writer.write([Outgoing(topic, b"a", b"2", partition=2)])
    writer.write([Outgoing(topic, b"a", b"3", partition=2)])
    writer.close()
    assert [record.value for record in transactional.broker.read(topic, [2])][-1] == b"3"


def test_a_topic_that_is_not_there_cannot_grow(bench: Bench) -> None:
    with pytest.raises(BrokerError, match="no-topic"):
        bench.broker.grow("no-topic", 6)


def test_partitions_are_given_up_before_others_have_them(bench: Bench) -> None:
    topic = bench.topic()
    for partition in range(4):
        bench.produce(topic, [b"0", b"1"], partition=partition)
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as first:
        own_all(first)
        second = Member(bench.broker, [topic])
        given: list[set[TopicPartition]] = []

        def last_cycle(partitions: Sequence[TopicPartition], membership: Membership) -> None:
            """Write by another thread while the consumer's own waits, as the pipeline does; the other gets nothing."""
            thread = threading.Thread(
                target=writer.write, args=([], dict.fromkeys(partitions, Commit(1)), membership), daemon=True
            )
            thread.start()
            for _ in polls(1.0):
                second.poll()
                assert not second.owned & set(partitions)
            thread.join(SOON)
            assert not thread.is_alive()
            given.append(set(partitions))

        first.when_revoked = last_cycle
        until(lambda: second.owned and len(first.owned) + len(second.owned) == 4, first, second)
        assert set().union(*given) == second.owned
        assert first.events.count("revoked") == len(given)
        first.when_revoked = None
        until(lambda: len(second.records) >= len(second.owned), second, first)
        assert set(second.values) == {b"1"}, "the last cycle was before the assignment"
        second.consumer.close()
        own_all(first)


def test_who_leaves_hands_over_at_once(bench: Bench) -> None:
    topic = bench.topic()
    first, second = Member(bench.broker, [topic]), Member(bench.broker, [topic])
    until(lambda: first.owned and second.owned and len(first.owned) + len(second.owned) == 4, first, second)
    began = time.monotonic()
    first.consumer.close()
    assert not first.owned
    assert first.events[-1] == "revoked"
    own_all(second)
    assert time.monotonic() - began < SOON
    second.consumer.close()


def write_as(member: Member, write: Callable[[Membership], None]) -> None:
    """Write once the member has heard of its newest generation: until its next poll its membership is an old one."""
    for _ in range(100):
        member.poll(0.1)
        with suppress(CycleAborted):
            write(member.consumer.membership())
            return
    pytest.fail("its membership stayed refused")


def test_who_leaves_may_write_one_last_time(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0", b"1"], partition=0)
    writer = bench.broker.writer()
    failures: list[BrokerError] = []

    def last_cycle(partitions: Sequence[TopicPartition], membership: Membership) -> None:
        try:
            writer.write([], dict.fromkeys(partitions, Commit(1)), membership)
        except BrokerError as error:
            failures.append(error)

    member = Member(bench.broker, [topic])
    until(lambda: len(member.records) == 2, member)
    member.when_revoked = last_cycle
    member.consumer.close()
    assert member.events == ["assigned", "revoked"]
    assert failures == []
    with joined(bench.broker, topic) as second:
        until(lambda: second.records, second)
        assert second.values == [b"1"]


def test_membership_of_before_the_loss_is_fenced(transactional: Bench) -> None:
    bench = transactional
    topic, letters = bench.topic(), bench.topic()
    writer = bench.broker.writer()
    with joined(bench.broker, topic) as first:
        own_all(first)
        before = first.consumer.membership()
        with joined(bench.broker, topic) as second:
            until(lambda: second.owned and len(first.owned | second.owned) == 4, first, second)
            lost = min(second.owned)
            with pytest.raises(CycleAborted):
                writer.write([Outgoing(letters, b"k", b"zombie")], {lost: Commit(5)}, before)
            kept = min(first.owned)
            write_as(first, lambda now: writer.write([Outgoing(letters, b"k", b"alive")], {kept: Commit(0)}, now))
    assert values(list(bench.broker.read(letters))) == [b"alive"]


def test_who_falls_silent_loses_its_partitions(transactional: Bench) -> None:
    bench = transactional
    if bench.impatient is None and not isinstance(bench.broker, MemoryBroker):
        pytest.skip("sessions are too long here to wait for the end of one")
    topic = bench.topic()
    broker = bench.impatient(bench.group) if bench.impatient else bench.broker
    writer = bench.broker.writer()
    with joined(broker, topic) as first, joined(broker, topic) as second:
        until(lambda: first.owned and second.owned and len(first.owned) + len(second.owned) == 4, first, second)
        place, membership, told = min(first.owned), first.consumer.membership(), len(first.events)
        if isinstance(broker, MemoryBroker):
            broker.expel(first.consumer)
        own_all(second)  # meanwhile `first` is not polled
        for proof in (membership, first.consumer.membership()):
            with pytest.raises(CycleAborted):
                writer.write([], {place: Commit(5)}, proof)
        until(lambda: "lost" in first.events, first)
        assert first.events[told] == "lost"
        with pytest.raises(CycleAborted):
            writer.write([], {place: Commit(5)}, membership)
        until(lambda: first.owned and len(first.owned) + len(second.owned) == 4, first, second)


def test_membership_of_who_left_is_fenced(transactional: Bench) -> None:
    topic = transactional.topic()
    with joined(transactional.broker, topic) as member:
        own_all(member)
        membership = member.consumer.membership()
    with pytest.raises(CycleAborted):
        transactional.broker.writer().write([], {TopicPartition(topic, 0): Commit(5)}, membership)


def test_membership_can_be_asked_for_while_another_thread_polls(bench: Bench) -> None:
    topic = bench.topic()
    ended = threading.Event()
    with joined(bench.broker, topic) as member:
        own_all(member)

        def poll() -> None:
            while not ended.is_set():
                member.poll(0.2)

        thread = threading.Thread(target=poll, daemon=True)
        thread.start()
        began = time.monotonic()
        for _ in range(1000):
            member.consumer.membership()
        took = time.monotonic() - began
        ended.set()
        thread.join(SOON)
    assert took < 0.2, "it waited for a poll"


def test_ends_of_logs_are_known_in_passing_while_a_partition_is_fetched(bench: Bench) -> None:
    topic = bench.topic()
    for partition in range(4):
        bench.produce(topic, [b"%d" % number for number in range(partition)], partition=partition)
    member = Member(bench.broker, [topic], begins=False)
    own_all(member)
    places = sorted(member.owned)
    assert member.consumer.ends() == {}, "nothing was fetched yet"
    member.consumer.begin(dict.fromkeys(places[:3], 0))
    until(lambda: member.consumer.ends() == {places[0]: 0, places[1]: 1, places[2]: 2}, member)
    bench.produce(topic, [b"more"] * 5, partition=1)
    until(lambda: member.consumer.ends().get(places[1]) == 6, member)
    member.consumer.pause([places[1]])
    assert member.consumer.ends() == {places[0]: 0, places[2]: 2}, "of what is paused nothing is heard"
    member.consumer.resume([places[1]])
    bench.produce(topic, [b"more"], partition=1)
    until(lambda: member.consumer.ends().get(places[1]) == 7, member)
    member.consumer.close()
    assert member.consumer.ends() == {}


def test_two_groups_do_not_share(bench: Bench) -> None:
    topic = bench.topic()
    bench.produce(topic, [b"0"], partition=0)
    with joined(bench.broker, topic) as one, joined(bench.of_group(bench.group + "-other"), topic) as other:
        until(lambda: one.records and other.records, one, other)
        assert one.values == other.values == [b"0"]
