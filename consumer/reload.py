"""Subscriptions that change while a replica runs: what their source has now comes in, and is taken over or refused.

A file that has any problem is refused as a whole, and the former subscriptions stay active; of a topic, only the record
that cannot be used is set aside. Log, metrics and readiness say which it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from consumer.changes import Changes, changes
from consumer.errors import BrokerError, ConfigurationError, KeysMissing
from consumer.logs import get_logger
from consumer.reminder import Reminder
from consumer.router import Router
from consumer.sidethread import SideThread
from consumer.subscriptions import entry_of

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.core import Core
    from consumer.health import Health
    from consumer.metrics import Metrics
    from consumer.subscriptions import Subscription

CHECK = "subscriptions"
TOLD = 10  # ids, or problems, that are named one by one
PATIENCE = 15.0  # seconds without an answer after which the replica says so, as of the control topic


class Found(NamedTuple):
    """What a source has: the usable subscriptions, and the ids of the entries that cannot be used and are set aside."""

    subscriptions: tuple[Subscription, ...]
    aside: frozenset[str] = frozenset()


class Source(Protocol):
    """Where subscriptions stand. It is read on one thread; `topic` is "" where it is none."""

    name: str
    topic: str

    async def wait(self) -> None:
        """Wait until it may have changed, a second at most."""

    async def close(self) -> None:
        """Wait no longer, never again."""

    def read(self) -> Found:
        """Return what is there. Raises ConfigurationError, KeysMissing or BrokerError where it cannot be used."""

    def look(self, *, anew: bool = False) -> Found | None:
        """Return what is there if it has changed since the last look, or `anew` in any case; raises as `read` does."""


def cut(problems: Sequence[str], most: int) -> list[str]:
    """Return the first of them, and how many more there are."""
    return [*problems[:most], *([f"and {len(problems) - most} more"] if len(problems) > most else [])]


class Reload:
    """The active subscriptions, and what becomes of them."""

    def __init__(
        self,
        core: Core,
        source: Source,
        active: Sequence[Subscription] | None,
        soon: Callable[[], None],
        *,
        clock: Clock,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """Keep the subscriptions of `core` as `source` has them, and have a turn made `soon` after each change.

        `active` are those that the core has already; None: they are read by `begin`.
        """
        self._core = core
        self._source = source
        self._active = active
        self._soon = soon
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._thread = SideThread("subscriptions")
        self._wanted = False
        self._aside: frozenset[str] = frozenset()
        self._refused: tuple[str, ...] = ()  # what is wrong with what is there now
        self._generation = 1
        self._well_at = clock.monotonic()
        self._reminder = Reminder(clock)
        self._log = get_logger("subscriptions")
        metrics.configuration_generation.read_from(lambda: self._generation)
        metrics.configuration_refused.read_from(lambda: bool(self._refused))

    @property
    def topic(self) -> str:
        """The topic that is read; "" where it is a file."""
        return self._source.topic

    async def begin(self) -> None:
        """Have the core begin with what the source has, unless it has its subscriptions. Raises as `Source.read`."""
        if self._active is None:
            found = await self._thread.do(self._source.read)
            self._active = found.subscriptions
            self._core.subscribe(Router(found.subscriptions))

    def now(self) -> None:
        """Have the source looked at, whether or not it seems to have changed."""
        self._wanted = True

    async def run(self) -> None:
        """Follow the source until it is cancelled."""
        try:
            while True:
                await self._source.wait()
                await self._look()
        finally:
            await self._source.close()

    def close(self) -> None:
        """Give up."""
        self._thread.close()

    async def _look(self) -> None:
        anew, self._wanted = self._wanted, False
        try:
            found = await self._thread.do(lambda: self._prepared(self._source.look(anew=anew)))
        except ConfigurationError as error:
            self._refuse(error.problems)
        except KeysMissing as error:
            self._refuse((str(error),))
        except BrokerError as error:
            self._trouble(str(error))
        except Exception as error:  # noqa: BLE001 - a validator of anybody's; its text may hold a secret
            self._refuse((f"{self._source.name}: the subscriptions cannot be read: {type(error).__name__}",))
        else:
            self._well_at = self._clock.monotonic()
            if found is not None:
                self._accept(*found)
            elif not self._refused:
                self._health.clear(CHECK)

    def _prepared(self, found: Found | None) -> tuple[Changes, Router, frozenset[str]] | None:
        """Compare what was found with what is active; called on the thread, since there may be a hundred thousand.

        Of an entry that is set aside, what was active stays, and waits.
        """
        if found is None:
            return None
        active = self._active or ()
        waiting = [each for each in active if entry_of(each.id) in found.aside]
        wanted = changes(active, [*found.subscriptions, *waiting])
        return wanted, Router(wanted.subscriptions), frozenset(each.id for each in waiting)

    def _accept(self, wanted: Changes, router: Router, aside: frozenset[str]) -> None:
        self._refused = ()
        self._health.clear(CHECK)
        if not wanted and aside == self._aside:
            self._metrics.configuration_reloads.add("unchanged")
            return
        self._active, self._aside = wanted.subscriptions, aside
        self._core.subscribe(router, aside)
        self._soon()
        self._generation += 1
        self._metrics.configuration_reloads.add("accepted")
        self._log.info(
            "subscriptions changed",
            source=self._source.name,
            generation=self._generation,
            added=len(wanted.added),
            changed=len(wanted.changed),
            removed=len(wanted.removed),
            waiting=len(aside),
            ids=[*wanted.added, *wanted.changed, *wanted.removed, *sorted(aside)][:TOLD],
        )

    def _refuse(self, problems: Sequence[str]) -> None:
        """Go on with what is active; said once, however often the same is found."""
        if tuple(problems) == self._refused:
            return
        self._refused = tuple(problems)
        self._metrics.configuration_reloads.add("refused")
        told = cut(problems, TOLD)
        for problem in told:
            self._log.error("changed subscriptions are refused, the former ones stay active", problem=problem)
        self._health.set(CHECK, f"the former subscriptions are active, what is there now is refused: {'; '.join(told)}")

    def _trouble(self, sentence: str) -> None:
        if self._clock.monotonic() - self._well_at < PATIENCE:
            return
        if not self._refused:
            self._health.set(CHECK, f"changes of subscriptions cannot be read: {sentence}")
        if self._reminder.is_due():
            self._log.error("changes of subscriptions cannot be read", trouble=sentence)
