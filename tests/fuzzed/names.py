"""Header names that our own client cannot write: any bytes, as clients in other languages can, by librdkafka itself."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from pathlib import Path

import confluent_kafka  # noqa: F401 - brings librdkafka into the process

from consumer.event import Outgoing

PRODUCER, COPY = 0, 2  # RD_KAFKA_PRODUCER, RD_KAFKA_MSG_F_COPY
TOPIC, VALUE, KEY, FLAGS, HEADERS, END = 1, 4, 5, 7, 10, 0  # of rd_kafka_vtype_t
FLUSH = 20_000  # milliseconds
SAID = 512  # bytes of an error's text


def write(bootstrap: str, records: Iterable[tuple[Outgoing, bytes]]) -> None:
    """Write records, each with one header of this name; all are written on return."""
    client = _Client(bootstrap)
    for record, name in records:
        client.send(record, name)
    client.close()


class _Client:
    def __init__(self, bootstrap: str) -> None:
        self._lib = _librdkafka()
        said = ctypes.create_string_buffer(SAID)
        config = ctypes.c_void_p(self._lib.rd_kafka_conf_new())
        self._lib.rd_kafka_conf_set(config, b"bootstrap.servers", bootstrap.encode(), said, SAID)
        self._client = ctypes.c_void_p(self._lib.rd_kafka_new(PRODUCER, config, said, SAID))
        assert self._client, said.value

    def send(self, record: Outgoing, name: bytes) -> None:
        headers = ctypes.c_void_p(self._lib.rd_kafka_headers_new(ctypes.c_size_t(1)))
        content = b"content"
        self._lib.rd_kafka_header_add(
            headers, name, ctypes.c_ssize_t(len(name)), content, ctypes.c_ssize_t(len(content))
        )
        key, value = record.key or b"", record.value or b""
        error = self._lib.rd_kafka_producev(
            self._client,
            *(ctypes.c_int(TOPIC), ctypes.c_char_p(record.topic.encode())),
            *(ctypes.c_int(KEY), ctypes.c_char_p(key), ctypes.c_size_t(len(key))),
            *(ctypes.c_int(VALUE), ctypes.c_char_p(value), ctypes.c_size_t(len(value))),
            *(ctypes.c_int(FLAGS), ctypes.c_int(COPY)),
            *(ctypes.c_int(HEADERS), headers),
            ctypes.c_int(END),
        )
        assert error == 0, f"librdkafka refuses the record: error {error}"

    def close(self) -> None:
        left = self._lib.rd_kafka_flush(self._client, FLUSH)
        self._lib.rd_kafka_destroy(self._client)
        assert left == 0, "not all records were written"


def _librdkafka() -> ctypes.CDLL:
    """Return the library that confluent-kafka has loaded into this process."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    path = next(line.split(maxsplit=5)[-1] for line in maps if "librdkafka" in line)
    lib = ctypes.CDLL(path)
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_headers_new"):
        getattr(lib, name).restype = ctypes.c_void_p
    return lib
