"""Each scenario of the benchmark plays small on the real Kafka, and what it computes is right without one."""

from __future__ import annotations

import math
import resource
from pathlib import Path

import pytest

from benchmarks.arrivals import Arrival, reckon, steady
from benchmarks.backlog import BigBacklog
from benchmarks.cgroup import MOUNTED, Limit, Unavailable, limit_to, share
from benchmarks.destinations import Conduct, Destinations
from benchmarks.events import PRODUCT, Events, number_in
from benchmarks.fanout import Fanout
from benchmarks.load import answered
from benchmarks.neighbours import Neighbours
from benchmarks.process import MANY_FILES, allow_many_files
from benchmarks.replicas import Replicas, pace_between
from benchmarks.slow import Pipe, Slow
from benchmarks.stage import Findings, spread
from benchmarks.startup import Startup, first_said
from benchmarks.unrouted import Look, Unrouted, between
from consumer.codec import Codec

# What comes small and beside other tests may be slow: only the counts have to be right.


def test_the_steady_pace_leaves_the_first_wave_and_the_last_out() -> None:
    filling, full, emptying = [0.0, 9.0], [10.0, 10.1, 11.0, 11.1], [12.0, 99.0]
    assert steady([*filling, *full, *emptying], wave=2) == 2.0
    with pytest.raises(ValueError, match="fewer than three waves"):
        steady([1.0, 2.0, 3.0, 4.0], wave=2)


def test_a_plain_load_keeps_as_many_in_flight_as_it_has_connections() -> None:
    with Destinations("a") as destinations:
        destinations.conduct("a", Conduct(delay=0.1))
        port = int(destinations.url("a").rpartition(":")[2].partition("/")[0])
        assert 40 < steady(answered(port, Events().body(), 10, 60), wave=10) <= 105


def test_what_comes_twice_is_wrong_where_nothing_crashed() -> None:
    arrivals = [Arrival(number, float(number), 204) for number in (0, 1, 1)]
    reckoning = reckon(arrivals, range(2), lambda number: 0)
    assert list(reckoning.problems("here")) == []
    assert list(reckoning.faults("here")) == ["here: 1 came more than once, [1] for example"]


def test_a_missed_target_is_said_and_no_problem() -> None:
    found = Findings("title")
    found.target("pace (at least 2)", 3, reached=True)
    found.target("pace (at least 4)", 3, reached=False)
    assert found.figures == [("pace (at least 2)", "3: reached"), ("pace (at least 4)", "3: NOT REACHED")]
    assert (found.missed, found.problems) == (["pace (at least 4): 3: NOT REACHED"], [])


def test_settings_that_differ_between_runs_are_all_shown() -> None:
    found = Findings("title")
    for topic, limit in (("a", "1"), ("b", "2"), ("c", "1")):
        found.in_force({"SPRINTLY_TOPIC": topic, "SPRINTLY_MAX_IN_FLIGHT": limit})
    assert found.settings == {"SPRINTLY_TOPIC": "c", "SPRINTLY_MAX_IN_FLIGHT": "1 / 2"}


def test_the_values_of_several_runs_are_shown_with_their_median() -> None:
    assert spread([3.0, 1.0, 2.0]) == "2.00 (3.00, 1.00, 2.00)"
    assert spread([3000.4], ",.0f") == "3,000 (3,000)"


def test_an_event_is_what_its_number_and_product_say() -> None:
    record = Events(lambda number: number % 10, product=7).record("topic", 123)
    payload = Codec().decode(record.value)
    assert isinstance(payload, dict)
    assert (record.key, payload["product"]["id"]) == (b"7:3", 7)
    assert payload["attributes"]["body"].endswith("000000123")
    assert record.value is not None
    assert number_in(record.value) == 123
    assert Codec().decode(Events().record("topic", 0).value)["product"]["id"] == PRODUCT  # type: ignore[index]


