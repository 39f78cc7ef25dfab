"""The benchmark measures what it says, leaves nothing behind, and gives no figures for a wrong count."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from io import BytesIO
from pathlib import Path

import pytest
import requests
from fastavro import parse_schema, schemaless_reader

import schemas
from benchmarks.arrivals import Arrival, most_within, reckon, sent_again, unaccounted
from benchmarks.destinations import HANGS, RESETS, Chances, Conduct, Destinations
from benchmarks.events import KEYS, Events
from benchmarks.instant import Instant
from benchmarks.load import CONNECTIONS, limit
from benchmarks.measure import Backlog, Latency, judged
from benchmarks.nginx import Nginx, installed
from benchmarks.playing import show
from benchmarks.receiver import DIGITS, MARK, Receiver, Served
from benchmarks.report import Comparison, Run
from benchmarks.stage import Broken
from benchmarks.systems import FastStream, Naive, Project, System, Threads
from consumer.broker.kafka import Kafka
from consumer.codec import Codec
from consumer.event import Record, TopicPartition
from consumer.state import Owed, State

ROOT = Path(__file__).parent.parent
needs_nginx = pytest.mark.skipif(not installed(), reason="no nginx")


def record(number: int) -> Record:
    made = Events().record("events", number)
    return Record("events", number % 3, number // 3, made.key, made.value, timestamp=1000 + number)


def served(*numbers: int, of: System) -> list[Served]:
    return [Served(float(at), "/", of.identify(record(number)), 2000) for at, number in enumerate(numbers)]


SYSTEMS = (Project(), Naive(), Threads(), FastStream())
COUNT = KEYS + 1  # events, of which the first and the last are of one key
RECORDS = [record(number) for number in range(COUNT)]


@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_every_event_once_in_the_order_of_its_key_is_right(system: System) -> None:
    reckoning = judged(system, served(1, 0, *range(2, COUNT), of=system), RECORDS)
    assert (reckoning.delivered, reckoning.late, reckoning.twice) == (COUNT, 0, [])


@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_a_missing_event_is_wrong_whoever_lost_it(system: System) -> None:
    with pytest.raises(Broken, match=f"{system.name}: 1 never came, \\[7\\] for example"):
        judged(system, served(*range(7), *range(8, COUNT), of=system), RECORDS)


@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_a_request_about_nothing_that_was_produced_is_wrong(system: System) -> None:
    with pytest.raises(Broken, match="1 requests were about none of the events"):
        judged(system, served(*range(COUNT), COUNT, of=system), RECORDS)


@pytest.mark.parametrize("system", SYSTEMS, ids=repr)
def test_a_doubled_event_and_one_out_of_order_are_wrong_where_they_must_not_be(system: System) -> None:
    doubled = served(*range(COUNT), 3, of=system)
    overtaken = served(*range(1, COUNT), 0, of=system)
    if system.ordered:
        with pytest.raises(Broken, match="1 came more than once, \\[3\\] for example"):
            judged(system, doubled, RECORDS)
        with pytest.raises(Broken, match="1 first deliveries came after a later one of their key"):
            judged(system, overtaken, RECORDS)
    else:
        assert judged(system, doubled, RECORDS).twice == [3]
        assert judged(system, overtaken, RECORDS).late == 1


@pytest.mark.parametrize("make", [Receiver, pytest.param(Nginx, marks=needs_nginx)])
def test_a_receiver_tells_what_it_answered_and_begins_anew_when_asked(make: type[Receiver] | type[Nginx]) -> None:
    body = Events().body()
    with make() as receiver, requests.Session() as session:
        session.trust_env = False
        for number in range(3):
            session.post(receiver.url_of(f"to/{number}"), data=body, headers={"webhook-id": f"id-{number}"})
        session.post(receiver.url, data=b"x" * 3_000_000)
        deadline = time.monotonic() + 10
        while receiver.count < 4 and time.monotonic() < deadline:
            time.sleep(0.01)  # nginx answers before it has read such a body to its end
        taken = receiver.take()
        assert [each[1:] for each in taken[:3]] == [(f"/to/{n}", f"id-{n}", len(body)) for n in range(3)]
        assert taken[3][1:] == ("/", "", 3_000_000)
        assert (receiver.count, receiver.take()) == (0, [])
        assert receiver.alone(body, seconds=1.0) > 0
        assert receiver.cpu() > 0
        assert (receiver.count, receiver.take()) == (0, [])


def test_a_plain_load_keeps_a_receiver_busy() -> None:
    with Receiver() as receiver:
        assert limit(receiver, Events().body(), seconds=0.2) > 0
        assert len(receiver.take()) > CONNECTIONS


def test_whoever_decodes_an_event_posts_the_same_bytes() -> None:
    value = Events().record("events", 0).value or b""
    plain = schemaless_reader(BytesIO(value[10:]), parse_schema(schemas.load()), None)
    assert plain == Codec().decode(value)


def test_the_whole_of_it_on_kafka(kafka_bootstrap: str) -> None:
    small = ["instant", "--events", "1000", "--rounds", "1", "--rate", "100", "--seconds", "1", "--json"]
    command = [sys.executable, "benchmarks/bench.py", "--bootstrap", kafka_bootstrap, *small]
    environ = os.environ | {"SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION": "77"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (found,) = json.loads(done.stdout)
    assert found["title"].startswith("A: instant receivers: 1,000 events")
    assert [*found["runs"]] == [system.name for system in SYSTEMS if system.lacks() is None]
    for (run,) in found["runs"].values():
        assert min(run["deliveries_per_second"], run["peak_mb"]) > 0
        assert run["body_bytes"] == len(Events().body())
    assert found["runs"]["this project"][0]["p50_ms"] <= found["runs"]["this project"][0]["p99_ms"]
    assert found["settings"]["SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION"] == "77"
    assert ["nothing fell behind, nothing owed (the most of it)", "0: reached"] in found["figures"]
    assert [name for name in Kafka(kafka_bootstrap, "bench").partitions() if name.startswith("bench-")] == []


def test_what_is_not_installed_is_left_out_with_a_word(kafka_bootstrap: str, tmp_path: Path) -> None:
    systems = (Project(), FastStream(tmp_path))
    scenario = Instant(events=1000, rounds=1, rate=50, seconds=1, systems=systems, receiver=Receiver)
    found = scenario.play(kafka_bootstrap)
    assert ("receiver", "our own in Python (no nginx)") in found.figures
    assert ("FastStream", "left out: not installed; `make bench` does so") in found.figures
    assert [row[0] for row in found.rows] == ["", "this project"]


def test_figures_are_shown_as_a_table_and_a_missed_target_is_no_problem(capsys: pytest.CaptureFixture[str]) -> None:
    found = Comparison("two systems")
    environ: dict[str, str] = {}
    slow, quick = (
        Run(Backlog(rate, 1e6 / rate, 1.0, 50.0, 1939.0, 0.1, 0, 0, 0.0, environ), latency)
        for rate, latency in ((1000.0, None), (4000.0, Latency(1.0, 2.0)))
    )
    found.compare({"quick": [quick], "slow": [slow]})
    found.ratio("deliveries/s, quick : slow", [4.0, 3.5, 4.5], least=5.0)
    show(found)
    printed = capsys.readouterr().out
    assert [line.split() for line in printed.splitlines()[2:4]] == [
        ["quick", "4,000", "250", "1.00", "1.0", "2.0", "50", "0", "0", "1,939", "10%"],
        ["slow", "1,000", "1,000", "1.00", "-", "-", "50", "0", "0", "1,939", "10%"],
    ]
    assert "deliveries/s, quick : slow (at least 5)  4.00 (median of 3, 3.50 to 4.50): NOT REACHED" in printed
    assert found.problems == []


def lane(number: int) -> int:
    return number % 10


def arrived(*numbers: int, status: int = 204) -> list[Arrival]:
    return [Arrival(number, float(at), status, b"%d" % number) for at, number in enumerate(numbers)]


def test_what_was_delivered_once_in_the_order_of_its_key_is_no_problem() -> None:
    reckoning = reckon(arrived(1, 0, 11, 10), [0, 1, 10, 11], lane)
    assert (list(reckoning.problems("here")), reckoning.twice) == ([], [])


def test_a_repetition_is_counted_and_is_no_problem_even_after_a_later_event() -> None:
    reckoning = reckon(arrived(0, 10, 0), [0, 10], lane)
    assert (list(reckoning.problems("here")), reckoning.twice) == ([], [0])


def test_what_failed_was_not_delivered() -> None:
    reckoning = reckon([*arrived(0, status=503), *arrived(10, 0)], [0, 10], lane)
    assert (reckoning.delivered, reckoning.late) == (2, 1)


@pytest.mark.parametrize(
    ("got", "sentence"),
    [
        (arrived(0, 1), "here: 1 never came, [10] for example"),
        (arrived(0, 1, 10, 7), "here: 1 requests were about none of the events"),
        (arrived(1, 10, 0), "here: 1 first deliveries came after a later one of their key"),
        ([*arrived(0, 1), Arrival(10, 2.0, 204, b"1")], "here: 2 different webhook-ids for 3 events"),
    ],
)
def test_what_is_wrong_at_a_destination_is_said(got: list[Arrival], sentence: str) -> None:
    assert list(reckon(got, [0, 1, 10], lane).problems("here")) == [sentence]


def test_what_was_sent_again_after_a_crash_is_divided_by_when_it_was_first_delivered() -> None:
    times = {1: 5.0, 2: 9.2, 3: 11.0}
    assert sent_again([1, 2, 3], times, crash=10.0, moments=1.0) == ([2, 3], [1])


def test_what_is_neither_delivered_nor_owed_is_lost() -> None:
    places = {number: (number % 2, number // 2) for number in range(10)}  # two partitions, five offsets each
    behind = State("s", TopicPartition("t", 0), next=3, owed=(Owed(1),))
    live = State("s", TopicPartition("t", 1), owed=(Owed(0),))
    # Of partition 0, what lies below `next` counts as finished, whatever is committed; of 1, what is committed does.
    assert unaccounted(places, [], [behind, live], {0: 2, 1: 4}) == [0, 3, 4, 5, 7]
    assert unaccounted(places, [0, 3, 4, 5, 7], [behind, live], {0: 2, 1: 4}) == []
    assert unaccounted(places, [], [], {}) == []


def test_the_most_of_any_window_is_found() -> None:
    assert most_within([0.0, 1.0, 1.5, 1.9, 2.0, 9.0], 1.0) == 3
    assert most_within([], 1.0) == 0


def test_destinations_behave_as_they_are_told() -> None:
    with Destinations("a", "b") as destinations:
        destinations.conduct("b", Conduct(status=503))
        assert [_post(destinations, name, 7) for name in ("a", "b")] == [204, 503]
        destinations.conduct("a", Conduct(failing=frozenset([7])))
        assert [_post(destinations, "a", number) for number in (7, 8)] == [500, 204]
        assert (destinations.count("a"), destinations.count("b")) == (2, 0)
        destinations.conduct("a", Conduct(listening=False))
        with pytest.raises(requests.ConnectionError):
            _post(destinations, "a", 9)
        destinations.conduct("a", Conduct())
        assert _post(destinations, "a", 9) == 204
        taken = destinations.take()
        assert [(one.number, one.status) for one in taken["a"]] == [(7, 204), (7, 500), (8, 204), (9, 204)]
        assert [(one.number, one.id) for one in taken["b"]] == [(7, b"id-7")]
        assert destinations.take() == {"a": [], "b": []}
        assert destinations.count("a") == 0


def _post(destinations: Destinations, name: str, number: int, timeout: float = 10.0) -> int:
    body = MARK + b"%0*d" % (DIGITS, number)
    with requests.Session() as session:
        session.trust_env = False
        headers = {"webhook-id": f"ID-{number}"}
        return session.post(destinations.url(name), data=body, headers=headers, timeout=timeout).status_code


@pytest.mark.parametrize("arguments", [["nosuch"], ["outage", "--events", "1"]])
def test_a_scenario_or_parameter_that_is_none_is_refused(
    arguments: list[str],
) -> None:
    command = [sys.executable, "benchmarks/owed.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "nosuch" in done.stderr or "at least" in done.stderr


def test_what_a_destination_does_by_chance_follows_from_its_seed_event_and_how_often_it_came() -> None:
    chances = Chances(3, failing=0.3, resetting=0.1, hanging=0.1, refusing=0.1)
    answers = [[chances.status(number, time) for time in (1, 2, 3)] for number in range(200)]
    assert answers == [[chances.status(number, time) for time in (1, 2, 3)] for number in range(200)]
    assert answers != [[chances._replace(seed=4).status(number, time) for time in (1, 2, 3)] for number in range(200)]
    assert {status for three in answers for status in three} == {204, 400, 500, RESETS, HANGS}
    assert all(three == [400] * 3 for three in answers if 400 in three)


def test_a_destination_resets_connections_and_leaves_requests_unanswered_by_chance() -> None:
    with Destinations("a") as destinations:
        destinations.conduct("a", Conduct(chances=Chances(1, resetting=1.0)))
        with pytest.raises(requests.ConnectionError):
            _post(destinations, "a", 1)
        destinations.conduct("a", Conduct(chances=Chances(1, hanging=1.0)))
        with pytest.raises(requests.ReadTimeout):
            _post(destinations, "a", 2, timeout=0.2)
        assert [(one.number, one.delivered) for one in destinations.take()["a"]] == [(1, False), (2, False)]
        assert destinations.count("a") == 0
