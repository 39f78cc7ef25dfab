"""The events of a run, written at a steady pace, whatever happens to the broker; and where each came to lie."""

from __future__ import annotations

import logging
import threading
from typing import Any

import confluent_kafka as ck

from benchmarks.arrivals import Place
from benchmarks.events import Events
from benchmarks.stage import paced

PATIENCE = 300.0  # seconds that a record may take: it outlasts all that is done to the broker


class Producer:
    """Writes the events 0, 1, ... to a topic while its block lasts; `places` has those that are durable."""

    def __init__(self, bootstrap: str, topic: str, events: Events, count: int, rate: float) -> None:
        """Write `count` events, `rate` a second."""
        self.places: dict[int, Place] = {}
        self.problems: list[str] = []
        self._topic = topic
        self._events = events
        self._numbers = paced(range(count), rate)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="producer", daemon=True)
        # Idempotent, so that the records of a key stay in order when some have to be sent again; Java's partitioner.
        self._producer = ck.Producer(
            {
                "bootstrap.servers": bootstrap,
                "logger": logging.getLogger("librdkafka"),
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "message.timeout.ms": int(PATIENCE * 1000),
                "linger.ms": 5,
            }
        )

    def join(self) -> None:
        """Wait until all events are durable."""
        self._thread.join()

    def _run(self) -> None:
        for number in self._numbers:
            if self._ended.is_set():
                return
            record = self._events.record(self._topic, number)
            self._producer.produce(record.topic, record.value, record.key, on_delivery=self._reporter(number))
            self._producer.poll(0)
        while len(self._producer) and not self._ended.is_set():
            self._producer.poll(0.1)

    def _reporter(self, number: int) -> Any:
        def report(error: ck.KafkaError | None, message: ck.Message) -> None:
            partition, offset = message.partition(), message.offset()
            if error is not None or partition is None or offset is None:
                self.problems.append(f"event {number} could not be written: {error}")
            else:
                self.places[number] = (partition, offset)

        return report

    def __enter__(self) -> Producer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
