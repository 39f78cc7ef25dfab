"""The step after the naive loop: 64 threads post a batch, then offsets are committed. A yardstick, not an example.

    python benchmarks/references/threads.py BOOTSTRAP GROUP TOPIC URL

Each thread takes the next event of the batch, so events of one key overtake each other. It gives up at the first
answer that is an error, and knows only the bundled schema.
"""

from __future__ import annotations

import io
import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import confluent_kafka
import fastavro
import requests

import schemas

THREADS = 64
BATCH = 500

bootstrap, group, topic, url = sys.argv[1:]
schema = fastavro.parse_schema(schemas.load())


@cache
def session(thread: int) -> requests.Session:
    """Return the session of a thread: sessions are not made for several."""
    return requests.Session()


def deliver(message: confluent_kafka.Message) -> None:
    """Decode one event, and post it."""
    event = fastavro.schemaless_reader(io.BytesIO((message.value() or b"")[10:]), schema, None)
    session(threading.get_ident()).post(
        url,
        data=json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(),
        headers={
            "content-type": "application/json",
            "webhook-id": f"{message.partition()}-{message.offset()}",
        },
        timeout=15,
    ).raise_for_status()


signal.signal(signal.SIGTERM, lambda *_: sys.exit())
consumer = confluent_kafka.Consumer(
    {
        "bootstrap.servers": bootstrap,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
    }
)
consumer.subscribe([topic])
try:
    with ThreadPoolExecutor(THREADS) as pool:
        while True:
            batch = [message for message in consumer.consume(BATCH, timeout=0.1) if not message.error()]
            for _ in pool.map(deliver, batch):
                pass  # raises what the delivery raised
            if batch:
                consumer.commit(asynchronous=False)
finally:
    consumer.close()
