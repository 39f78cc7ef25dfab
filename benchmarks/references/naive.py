"""What one would write in an afternoon: poll, decode, post, commit every 100. A yardstick, not an example.

    python benchmarks/references/naive.py BOOTSTRAP GROUP TOPIC URL

It gives up at the first answer that is an error, keeps the order by doing one thing at a time, and knows only the
bundled schema.
"""

from __future__ import annotations

import io
import json
import signal
import sys

import confluent_kafka
import fastavro
import requests

import schemas

bootstrap, group, topic, url = sys.argv[1:]
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
schema = fastavro.parse_schema(schemas.load())
session = requests.Session()
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
handled = 0
try:
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error():
            continue
        event = fastavro.schemaless_reader(io.BytesIO((message.value() or b"")[10:]), schema, None)
        session.post(
            url,
            data=json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode(),
            headers={
                "content-type": "application/json",
                "webhook-id": f"{message.partition()}-{message.offset()}",
            },
            timeout=15,
        ).raise_for_status()
        handled += 1
        if handled % 100 == 0:
            consumer.commit(asynchronous=True)
finally:
    consumer.close()
