"""Records that nobody should write, and good ones between them: a seed comes in, the same records go out each time.

What a broken or hostile producer can do to the value, the key and the headers of a record, on the topic with the events
and on that with the replays.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from payloads import NAMES, documented

from consumer.codec import Codec
from consumer.deadletter import DeadLetter, Stage
from consumer.event import Outgoing, Payload, Record
from consumer.framing import CONFLUENT_FRAME, HEADER, SINGLE_OBJECT_FRAME, confluent_frame
from consumer.topics import REPLAYS

CODEC = Codec()
FRAME = SINGLE_OBJECT_FRAME
LARGE = 900_000  # bytes; a topic takes 1 MiB by default
LANES = 400  # record keys that come again and again
PRODUCTS = 50
LARGEST = 2**63 - 1
NUMBERS = (0, -1, 1, 63, 64, 127, 128, 2**31, 2**32, 2**53 + 1, LARGEST, -LARGEST - 1)
TEXTS = (
    "",
    "\x00",
    "\r\n",
    "\u202e",
    "\ud7ff\ue000",
    "\U0001f600" * 50,
    "@[" * 300,
    "<!channel>",
    "${HOME}",
    "%s{0}",
    "é\u0301",
)
NAMES_OF_OURS = ("dlq.replays", "dlq.key", "dlq.id", "dlq.offset", "dlq.null", "dlq.truncated", "dlq.stage", "dlq.x")
CONTENTS = (None, b"", b"1", b"-1", b"9" * 400, b"9" * 5000, b"\xff\xfe", b"0001-01-01T00:00:00+23:59", b"\x00" * 17)


class Fuzzed(NamedTuple):
    """A record, and what was done to it; `name` is that of a header which only a client other than ours can write."""

    kind: str
    record: Outgoing
    name: bytes = b""


def fuzzed(topic: str, seed: int) -> Iterator[Fuzzed]:
    """Yield records for the topic with the events, and some for that with the replays, without an end."""
    fuzz = Fuzz(topic, seed)
    while True:
        yield fuzz.next()


class Fuzz:
    """Makes records; what it does to each is a method of its own."""

    def __init__(self, topic: str, seed: int) -> None:
        self._topic = topic
        self._rnd = random.Random(seed)
        self._made = 0

    def next(self) -> Fuzzed:
        """Return the next record."""
        self._made += 1
        (kind,) = self._rnd.choices(list(WEIGHTS), WEIGHTS.values())
        made = getattr(self, kind.replace(" ", "_"))()
        if isinstance(made, Fuzzed):
            return made
        return Fuzzed(kind, made if isinstance(made, Outgoing) else self._record(made))

    # -- values

    def valid(self) -> bytes:
        return _valid(self._rnd.choice(NAMES), self._rnd.randrange(PRODUCTS))

    def random_bytes(self) -> bytes:
        return self._bytes(self._rnd.choice((1, 2, 5, 10, 11, 40, 300)))

    def random_datum(self) -> bytes:
        """A frame that is known, and behind it anything."""
        return self.valid()[:FRAME] + self._bytes(self._rnd.randrange(400))

    def truncated(self) -> bytes:
        value = self.valid()
        return value[: self._rnd.randrange(len(value))]

    def trailing(self) -> bytes:
        return self.valid() + self._bytes(self._rnd.randint(1, 20))

    def bit_flips(self) -> bytes:
        value = bytearray(self.valid())
        for _ in range(self._rnd.choice((1, 1, 1, 2, 8))):
            value[self._rnd.randrange(len(value))] ^= 1 << self._rnd.randrange(8)
        return bytes(value)

    def spliced(self) -> bytes:
        """The beginning of one event and the end of another."""
        one, other = self.valid(), self.valid()
        return one[: self._rnd.randrange(len(one))] + other[self._rnd.randrange(len(other)) :]

    def wrong_fingerprint(self) -> bytes:
        value = self.valid()
        return value[:2] + self._bytes(8) + value[FRAME:]

    def unknown_schema(self) -> bytes:
        """Confluent's framing, whole or cut, with an id that no registry has given."""
        return (confluent_frame(self._rnd.getrandbits(32)) + self.valid()[FRAME:])[: self._rnd.choice((1, 4, 5, None))]

    def huge_number(self) -> bytes:
        """A length, a count or a number that is far too large or too long, somewhere in an event."""
        value, number = (
            self.valid(),
            varint(self._rnd.choice(NUMBERS) if self._rnd.random() < 0.6 else self._rnd.getrandbits(62)),
        )
        if self._rnd.random() < 0.2:
            number = b"\xff" * self._rnd.randint(9, 200) + b"\x01"
        at = self._rnd.randrange(FRAME, len(value))
        return value[:at] + number + value[at + self._rnd.randrange(2) :]

    def blocks(self) -> bytes:
        """Tags in blocks: with a size before them, empty ones, and counts that promise more than there is."""
        before, after = around_tags()
        blocks = [self._block() for _ in range(self._rnd.randint(1, 5))]
        return before + b"".join(blocks) + b"\x00" + after

    def nested(self) -> bytes:
        return nested(self._rnd.choice((1, 5, 60, 62, 63, 64, 65, 100, 1000, 5000)))

    def empty(self) -> bytes | Outgoing:
        return self._record(self._rnd.choice((None, b"")))

    def not_utf_8(self) -> bytes:
        marked = self.valid_with(title="MARKED")
        return marked.replace(
            b"MARKED", self._rnd.choice((b"\xed\xa0\x80\xed\xb0", b"\xff" * 6, b"abc\xf0\x9f\x98", b"\xc0\x80abcd"))
        )

    # -- events that are odd, and good

    def odd_text(self) -> bytes:
        text = self._rnd.choice(TEXTS)
        return self.valid_with(title=text, description=text, tags=[text] * 3, short_url=text, status=text)

    def odd_number(self) -> bytes:
        return CODEC.encode(self._payload("item") | {"product": {"id": self._rnd.choice(NUMBERS)}})

    def odd_model(self) -> bytes:
        names = ("", ".", "Item.created", "A" * 300, "a\r\nb: c", "Ünïcode", f"Model{self._rnd.getrandbits(40)}")
        model, action = self._rnd.choice(names), self._rnd.choice(names)
        value = CODEC.encode(self._payload("item") | {"action": action})
        return value.replace(b"\x08Item", varint(len(model.encode())) + model.encode(), 1)

    def valid_with(self, **attributes: object) -> bytes:
        payload = self._payload("item")
        payload["attributes"].update(attributes)
        return CODEC.encode(payload)

    def large(self) -> bytes:
        """As large as a topic takes: noise, text, very many tags, or a list of very many items."""
        size = self._rnd.randint(LARGE // 10, LARGE)
        match self._rnd.randrange(4):
            case 0:
                return self.valid()[:FRAME] + self._bytes(size)
            case 1:
                return self.valid_with(title="@[" * (size // 2))
            case 2:
                return self.valid_with(tags=[""] * size)
        deploy = self._payload("deploy")
        deploy["attributes"]["items"] = [{"number": 1}] * (size // 30)
        return CODEC.encode(deploy)

    # -- keys and headers

    def odd_key(self) -> Outgoing:
        key = self._rnd.choice((None, b"", b"\x00" * 9, self._bytes(8), self._bytes(300), self._bytes(20_000)))
        return self._record(self._rnd.choice((self.valid(), self.bit_flips())))._replace(key=key)

    def odd_headers(self) -> Outgoing:
        headers = tuple(self._header() for _ in range(self._rnd.choice((1, 3, 20))))
        return self._record(self._rnd.choice((self.valid(), self.random_bytes())))._replace(headers=headers)

    def reference_in_headers(self) -> Outgoing:
        content = self._rnd.choice(
            (b"\x01" + self._bytes(16), confluent_frame(7), self._bytes(CONFLUENT_FRAME), b"", None)
        )
        value = self.valid() if self._rnd.random() < 0.5 else self.valid()[FRAME:]
        return self._record(value)._replace(headers=((HEADER, content),))

    def name_that_is_not_utf_8(self) -> Fuzzed:
        value = self.valid_with(title=f"odd name {self._made}")
        record = Outgoing(self._topic, None, value, (("", b"content"),))
        return Fuzzed("name that is not utf 8", record, self._rnd.choice((b"\xff\xfe", b"\xed\xa0\x80", b"a\xc3")))

    # -- the topic with the replays

    def garbage_replayed(self) -> Outgoing:
        """Anything on the topic of the replays."""
        headers = tuple(self._header() for _ in range(self._rnd.randrange(4)))
        value = self._rnd.choice((None, b"", self.valid(), self.random_bytes()))
        return Outgoing(self._topic + REPLAYS, self._bytes(3), value, headers)

    def forged_replay(self) -> Outgoing:
        """An entry as this application writes it, of which some headers are wrong."""
        sent = self._entry()
        headers = list(sent.headers)
        for _ in range(self._rnd.randint(1, 2)):
            at = self._rnd.randrange(len(headers))
            headers[at] = (headers[at][0], self._rnd.choice(CONTENTS))
        return sent._replace(headers=tuple(headers))

    def replayed(self) -> Outgoing:
        return self._entry()

    # -- what these are made of

    def _entry(self) -> Outgoing:
        value = self._rnd.choice((self.valid(), self.bit_flips(), None))
        origin = Record(f"{self._topic}.formerly", 0, self._made, self._key(), value, 1_700_000_000_000 + self._made)
        subscription = self._rnd.choice(("", "hook", "gone"))
        id_ = f"{self._rnd.getrandbits(128):032x}"
        letter = DeadLetter(
            id_, origin, Stage.DELIVER, "permanent", "no", subscription, "webhook", 1, "Item", "created"
        )
        return letter.replay(self._topic + REPLAYS)

    def _record(self, value: bytes | None) -> Outgoing:
        return Outgoing(self._topic, self._key(), value)

    def _key(self) -> bytes | None:
        return None if self._rnd.random() < 0.1 else b"1:%d" % self._rnd.randrange(LANES)

    def _header(self) -> tuple[str, bytes | None]:
        names = (*NAMES_OF_OURS, HEADER, "", "tráce", "x" * 500)
        content = self._rnd.choice((*CONTENTS, self._bytes(40)))
        return self._rnd.choice(names), content

    def _payload(self, name: str = "") -> Payload:
        payload = documented(name or self._rnd.choice(NAMES))
        payload["product"]["id"] = self._rnd.randrange(PRODUCTS)
        return payload

    def _block(self) -> bytes:
        count = self._rnd.choice((1, 2, 3, 1000, 2**40, LARGEST))
        items = b"\x02a" * min(count, self._rnd.choice((0, 3, 3, 3)))
        if self._rnd.random() < 0.5:
            size = self._rnd.choice((len(items), 0, -1, LARGEST))
            return varint(self._rnd.choice((-count, -count, -LARGEST - 1))) + varint(size) + items
        return varint(count) + items

    def _bytes(self, count: int) -> bytes:
        return self._rnd.randbytes(count)


WEIGHTS = {
    "valid": 30.0,
    **dict.fromkeys(("random bytes", "random datum", "truncated", "bit flips"), 8.0),
    **dict.fromkeys(("trailing", "spliced", "wrong fingerprint", "unknown schema", "huge number", "blocks"), 4.0),
    **dict.fromkeys(("nested", "empty", "not utf 8", "odd text", "odd number", "odd model"), 3.0),
    **dict.fromkeys(("odd key", "odd headers", "reference in headers"), 3.0),
    **dict.fromkeys(("garbage replayed", "forged replay", "replayed"), 2.0),
    "name that is not utf 8": 0.3,
    "large": 0.15,
}


@cache
def _valid(name: str, product: int) -> bytes:
    payload = documented(name)
    payload["product"]["id"] = product
    return CODEC.encode(payload)


def varint(number: int) -> bytes:
    """Return a number as Avro writes it."""
    zigzag = number << 1 if number >= 0 else (-number << 1) - 1
    out = bytearray()
    while zigzag > 127:
        out.append(zigzag & 127 | 128)
        zigzag >>= 7
    return bytes([*out, zigzag])


@cache
def nested(levels: int) -> bytes:
    """Return an event whose item has so many ancestors: more than the encoder would let through."""
    one, two, three = (_item_with_ancestors(count) for count in range(3))
    first = _shared(one, two)
    second = _shared(two, three)
    opening = two[first:second]
    closing_size = len(three) - len(two) - len(opening)
    closing, end = two[second + 1 : second + 1 + closing_size], two[second + 1 + 2 * closing_size :]
    return two[:first] + opening * levels + two[second : second + 1] + closing * (levels + 1) + end


def _shared(one: bytes, other: bytes) -> int:
    """Return how many bytes two values have in common at their beginnings."""
    return next(at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs)


def _item_with_ancestors(count: int) -> bytes:
    item: Payload = {"number": 1}
    for _ in range(count):
        item = {"number": 1, "parent": item}
    return CODEC.encode({"model": "Item", "product": {"id": 1}, "attributes": item})


@cache
def around_tags() -> tuple[bytes, bytes]:
    """Return what stands before and after the blocks of an event's tags."""
    whole = CODEC.encode({"model": "Item", "product": {"id": 1}, "attributes": {"number": 1, "tags": ["MARKED"]}})
    before, after = whole.split(varint(1) + varint(6) + b"MARKED" + b"\x00")
    return before, after
