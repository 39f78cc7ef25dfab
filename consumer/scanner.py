"""The thread that reads the log again: orders of the core go in, records come back on the loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import structlog

from consumer.errors import BrokerError

if TYPE_CHECKING:
    from consumer.broker import Broker
    from consumer.catchup import Order
    from consumer.core import Core
    from consumer.event import Record

READ_TIME = 5.0  # seconds that one read may take
AGAIN = 1.0  # seconds after which one that failed is asked for again


class Scanner:
    """Reads one run of records after the other by a consumer of its own, which commits nothing."""

    def __init__(
        self, broker: Broker, core: Core, changed: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """Bring records to `core` on `loop`, and call `changed` then."""
        self._broker = broker
        self._core = core
        self._changed = changed
        self._loop = loop
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="scanner", daemon=True)
        self._failed = False  # whether the last read did: it is said once
        self._log = structlog.get_logger("scanner")

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def read(self, order: Order) -> None:
        """Have a run of records read."""
        self._orders.put(order)

    def close(self) -> None:
        """Read nothing more."""
        self._orders.put(None)

    def _run(self) -> None:
        reader = self._broker.log_reader()
        while (order := self._orders.get()) is not None:
            try:
                chunk = reader.read(order.partition.tp, order.offset, order.most, READ_TIME)
            except BrokerError as error:
                self._tell(self._refuse, order, str(error))
            else:
                self._tell(self._deliver, order, *chunk)
        reader.close()

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: the process is ending
            self.close()

    def _deliver(self, order: Order, records: list[Record], end: int, begin: int) -> None:
        self._failed = False
        self._core.read_again(order, records, end, begin)
        self._changed()

    def _refuse(self, order: Order, error: str) -> None:
        if not self._failed:
            self._log.warning("the log could not be read again", error=error)
        self._failed = True
        self._loop.call_later(AGAIN, self._again, order)

    def _again(self, order: Order) -> None:
        self._core.read_failed(order)
        self._changed()
