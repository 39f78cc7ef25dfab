"""A record whose schema is not known holds its partition, and nothing else, until the registry has answered."""

from __future__ import annotations

from harness import TOPIC, Replica, refer, subscription, value

import schemas
from consumer.awaited import MAX_REFUSED, REMEMBERED, Awaited
from consumer.codec import Codec, Writer, WriterSchema, compile_schema
from consumer.deadletter import DeadLetter, Stage, read_dead_letter
from consumer.event import Record, TopicPartition

P0, P1 = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


def replica(*partitions: int) -> Replica:
    r = Replica([subscription("a")], codec=Codec(registry=True))
    r.assign(*partitions or (0,))
    return r


def writer() -> Writer:
    return compile_schema(WriterSchema(schemas.load()))


def dead(r: Replica) -> list[DeadLetter]:
    return [
        read_dead_letter(Record(letter.topic, 0, 0, letter.key, letter.value, 0, letter.headers))
        for letter in r.log.dead.values()
    ]


def test_its_partition_waits_and_the_others_go_on() -> None:
    r = replica(0, 1)
    for data in (value(1), refer(7, 2), value(3)):
        r.log.append(data)
    r.log.append(value(1), partition=1)
    assert sorted(r.run()) == ["a:0:0", "a:1:0"]
    assert r.core.awaited.places() == {7: [P0]}
    r.commit()
    assert r.log.committed == {P0: 1, P1: 1}
    assert r.log.dead == {}


def test_when_the_schema_arrives_it_goes_on_in_order_with_nothing_lost() -> None:
    r = replica(0)
    for data in (refer(7, 1), value(2), refer(7, 3), refer(8, 4), value(5)):
        r.log.append(data)
    assert r.run() == []
    r.core.learned(7, writer())
    assert r.run() == ["a:0:0", "a:0:1", "a:0:2"]
    assert r.core.awaited.places() == {8: [P0]}
    r.core.learned(8, writer())
    assert r.run() == ["a:0:3", "a:0:4"]
    assert not r.core.awaited
    assert r.metrics.events.value("Item", "created") == 5
    r.commit()
    assert r.log.committed[P0] == 5
    assert r.core.buffered == 0


def test_only_a_schema_that_does_not_exist_makes_a_dead_letter_and_the_rest_goes_on() -> None:
    r = replica(0)
    poison = r.log.append(refer(7, 1))
    r.log.append(value(2))
    r.run()
    r.core.refused(7, "there is no schema id 7")
    assert r.run() == ["a:0:1"]
    r.commit()
    (letter,) = dead(r)
    assert (letter.stage, letter.reason, letter.error) == (Stage.DECODE, "poison", "there is no schema id 7")
    assert letter.origin == poison
    assert r.log.committed[P0] == 2
    assert r.core.buffered == 0


def test_that_it_does_not_exist_is_believed_for_half_a_minute() -> None:
    r = replica(0)
    r.log.append(refer(7, 1))
    r.run()
    r.core.refused(7, "there is no schema id 7")
    r.log.append(refer(7, 2))
    r.run()
    r.clock.advance(REMEMBERED)
    r.log.append(refer(7, 3))
    r.run()
    r.commit()
    assert len(r.log.dead) == 2
    assert r.core.awaited.places() == {7: [P0]}
    r.core.learned(7, writer())
    assert r.run() == ["a:0:2"]


def test_a_replayed_entry_waits_as_well_and_keeps_its_headers() -> None:
    r = replica(0)
    r.log.append(refer(7, 1), headers=(("x", b"1"),))
    r.run()
    r.core.refused(7, "there is no schema id 7")
    r.run()
    r.commit()
    (letter,) = dead(r)
    r.clock.advance(REMEMBERED)
    r.assign(0, topic=TOPIC + ".replay")
    sent = letter.replay(TOPIC + ".replay")
    r.log.append(sent.value, key=sent.key, topic=sent.topic, headers=sent.headers)
    assert r.run() == []
    assert r.core.awaited.places() == {7: [TopicPartition(TOPIC + ".replay", 0)]}
    r.core.learned(7, writer())
    r.fetch()
    (attempt,) = r.turn()
    assert attempt.delivery.event.origin.headers == (("x", b"1"),)
    assert attempt.delivery.event.origin.offset == 0


def test_a_waiting_partition_is_paused_once_enough_is_staged_and_resumed_afterwards() -> None:
    r = replica(0)
    for number in range(1200):
        r.log.append(refer(7, number), key=b"%d" % number)
    r.fetch()
    r.turn()
    assert r.core.pauses() == ([P0], [])
    r.core.learned(7, writer())
    while started := r.turn():
        for attempt in started:
            r.answer(attempt)
    assert r.core.pauses() == ([], [P0])


def test_partitions_that_are_given_up_are_not_waited_for() -> None:
    r = replica(0, 1)
    r.log.append(refer(7))
    r.log.append(refer(7), partition=1)
    r.run()
    assert len(r.core.awaited) == 2
    r.core.drain([P0])
    assert r.core.drained([P0])
    assert r.core.awaited.places() == {7: [P1]}
    r.core.release([P1])
    assert not r.core.awaited
    r.core.learned(7, writer())  # the answer comes too late, and harms nobody
    r.assign(1)
    assert r.run() == ["a:1:0"]


def test_what_was_refused_is_forgotten_when_there_is_too_much_of_it() -> None:
    awaited = Awaited()
    for number in range(MAX_REFUSED + 1):
        awaited.refuse(number, f"there is no schema id {number}", 0.0)
    assert awaited.refusal(0, 1.0) is None
    assert awaited.refusal(MAX_REFUSED, 1.0) == f"there is no schema id {MAX_REFUSED}"
