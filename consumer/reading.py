"""What a record is: an event for some subscriptions, something for nobody, or what cannot be read (yet).

Both those who read the log live and those who read it again ask here. A replayed dead letter is the event that it was
made of, for the subscription that failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from consumer.codec import Head, Undecodable, Unfetched
from consumer.deadletter import DeadLetter, read_dead_letter
from consumer.event import Event, Record

if TYPE_CHECKING:
    from consumer.codec import Codec, Writer
    from consumer.framing import Reference
    from consumer.router import Router
    from consumer.subscriptions import Subscription


class Concern(NamedTuple):
    """Whom a record concerns; it is decoded by `Reading.event` only if anybody takes it."""

    subscriptions: tuple[Subscription, ...]
    head: Head | None = None  # of an event read from its own topic
    entry: DeadLetter | None = None  # of a replayed dead letter
    event: Event | None = None  # where it had to be decoded already


class Unread(NamedTuple):
    """A record that nobody can read, or not before its schema is there; `entry` where it is a replayed dead letter."""

    why: Undecodable | Unfetched
    entry: DeadLetter | None = None


class Reading:
    """Reads records; `topic` is the one with the events, the other one has replayed dead letters."""

    def __init__(self, topic: str, codec: Codec, router: Router) -> None:
        self._topic = topic
        self._codec = codec
        self._router = router

    def subscription(self, id: str) -> Subscription | None:
        """Return an enabled subscription; None if there is none of this id."""
        found = self._router.by_id(id)
        return found if found is not None and found.enabled else None

    @property
    def subscriptions(self) -> list[Subscription]:
        """The subscriptions that are enabled."""
        return self._router.enabled

    def route_by(self, router: Router) -> None:
        """Find subscriptions by another router from now on."""
        self._router = router

    def learn(self, reference: Reference, writer: Writer) -> None:
        """Know from now on what a reference to the registry stands for."""
        self._codec.learn(reference, writer)

    def concern(self, record: Record) -> Concern | Unread:
        """Return whom a record concerns, reading no more of it than that needs."""
        if record.topic != self._topic:
            return self._of_entry(record)
        head = self._codec.head(record.value, record.headers)
        if not isinstance(head, Head):
            return Unread(head)
        return Concern(self._router.route(head.product, head.model, head.action), head)

    def event(self, record: Record, concern: Concern) -> Event | Unread:
        """Return the event that a record holds."""
        if concern.event is not None:
            return concern.event
        payload = self._codec.decode(record.value, record.headers, concern.head)
        return Event(record, payload) if isinstance(payload, dict) else Unread(payload)

    def _of_entry(self, record: Record) -> Concern | Unread:
        try:
            entry = read_dead_letter(record)
        except ValueError as error:
            return Unread(Undecodable(str(error)))
        payload = self._codec.decode(entry.origin.value, entry.origin.headers)
        if not isinstance(payload, dict):
            return Unread(payload, entry)
        event = Event(record, payload, entry.origin)
        return Concern(self._concerned(event, entry), None, entry, event)

    def _concerned(self, event: Event, entry: DeadLetter) -> tuple[Subscription, ...]:
        if not entry.subscription:
            return self._router.route(event.product, event.model, event.action)
        subscription = self.subscription(entry.subscription)
        return () if subscription is None else (subscription,)