def test_a_replicas_log_tells_when_it_said_something_first() -> None:
    lines = [
        '{"event": "starting", "timestamp": "1970-01-01T00:00:01.5Z"}',
        "no JSON",
        '{"event": "starting", "timestamp": "1970-01-01T00:00:02Z"}',
        '{"event": "without a time"}',
    ]
    assert first_said("\n".join(lines)) == {"starting": 1.5}


def test_a_pace_is_that_of_a_span() -> None:
    assert pace_between([0.0, 1.0, 2.0, 2.5, 3.0, 9.0], since=1.0, part=5 / 6) == 1.5
    assert math.isnan(pace_between([1.0, 1.0, 1.0], since=0.5, part=1.0))
    assert math.isnan(pace_between([1.0, 2.0], since=5.0, part=1.0))


def test_what_passed_is_counted_while_it_was_under_way() -> None:
    looks = [Look(at, passed, cpu=at / 2, arrears=0.0) for at, passed in ((0, 0), (5, 100), (7, 500), (50, 600))]
    assert between(looks, events=600)[:2] == (200.0, 2500.0)


def test_what_passed_between_two_looks_is_counted_with_the_waiting_around_it() -> None:
    looks = [Look(at, passed, cpu=at, arrears=at) for at, passed in ((0, 0), (1, 0), (2, 50), (4, 100))]
    assert between(looks, events=100) == (100 / 3, 3e4, 4)
    assert between([looks[0], looks[3]], events=100) == (25.0, 4e4, 4)


def test_a_share_of_the_processor_is_written_as_each_version_of_control_groups_wants_it(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="no control groups"):
        limit_to(0.5, tmp_path)
    (tmp_path / "cgroup.controllers").write_text("cpu memory")
    (tmp_path / "cgroup.subtree_control").write_text("memory")
    assert limit_to(0.5, tmp_path) == Limit(tmp_path, {"cpu.max": "50000 100000"})
    assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu"
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("-1")
    files = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "25000"}
    assert limit_to(0.25, tmp_path) == Limit(tmp_path / "cpu", files)


def test_a_group_is_gone_when_its_block_ends() -> None:
    try:
        with share(0.5) as group:
            assert (group.folder / "cgroup.procs").read_text() == ""
    except Unavailable as error:
        pytest.skip(f"{error}")
    assert not group.folder.exists()
    assert group.folder.is_relative_to(MOUNTED)


def test_processes_that_are_started_later_may_open_many_files() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        allow_many_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (min(MANY_FILES, before[1]), before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_slow_receivers_on_kafka(kafka_bootstrap: str) -> None:
    found = Slow(seconds=0.4, rounds=1, pipes=(Pipe(0.1, 20, 50),)).play(kafka_bootstrap)
    assert found.problems == []
    assert found.settings["SPRINTLY_MAX_IN_FLIGHT_PER_SUBSCRIPTION"] == "20"


def test_a_hanging_neighbour_on_kafka(kafka_bootstrap: str) -> None:
    found = Neighbours(events=100, rate=200, seconds=0.5, hangs=0.5, pairs=1).play(kafka_bootstrap)
    assert found.problems == []


def test_a_start_on_kafka(kafka_bootstrap: str) -> None:
    found = Startup(starts=1, helps=1, events=10).play(kafka_bootstrap)
    assert found.problems == []


def test_a_backlog_beside_a_dead_destination_on_kafka(kafka_bootstrap: str) -> None:
    found = BigBacklog(events=1000).play(kafka_bootstrap)
    assert found.problems == []


def test_a_fan_out_on_kafka(kafka_bootstrap: str) -> None:
    found = Fanout(events=200, wide=3, rounds=1).play(kafka_bootstrap)
    assert found.problems == []


def test_one_and_two_replicas_on_kafka(kafka_bootstrap: str) -> None:
    found = Replicas(events=400, rounds=1).play(kafka_bootstrap)
    assert found.problems == []


def test_events_that_concern_nobody_on_kafka(kafka_bootstrap: str) -> None:
    found = Unrouted(events=2000, delivered=100, rounds=1).play(kafka_bootstrap)
    assert found.problems == []
