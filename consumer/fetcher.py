"""Schemas that partitions wait for: what is awaited goes in, asked of the registry, what it answers goes to the core.

The registry may be down for as long as it likes. Until it answers, those partitions wait, readiness says so, and
nothing becomes a dead letter; everything else goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import structlog

from consumer.codec import Codec, Undecodable, Unfetched, Writer, WriterSchema, compile_schema
from consumer.errors import ConfigurationError, RegistryError, RegistryUnavailable, SchemaUnusable
from consumer.framing import Reference, describe
from consumer.reminder import Reminder
from consumer.sidethread import SideThread

if TYPE_CHECKING:
    from consumer.clock import Clock
    from consumer.core import Core
    from consumer.event import Headers, Payload, TopicPartition
    from consumer.health import Health
    from consumer.metrics import Metrics
    from consumer.retry import Doubling

NAMED = 3  # partitions that a sentence names


class SchemaSource(Protocol):
    """What a schema registry is to those who read."""

    def fetch(self, reference: Reference) -> WriterSchema:
        """Return a schema; raises SchemaUnusable if there is none, for sure, and RegistryUnavailable if it may be."""


def fetch_writer(source: SchemaSource, reference: Reference) -> Writer:
    """Return what reads the values written with a schema of the registry; raises what `SchemaSource.fetch` does."""
    try:
        return compile_schema(source.fetch(reference))
    except ConfigurationError as error:
        raise SchemaUnusable(f"schema {describe(reference)} of the registry: {error}") from error


def decode_now(source: SchemaSource | None, value: bytes | None, headers: Headers) -> Payload | Undecodable:
    """Decode one record, asking for its schema where needed; that the registry cannot be asked is a reason as well."""
    codec = Codec(registry=source is not None)
    event = codec.decode(value, headers)
    if isinstance(event, Unfetched) and source is not None:
        try:
            codec.learn(event.reference, fetch_writer(source, event.reference))
        except RegistryError as error:
            return Undecodable(str(error))
        event = codec.decode(value, headers)
    assert not isinstance(event, Unfetched)
    return event


class SchemaFetcher:
    """Asks for what the core waits for, round by round, for as long as it waits for anything."""

    def __init__(
        self,
        core: Core,
        source: SchemaSource,
        changed: Callable[[], None],
        *,
        pauses: Doubling,
        patience: float,
        clock: Clock,
        health: Health,
        metrics: Metrics,
    ) -> None:
        """Call `changed` whenever a partition may go on.

        While the registry does not answer, rounds have `pauses` between them; one answer may take `patience` seconds in
        all, since a client's own time-out is for each read.
        """
        self._core = core
        self._source = source
        self._changed = changed
        self._clock = clock
        self._health = health
        self._metrics = metrics
        self._pauses = pauses
        self._patience = patience
        self._wanted = asyncio.Event()
        self._thread = SideThread("registry")
        self._reminder = Reminder(clock)
        self._log = structlog.get_logger("registry")

    def wake(self) -> None:
        """Say that the core waits for something."""
        self._wanted.set()

    async def run(self) -> None:
        """Fetch until it is cancelled."""
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await self._fetch_all()
                self._health.clear("registry")
        finally:
            self._thread.close()

    async def _fetch_all(self) -> None:
        """Go round until nothing is awaited: fetched, refused, or its partitions given up."""
        failures = 0
        while self._core.awaited:
            trouble = ""
            for reference in self._core.awaited.places():
                trouble = await self._fetch(reference) or trouble
            failures = failures + 1 if trouble else 0
            if trouble and self._core.awaited:
                self._say(trouble)
                await asyncio.sleep(self._pauses.after(failures))

    async def _fetch(self, reference: Reference) -> str:
        """Ask for one schema; return why there is no answer, or nothing."""
        asked = self._thread.do(fetch_writer, self._source, reference)
        try:
            writer = await asyncio.wait_for(asked, self._patience)
        except SchemaUnusable as error:
            self._metrics.schema_fetches.add("refused")
            self._log.warning("no such schema", schema=describe(reference), error=str(error))
            self._core.refused(reference, str(error))
        except RegistryUnavailable as error:
            self._metrics.schema_fetches.add("unavailable")
            return str(error)
        except TimeoutError:
            self._metrics.schema_fetches.add("unavailable")
            return f"the schema registry did not finish its answer within {self._patience:.0f} s"
        else:
            self._metrics.schema_fetches.add("fetched")
            self._log.info("schema fetched", schema=describe(reference))
            self._core.learned(reference, writer)
        self._changed()
        return ""

    def _say(self, trouble: str) -> None:
        waiting = "; ".join(_waiting(reference, where) for reference, where in self._core.awaited.places().items())
        self._health.set("registry", f"{waiting}: {trouble}")
        if self._reminder.is_due():
            self._log.error("waiting for the schema registry", waiting=waiting, trouble=trouble)


def _waiting(reference: Reference, where: list[TopicPartition]) -> str:
    named = ", ".join(str(tp) for tp in where[:NAMED])
    more = f" and {len(where) - NAMED} more" if len(where) > NAMED else ""
    return f"{named}{more} wait{'s' * (len(where) == 1)} for schema {describe(reference)}"
