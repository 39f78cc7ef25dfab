"""FastStream's batch subscriber, which posts a whole batch at once with aiohttp. A yardstick, not an example.

    python benchmarks/references/faststream_batch.py BOOTSTRAP GROUP TOPIC URL

Offsets are committed when all of a batch is delivered; within it, events of one key overtake each other. A batch of
which one event fails is read again. It knows only the bundled schema.
"""

from __future__ import annotations

import asyncio
import io
import sys
from typing import Any

import aiohttp
import fastavro
import orjson
import uvloop
from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker
from faststream.confluent.annotations import KafkaMessage

import schemas

BATCH = 100  # the best of 50 to 1,000; and aiokafka costs a tenth more CPU than confluent-kafka

bootstrap, group, topic, url = sys.argv[1:]
schema = fastavro.parse_schema(schemas.load())
broker = KafkaBroker(bootstrap, allow_auto_create_topics=False, logger=None)
app = FastStream(broker, logger=None)
session: aiohttp.ClientSession


async def decode(message: KafkaMessage) -> list[tuple[str, Any]]:
    """Return the events of a batch, each with an id."""
    return [
        (f"{one.partition()}-{one.offset()}", fastavro.schemaless_reader(io.BytesIO(one.value()[10:]), schema, None))
        for one in message.raw_message
    ]


@broker.subscriber(
    topic,
    group_id=group,
    auto_offset_reset="earliest",
    isolation_level="read_committed",
    batch=True,
    max_records=BATCH,
    polling_interval=0.01,
    ack_policy=AckPolicy.NACK_ON_ERROR,
    decoder=decode,
)
async def deliver(events: list[Any]) -> None:
    """Post all at once."""
    await asyncio.gather(*(post(id_, event) for id_, event in events))


async def post(id_: str, event: Any) -> None:
    """Post one event."""
    headers = {"content-type": "application/json", "webhook-id": id_}
    async with session.post(url, data=orjson.dumps(event), headers=headers) as answer:
        answer.raise_for_status()


async def main() -> None:
    """Run until SIGTERM."""
    global session
    timeout = aiohttp.ClientTimeout(total=15)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        await app.run()


uvloop.run(main())
