"""One delivery followed by one id, as an operator does: from `produce` by logs and dead letters to the receiver."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from collectors import Collector
from installation import Installation, Replica, eventually
from payloads import documented
from receivers import Receiver, Reply

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def installation(kafka_bootstrap: str, tmp_path: Path) -> Installation:
    made = Installation(kafka_bootstrap, tmp_path)
    made.create_topics()
    return made


def lines(replica: Replica, **fields: str) -> list[dict[str, Any]]:
    """Return the lines of a replica's log that have these fields."""
    found = [json.loads(line) for line in replica.text.splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in found if fields.items() <= line.items()]


def test_a_delivery_is_followed_from_produce_to_the_receiver_by_one_id(installation: Installation) -> None:
    mended: list[bool] = []
    with Collector() as collector, Receiver(lambda _: 204 if mended else Reply(400, b"no such channel")) as receiver:
        installation.subscribe(hook=receiver.url)
        (written,) = installation.produce(documented("item"))
        place = f"{written['topic']}[{written['partition']}]@{written['offset']}"
        with installation.consuming(SPRINTLY_TRACES="otlp", **collector.environ) as replica:
            eventually(lambda: lines(replica, record=place), "the log does not know the event", replica)
            (dead,) = lines(replica, record=place)
            id_ = dead["delivery"]
            assert (dead["event"], dead["reason"]) == ("a delivery is a dead letter", "permanent")
            assert (dead["trace_id"], dead["subscription"]) == (written["trace_id"], "hook")
            (refused,) = receiver.requests
            assert refused.headers["webhook-id"] == id_

            (shown,) = json.loads(installation.do("dlq", "show", "--json", id_[:8]))
            assert (shown["id"], shown["trace_id"]) == (id_, written["trace_id"])
            assert (shown["partition"], shown["offset"]) == (written["partition"], written["offset"])
            assert f"trace_id  {written['trace_id']}" in installation.do("dlq", "show", id_[:8])

            mended.append(True)
            installation.do("dlq", "replay", "--id", id_)
            _, arrived = receiver.wait_for(2, 60)
            assert arrived.headers["webhook-id"] == id_
            eventually(lambda: len(lines(replica, delivery=id_)) >= 3, "the log does not tell of its end", replica)
            told = [line["event"] for line in lines(replica, delivery=id_)]
            assert told == ["a delivery is a dead letter", "a delivery is replayed", "delivered at last"]
            assert {line["record"] for line in lines(replica, delivery=id_)} == {place}
            assert replica.stop() == 0
        spans = collector.wait_for_spans(2)
    assert [span.trace_id for span in spans] == [written["trace_id"]] * 2
    assert {span.attributes["sprintly.delivery_id"] for span in spans} == {id_}
    assert [span.attributes["sprintly.replays"] for span in spans] == [0, 1]
    assert len({span.parent for span in spans}) == 1, "both are of the span that wrote the event"
    for got, span in zip((refused, arrived), spans, strict=True):
        assert got.headers["traceparent"] == f"00-{written['trace_id']}-{span.span_id}-01"


def test_produce_goes_on_with_the_trace_that_it_was_started_in(installation: Installation) -> None:
    two = "\n".join(json.dumps(documented(name)) for name in ("item", "comment"))
    given = f"00-{TRACE}-{SPAN}-01"
    with Receiver() as receiver:
        installation.subscribe(hook=receiver.url)
        done = installation.run("produce", "--json", "-", input=two, TRACEPARENT=given, TRACESTATE="congo=t61")
        assert [row["trace_id"] for row in json.loads(done.stdout)] == [TRACE, TRACE]
        with installation.consuming(SPRINTLY_LOG_LEVEL="debug") as replica:
            requests = receiver.wait_for(2, 60)
            ids = sorted(got.headers["webhook-id"] for got in requests)
            eventually(lambda: len(lines(replica, event="an attempt ended")) == 2, "it tells of no attempts", replica)
            ended = lines(replica, event="an attempt ended", trace_id=TRACE, outcome="delivered")
            assert sorted(line["delivery"] for line in ended) == ids
            assert replica.stop() == 0
    assert [(got.headers["traceparent"], got.headers["tracestate"]) for got in requests] == [(given, "congo=t61")] * 2


def test_produce_begins_a_trace_for_each_record_also_where_the_one_it_is_given_is_none(
    installation: Installation,
) -> None:
    two = "\n".join(json.dumps(documented(name)) for name in ("item", "comment"))
    done = installation.run("produce", "-", input=two, TRACEPARENT="00-0-0-00")
    assert done.returncode == 0
    assert done.stderr == "TRACEPARENT is not a valid traceparent (W3C Trace Context), and is not used\n"
    heads, *rows = (line.split() for line in done.stdout.splitlines())
    assert heads == ["source", "topic", "partition", "offset", "trace"]
    traces = {row[-1] for row in rows}
    assert len(traces) == 2
    sent = {content for r in installation.kafka.read(installation.topic) for _, content in r.headers}
    assert {(content or b"").decode()[3:35] for content in sent} == traces
