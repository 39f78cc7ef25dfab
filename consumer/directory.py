"""The directory: where subscriptions stand in a topic, it is read whole, and what cannot be used is told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consumer.entries import Entries, Refusal, nobody, read_entries
from consumer.errors import KeysMissing
from consumer.logs import get_logger

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.health import Health
    from consumer.metrics import Metrics
    from consumer.sealed import Seal
    from consumer.subscriptions import Services, Subscription

TOLD = 20  # records set aside that are named one by one


class Directory:
    """The subscriptions topic, as a replica sees it."""

    def __init__(
        self,
        broker: Broker,
        topic: str,
        seal: Seal | None,
        services: Services,
        refusal: Refusal = nobody,
        *,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """Read `topic`, whose options `seal` opens where they are sealed.

        `refusal` says of a service why it may not be used, "" where it may.
        """
        self.topic = topic
        self._broker = broker
        self._seal = seal
        self._services = services
        self._refusal = refusal
        self._health = health
        self._aside = 0
        self._log = get_logger("subscriptions")
        metrics.set_aside.read_from(lambda: self._aside)

    def read(self) -> tuple[Subscription, ...]:
        """Return the subscriptions that the topic holds now. Raises BrokerError.

        A record that cannot be used is set aside: the others are not to wait for it. But where none of the sealed ones
        can be opened, it is the keys that are wrong, and KeysMissing is raised: to go on without all of them would have
        events committed that nobody got.
        """
        entries = read_entries(self._broker.read(self.topic), self._seal, self._services, self._refusal)
        if entries.locked:
            raise KeysMissing(
                f"none of the {entries.locked} sealed subscription(s) of {self.topic} can be opened:"
                " does SPRINTLY_OPTIONS_KEY hold the right keys?"
            )
        self._tell(entries)
        return entries.subscriptions

    def _tell(self, entries: Entries) -> None:
        self._log.info("subscriptions read", topic=self.topic, subscriptions=len(entries.subscriptions))
        problems = entries.problems
        self._aside = len(problems)
        told = problems[:TOLD] + [f"and {len(problems) - TOLD} more"] * (len(problems) > TOLD)
        for sentence in told:
            self._log.error("a subscription is set aside", problem=sentence)
        detail = f"{len(problems)} record(s) of {self.topic} are set aside: " + "; ".join(told)
        self._health.note("subscriptions", detail if problems else "")
