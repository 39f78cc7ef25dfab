"""Deliveries a second and CPU for each: this project beside a naive loop, in one run.

    python benchmarks/throughput.py [--events 40000] [--rounds 3] [--bootstrap localhost:9092]

Both read the same topic and post to the same receiver, in turn, each time as a new group; the receiver's count is
checked. Machines are shared and noisy: read the ratios. Without --bootstrap, a Kafka is started by testcontainers.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from receiver import Receiver  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from consumer.broker.kafka import Kafka  # noqa: E402
from consumer.codec import Codec  # noqa: E402
from consumer.event import Outgoing  # noqa: E402
from consumer.settings import Settings  # noqa: E402
from consumer.topics import topic_specs  # noqa: E402
from schemas import examples  # noqa: E402

PARTITIONS, KEYS = 12, 2000
PATIENCE = 300.0  # seconds for one run
SETTLE = 2.0  # seconds in which no further request may come once all are there
TICKS = os.sysconf("SC_CLK_TCK")


class Run(NamedTuple):
    """What one run came to."""

    rate: float  # deliveries a second, from the first to the last
    cpu: float  # µs of CPU for each delivery, in that time
    peak: float  # MB
    extra: int  # requests beyond one for each event


def main() -> None:
    """Measure and print the table."""
    options = _options()
    console = Console()
    with _kafka(options.bootstrap) as bootstrap, Receiver() as receiver:
        topic = f"bench{uuid.uuid4().hex[:8]}.events"
        kafka = Kafka(bootstrap, "bench")
        kafka.create([*topic_specs(topic, PARTITIONS, 1)])
        size = _fill(kafka, topic, options.events)
        console.print(
            f"{options.events} events of {size} bytes, {PARTITIONS} partitions, {KEYS} keys; receiver: 204 at once"
        )
        for setting in Settings.load({}).describe():
            if setting.variable.removeprefix("SPRINTLY_").startswith(("MAX_", "CYCLE_", "QUICK_")):
                console.print(f"  {setting.variable}={setting.value}", highlight=False)
        runs: dict[str, list[Run]] = {"this project": [], "naive loop": []}
        for _ in range(options.rounds):
            runs["this project"].append(_measure(_project(bootstrap, topic, receiver.url), receiver, options.events))
            runs["naive loop"].append(_measure(_naive(bootstrap, topic, receiver.url), receiver, options.events))
        console.print(_table(runs))
        ratios = [p.rate / n.rate for p, n in zip(*runs.values(), strict=True)]
        cpus = [n.cpu / p.cpu for p, n in zip(*runs.values(), strict=True)]
        console.print(f"deliveries/s, project : naive  {_spread(ratios)}\nCPU, naive : project  {_spread(cpus)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=40_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bootstrap", help="host:port of a Kafka that may be filled with topics")
    return parser.parse_args()


@contextmanager
def _kafka(bootstrap: str | None) -> Iterator[str]:
    if bootstrap:
        yield bootstrap
        return
    from kafka import real_kafka  # the tests' own container

    with real_kafka({}) as kafka:
        yield kafka.bootstrap


def _fill(kafka: Kafka, topic: str, events: int) -> int:
    codec, payload = Codec(), examples()["comment"]
    value = codec.encode(payload)
    records = (Outgoing(topic, f"1111:{number % KEYS}".encode(), value) for number in range(events))
    assert sum(1 for _ in kafka.produce(records)) == events
    return len(value)


def _project(bootstrap: str, topic: str, url: str) -> subprocess.Popen[bytes]:
    folder = Path(tempfile.mkdtemp(prefix="bench"))
    subscriptions = folder / "subscriptions.yaml"
    subscriptions.write_text(f'subscriptions: [{{id: s, product: "*", service: webhook, options: {{urls: "{url}"}}}}]')
    environ = {
        **os.environ,
        "SPRINTLY_BOOTSTRAP_SERVERS": bootstrap,
        "SPRINTLY_TOPIC": topic,
        "SPRINTLY_GROUP_ID": folder.name,
        "SPRINTLY_SUBSCRIPTIONS": str(subscriptions),
        "SPRINTLY_EGRESS_ALLOW": "127.0.0.0/8",
        "SPRINTLY_HTTP": "off",
    }
    log = (folder / "log").open("w")
    return subprocess.Popen([sys.executable, "-m", "consumer", "consume"], cwd=ROOT, env=environ, stderr=log)


def _naive(bootstrap: str, topic: str, url: str) -> subprocess.Popen[bytes]:
    group = f"naive{uuid.uuid4().hex[:8]}"
    command = [sys.executable, str(ROOT / "benchmarks/naive.py"), bootstrap, group, topic, url]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)


def _measure(process: subprocess.Popen[bytes], receiver: Receiver, events: int) -> Run:
    """Measure from the first delivery to the last, then see that no further one comes, and end the process."""
    before = receiver.count
    try:
        _wait(lambda: receiver.count > before, process)
        began, cpu, first = time.monotonic(), _cpu(process.pid), receiver.count - before
        _wait(lambda: receiver.count - before >= events, process)
        seconds, used = time.monotonic() - began, _cpu(process.pid) - cpu
        peak = _peak(process.pid)
        time.sleep(SETTLE)
        return Run((events - first) / seconds, used / (events - first) * 1e6, peak, receiver.count - before - events)
    finally:
        process.kill()
        process.wait()


def _wait(true: object, process: subprocess.Popen[bytes]) -> None:
    assert callable(true)
    deadline = time.monotonic() + PATIENCE
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args} ended or hung: {process.returncode}")
        time.sleep(0.005)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak(pid: int) -> float:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


def _table(runs: dict[str, list[Run]]) -> Table:
    table = Table("", "deliveries/s", "CPU µs each", "peak MB", "requests too many", box=None)
    for name, of in runs.items():
        figures = [statistics.median(column) for column in zip(*of, strict=True)]
        table.add_row(name, f"{figures[0]:,.0f}", f"{figures[1]:.0f}", f"{figures[2]:.0f}", f"{figures[3]:.0f}")
    return table


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} (of {len(values)} pairs: {min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
