"""What has to hold, after every step and at the end, whoever does what: nothing lost, lanes in order, bounds kept."""

from __future__ import annotations

from collections import Counter

from harness import TOPIC
from simulated.log import PARTITIONS, UNREADABLE, Log
from simulated.receivers import ALL, ALWAYS, Item

from consumer.deadletter import DeadLetter, Stage
from consumer.event import Record, TopicPartition
from consumer.subscriptions import Subscription

DELAYS = (5.0, 10.0)
REPLAYED = "replayed"  # instead of a kind of event


class Due:
    """What one record owes to one subscription until it is delivered, or durably a dead letter."""

    __slots__ = ("item", "key")

    def __init__(self, item: Item, key: bytes | None) -> None:
        self.item = item
        self.key = key


class Audit:
    """Keeps account of what each record owes to whom; what is delivered or becomes a dead letter is struck off."""

    def __init__(self, log: Log, subscriptions: tuple[str, ...]) -> None:
        self._log = log
        self._subscriptions = subscriptions
        self.due: dict[TopicPartition, dict[tuple[int, str], Due]] = {tp: {} for tp in PARTITIONS}
        self._places: dict[Item, list[TopicPartition]] = {}
        self.kinds: dict[tuple[TopicPartition, int], str] = {}
        self.shunned: set[tuple[TopicPartition, int]] = (
            set()
        )  # what a replica took in that did not have the changing one
        self.refused = False  # whether a schema was ever said not to be there
        self.received: Counter[Item] = Counter()
        self.given_up: dict[Item, DeadLetter] = {}
        self.excused: set[Item] = set()  # what an operator had passed over
        self.again: set[Item] = set()  # what an operator wants delivered once more

    # -- what is due

    def written(self, record: Record, kind: str) -> None:
        """Take in an event that was written to the log."""
        tp = TopicPartition(record.topic, record.partition)
        self.kinds[tp, record.offset] = kind
        self._owe(record, "" if kind in UNREADABLE else None, tp, record.offset)

    def replayed(self, record: Record, entry: DeadLetter) -> None:
        """Take in a dead letter that was sent again."""
        tp, origin = TopicPartition(record.topic, record.partition), entry.origin
        place = TopicPartition(origin.topic, origin.partition), origin.offset
        self.kinds[tp, record.offset] = REPLAYED
        unreadable = self.kinds[place] in UNREADABLE
        self._owe(record, "" if unreadable else entry.subscription or None, *place)

    def _owe(self, record: Record, subscription: str | None, origin: TopicPartition, offset: int) -> None:
        if self.kinds[origin, offset] == "silent":
            return
        tp = TopicPartition(record.topic, record.partition)
        for id_ in self._subscriptions if subscription is None else (subscription,):
            item = Item(id_, origin, offset)
            self.due[tp][record.offset, id_] = Due(item, record.key)
            self._places.setdefault(item, []).append(tp)

    def _settle(self, item: Item) -> None:
        for tp in self._places.pop(item, ()):
            for place in [place for place, due in self.due[tp].items() if due.item == item]:
                del self.due[tp][place]

    @property
    def settled(self) -> bool:
        """Whether nothing is due any more."""
        return not any(self.due.values()) and not self.again

    # -- what happens

    def shown(self, record: Record, shifting: Subscription | None, *, owed: bool) -> None:
        """Take in that a replica with this changing subscription lets a record in; it may be `owed` to it already."""
        tp = TopicPartition(record.topic, record.partition)
        shunned = (record.offset, "shifting") in self.due[tp] and not self._wants(shifting, tp, record.offset)
        if shunned and not owed:
            self.shunned.add((tp, record.offset))

    def declined(self, tp: TopicPartition, begin: int, end: int, shifting: Subscription | None) -> None:
        """Take in that a replica may finish what it does not want any more, of what it has let in, or reads again.

        Who is gone wants it all the same: it is owed to it.
        """
        for offset, id_ in self.due[tp] if shifting is not None else ():
            if id_ == "shifting" and begin <= offset < end and not self._wants(shifting, tp, offset):
                self.shunned.add((tp, offset))

    def attempted(self, subscription: str, record: Record, shifting: Subscription | None, passed: int) -> None:
        """Check that nothing before it in its lane is due any more, as far as a replica is configured to know.

        What lies below `passed` it was told to pass over.
        """
        if record.topic != TOPIC or record.key is None or not ALL[subscription].ordered:
            return
        tp = TopicPartition(record.topic, record.partition)
        for (offset, id_), due in self.due[tp].items():
            if passed <= offset < record.offset and id_ == subscription and due.key == record.key:
                excused = self._is_excused(id_, tp, offset, shifting)
                assert excused, f"{subscription}: {tp} {record.offset} came before {offset}"

    def _is_excused(self, subscription: str, tp: TopicPartition, offset: int, shifting: Subscription | None) -> bool:
        if self.kinds[tp, offset] == "referring" and self.refused:
            return True  # nobody knew whose it was
        return subscription == "shifting" and ((tp, offset) in self.shunned or not self._wants(shifting, tp, offset))

    def got(self, item: Item) -> None:
        """Take in a delivery as its receiver saw it."""
        self.received[item] += 1
        self.again.discard(item)
        self._settle(item)

    def dead(self, letter: DeadLetter) -> None:
        """Take in a dead letter that is durable."""
        origin = letter.origin
        tp = TopicPartition(origin.topic, origin.partition)
        if letter.stage is Stage.DECODE:
            kind = self.kinds[tp, origin.offset]
            assert kind in UNREADABLE or (kind == "referring" and self.refused), f"{tp} {origin.offset} can be read"
        for id_ in (*self._subscriptions, "") if not letter.subscription else (letter.subscription,):
            item = Item(id_, tp, origin.offset)
            self.given_up[item] = letter
            self.again.discard(item)
            self._settle(item)

    def skipped(self, subscription: str, tp: TopicPartition, position: int) -> None:
        """Take in that a subscription is to get nothing more of what lies below a position."""
        for place in [(offset, id_) for offset, id_ in self.due[tp] if id_ == subscription and offset < position]:
            item = self.due[tp].pop(place).item
            self.excused.add(item)
            self._places[item].remove(tp)
        self.again -= {item for item in self.again if self._lies(item, subscription, tp, 0, position)}

    def said_again(self, subscription: str, tp: TopicPartition) -> None:
        """Take in that a new owner carries a backfill out again: of what is not durable, only the last word counts."""
        lost = {i for i in self.again if (i.subscription, i.tp) == (subscription, tp)}
        self.again -= {i for i in lost if not self._log.owes(subscription, tp, i.offset)}

    def wanted_again(self, subscription: str, tp: TopicPartition, begin: int, position: int) -> None:
        """Take in that a subscription is to get once more what lies from an offset on, up to a position."""
        for (place, offset), kind in self.kinds.items():
            item = Item(subscription, place, offset)
            if kind not in (*UNREADABLE, "silent", "referring") and self._lies(item, subscription, tp, begin, position):
                self.again.add(item)

    def _lies(self, item: Item, subscription: str, tp: TopicPartition, begin: int, end: int) -> bool:
        return item.subscription == subscription and item.tp == tp and begin <= item.offset < end

    # -- what has to hold

    def check(self, shifting: Subscription | None) -> None:
        """Check, after a commit by a replica with this changing subscription, that nothing was passed that is due."""
        for tp, committed in self._log.committed.items():
            for (offset, id_), due in list(self.due[tp].items()):
                if offset >= committed or (id_ and self._log.owes(id_, tp, offset)):
                    continue
                passed = id_ == "shifting" and (
                    (tp, offset) in self.shunned or (shifting is not None and not self._wants(shifting, tp, offset))
                )
                assert passed, f"{tp}: committed {committed} past {id_}:{offset}, which is not owed"
                self._settle(due.item)

    def _wants(self, shifting: Subscription | None, tp: TopicPartition, offset: int) -> bool:
        if shifting is None:
            return False
        due = self.due[tp].get((offset, "shifting"))
        kind = "created" if due is None else self.kinds[due.item.tp, due.item.offset]
        return kind != "updated" or shifting.events is None

    def check_end(self, failing: dict[Item, int]) -> None:
        """Check that what always fails was given up after as many attempts as it may have."""
        for item, left in failing.items():
            letter = self.given_up.get(item)
            if (
                left != ALWAYS
                or item in self.excused
                or item.subscription == "shifting"
                or self.kinds[item.tp, item.offset] == "silent"
            ):
                continue
            assert letter is not None, f"{item} always fails and was never given up"
            if letter.reason == "exhausted":
                assert letter.attempts > len(DELAYS), f"{item} was given up after {letter.attempts} attempts"
