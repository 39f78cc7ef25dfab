"""Fuzzed records on the real Kafka, in short: `make fuzz` does the same with a hundred thousand."""

from __future__ import annotations

import fuzz

RECORDS, SEED = 3000, 7


def test_every_fuzzed_record_is_delivered_or_a_dead_letter_byte_for_byte(kafka_bootstrap: str) -> None:
    found = fuzz.play(kafka_bootstrap, RECORDS, SEED)
    assert found.problems == []
    assert found.kinds.total() == RECORDS
    assert found.outcomes["valid", "delivered: hook"] == found.kinds["valid"] > 500
    assert found.outcomes["name that is not utf 8", "delivered: talk"] == found.kinds["name that is not utf 8"] > 0
    assert found.outcomes["truncated", "dead: poison"] == found.kinds["truncated"] > 100
