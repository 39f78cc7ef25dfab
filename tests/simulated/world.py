"""A log, a group of replicas and destinations, and who owns what. Nothing is random: a schedule says what happens."""

from __future__ import annotations

from clock import FakeClock
from simulated.audit import Audit
from simulated.log import EVENTS, PARTITIONS, REPLAYS, Log
from simulated.receivers import ALL, SHIFTS, Item, Receivers
from simulated.replica import BOUNDS, SETTINGS, SLACK, Fate, Replica

from consumer.control import Kind, Word, Words
from consumer.cycle import Cycle
from consumer.deadletter import DeadLetter, Stage
from consumer.delivery import Delivery, delivery_id
from consumer.event import TopicPartition
from consumer.state import State

MOST_REPLICAS = 3
ROUNDS = 700  # after which everything has to have come to its end


class World:
    """What survives crashes, and the replicas that live now."""

    def __init__(self, subscriptions: tuple[str, ...]) -> None:
        self.subscriptions = subscriptions
        self.steady = set(subscriptions) - {"shifting"}  # those that every replica has, and all the time
        self.clock = FakeClock()
        self.log = Log()
        self.audit = Audit(self.log, subscriptions)
        self.receivers = Receivers()
        self.shift = 0  # which of the changing subscriptions a new replica is configured with
        self.registered = False  # whether the registry has the schema
        self.epochs: dict[Replica, int] = {}  # of the members, as the group knows them
        self.owners: dict[TopicPartition, Replica] = {}
        self.zombies: list[Replica] = []
        self.crashes = 0

    @property
    def everyone(self) -> list[Replica]:
        return [*self.epochs, *self.zombies]

    # -- the log

    def write(self, partition: int, key: bytes | None, kind: str) -> None:
        """Append an event."""
        record = self.log.append(PARTITIONS[partition], key, EVENTS[kind])
        self.audit.written(record, kind)
        if kind == "broken":
            self.receivers.broken.add((PARTITIONS[partition], record.offset))

    def replay(self, index: int) -> None:
        """An operator sends a dead letter again: its record and the tombstone are one transaction."""
        if self.log.letters:
            self._send_again(self.log.letters.pop(sorted(self.log.letters)[index % len(self.log.letters)]))

    def _send_again(self, letter: DeadLetter) -> None:
        sent = letter.replay(REPLAYS)
        record = self.log.append(PARTITIONS[2], sent.key, sent.value or b"", sent.headers)
        self.audit.replayed(record, letter)

    def commit(self, cycle: Cycle, by: Replica) -> None:
        """Make a transaction durable."""
        for entry in self.log.commit(cycle):
            self.audit.dead(entry)
        self.audit.check(by.shifting)
        for letter in cycle.letters:
            if letter.delivery is not None:
                self._check_gone(letter.delivery)
        for state in self.log.states.values():
            assert len(state.owed) <= BOUNDS.in_hand_per_partition + SLACK, f"a state of {len(state.owed)}"

    def _check_gone(self, delivery: Delivery) -> None:
        """Check that what is a dead letter is not owed by what was written with it: it would be delivered once more."""
        flow = delivery.flow
        state = self.log.states.get((flow.channel.subscription.id, flow.partition.tp))
        owed = state is not None and any(owed.offset == delivery.offset for owed in state.owed)
        assert not owed, f"{flow.partition.tp} {delivery.offset} is a dead letter, and is owed"

    # -- the group

    def start(self) -> Replica:
        """Begin a replica that owns nothing yet."""
        shifting = SHIFTS[self.shift]
        others = [ALL[id_] for id_ in self.subscriptions if id_ != "shifting"]
        more = [shifting] if shifting is not None and "shifting" in self.subscriptions else []
        replica = Replica(self, shifting, tuple(others + more))
        self.epochs[replica] = 0
        return replica

    def member(self, index: int) -> Replica:
        """Return one of the members, or a new one."""
        members = list(self.epochs)
        index %= MOST_REPLICAS
        return members[index] if index < len(members) else self.start()

    def give(self, tp: TopicPartition, to: Replica) -> None:
        """Give a partition that nobody owns to a member; whoever gains or loses one has a new epoch."""
        self.owners[tp] = to
        self._new_epoch(to)
        to.assign(tp)
        for replica in self.epochs:
            replica.core.spread(sum(owner is replica for owner in self.owners.values()) / len(PARTITIONS))

    def _new_epoch(self, replica: Replica) -> None:
        if replica in self.epochs:
            self.epochs[replica] += 1
            replica.epoch = self.epochs[replica]

    def begin(self, tp: TopicPartition, fate: Fate) -> None:
        """Let the owner begin; a transaction with offsets of this partition that is still open is waited for."""
        owner = self.owners[tp]
        if tp in owner.read or tp in owner.rewound:
            return
        for replica in self.everyone:
            writing = replica.writing
            if writing is not None and writing.sent and tp in writing.cycle.offsets:
                replica.end_cycle(fate)
        owner.begin(tp)

    def take(self, tp: TopicPartition) -> None:
        """Take a partition from its owner, who is told, and may write nothing."""
        owner = self.owners.pop(tp)
        self._new_epoch(owner)
        owner.release(tp)

    def crash(self, replica: Replica, received: int, *, sent: bool, zombie: bool) -> None:
        """A member is gone, or the group believes so; of what was in flight, receivers may have got some.

        A transaction whose offsets the broker has may have been committed with its last breath.
        """
        self.crashes += 1
        del self.epochs[replica]
        for tp in [tp for tp, owner in self.owners.items() if owner is replica]:
            del self.owners[tp]
        if zombie:
            self.zombies.append(replica)
            return
        replica.end_cycle(Fate.IN_DOUBT if sent and replica.writing and replica.writing.sent else Fate.ABORTED)
        for index in range(len(replica.flights)):
            if received >> index & 1:
                replica.answer(0)

    def end(self, zombie: Replica) -> None:
        """A zombie learns that it owns nothing any more."""
        self.zombies.remove(zombie)
        zombie.writing = None
        for tp in zombie.core.partitions:
            zombie.release(tp)
        zombie.end()
        zombie.check_empty()
        cycle = zombie.core.cycle()
        assert cycle.records == cycle.words, "it would still write something"
        assert not cycle.watermarks, "it would still commit something"

    # -- operators

    def say(self, word: Word) -> None:
        """Say something of a subscription; replicas hear it when they listen."""
        self.log.say(word)

    # -- the end

    def work_off(self) -> None:
        """Let everything that is there come to its end; fresh events of every kind of item keep breakers closed."""
        settled = 0
        for turn in range(ROUNDS):
            self._enable_all()
            settled = settled + 1 if self._old_is_settled() else 0
            if not settled:
                self._write_fresh(turn)
            if turn >= ROUNDS // 2 and turn % 50 == 0:
                self._end_outages()
            for replica in self.epochs:
                self._work(replica)
            self.clock.advance(4)
            for replica in self.epochs:
                replica.tick()
            if self.at_rest():
                return
        due = {str(tp): sorted(due)[:5] for tp, due in self.audit.due.items() if due}
        again = sorted(self.audit.again)[:5]
        raise AssertionError(f"it does not come to rest: due {due}, again {again}, states {list(self.log.states)}")

    def _enable_all(self) -> None:
        """Say of each subscription that is disabled, by whomever, that it is enabled."""
        said = Words()
        said.take(self.log.control, len(self.log.control))
        for id_ in said.off:
            self.say(Word(id_, Kind.SWITCH))

    def _write_fresh(self, turn: int) -> None:
        """Write a good event, for a replica that has nothing but replays as such: all that an entry concerns get it."""
        tp, key = PARTITIONS[turn % len(PARTITIONS)], b"fresh %d" % turn
        if tp.topic == REPLAYS:
            origin = self.log.records[PARTITIONS[0]][-1] if self.log.records[PARTITIONS[0]] else None
            if origin is not None and (origin.key or b"").startswith(b"fresh"):
                entry = DeadLetter(delivery_id(origin, ""), origin, Stage.DECODE, "poison", "it could not be read once")
                self._send_again(entry)
        else:
            self.write(tp.partition, key, "created")

    def _old_is_settled(self) -> bool:
        """Whether nothing is due, or owed, but fresh events."""
        return not any(
            not (due.key or b"").startswith(b"fresh") for place in self.audit.due.values() for due in place.values()
        )

    def _end_outages(self) -> None:
        """Mend bad items where they are so many that they are an outage by all that can be known, and fill all room."""
        for tp, owner in self.owners.items():
            for flow in owner.core._partitions[tp].flows.values():
                heads = list(flow.heads())
                lanes = {head.offset if head.lane is None else head.lane for head in heads}
                full = len(flow.hand) >= BOUNDS.in_hand_per_partition
                if flow.channel.breaker.open and full and len(lanes) >= SETTINGS.breaker.lanes:
                    for head in heads:
                        due = self.audit.due[tp].get((head.offset, flow.channel.subscription.id))
                        if due is not None:
                            self.receivers.failing.pop(due.item, None)

    def _work(self, replica: Replica) -> None:
        replica.hear()
        replica.core.held = False
        replica.fetch(100)
        for _ in range(1000):
            replica.learn(there=True)
            began = replica.turn(100)
            ended = [replica.answer(0) for _ in list(replica.flights)]
            for _ in list(replica.orders):
                replica.read_log(0, 100)
            if not began and not any(ended):
                break
            replica.check()
        else:
            raise AssertionError("it goes on for ever")
        replica.cycle()

    def at_rest(self) -> bool:
        """Whether all is done; a destination that was found down may wait for its next event, to be tried with."""
        done = self.audit.settled and all(self.log.finished(tp) for tp in PARTITIONS)
        owed = any(state.owed or not self._is_at_the_end(state) for state in self.log.states.values())
        return done and not owed and not any(replica.core.in_hand or replica.core.cycle() for replica in self.epochs)

    def _is_at_the_end(self, state: State) -> bool:
        channel = self.owners[state.partition].core._dispatcher.channels.get(state.subscription)
        waits = channel is not None and channel.breaker.open
        return waits and state.next is not None and not self.log.read(state.partition, state.next, 1)[0]

    def check_end(self) -> None:
        """Check that nothing is left anywhere."""
        for replica in self.epochs:
            replica.check_empty()
        self.audit.check_end(self.receivers.failing)


def item_of(subscription: str, partition: int, offset: int) -> Item:
    """Return an event of the log for a subscription."""
    return Item(subscription, PARTITIONS[partition], offset)
