"""A backlog worked off towards one receiver for all subscriptions: what came, by its log, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

from benchmarks.arrivals import Arrival, reckon
from benchmarks.events import PRODUCT, Events, key
from benchmarks.identity import arrivals, by_delivery, numbers
from benchmarks.nginx import Nginx, quickest
from benchmarks.process import allow_many_files, cpu_seconds
from benchmarks.receiver import Receiver, Served
from benchmarks.stage import Arrears, Findings, Stage, await_served, per, stage, webhook

LOOKS = 0.25  # seconds between two looks at what is owed

AnyReceiver: TypeAlias = Nginx | Receiver


@contextmanager
def receiving() -> Iterator[AnyReceiver]:
    """Have the quickest receiver listen; it may have thousands of connections."""
    allow_many_files()
    with quickest() as receiver:
        yield receiver


class Work(NamedTuple):
    """What working a backlog off came to, from the first delivery to the last."""

    rate: float  # deliveries a second
    cpu: float  # µs of the replica for each
    arrears: float  # the most that was owed or behind


def work_off(bootstrap: str, receiver: AnyReceiver, names: Sequence[str], events: int, found: Findings) -> Work:
    """Let a replica deliver each of the `events` to each subscription in `names`; what is wrong is `found`."""
    total = events * len(names)
    with stage(bootstrap) as where:
        found.in_force(where.settings())
        where.produce(Events(), range(events))
        where.subscribe(webhook(name, receiver.url_of(name), PRODUCT) for name in names)
        receiver.take()
        with where.start() as replica:
            await_served(receiver, 1, replica)
            with Arrears(replica, LOOKS) as arrears:
                first, cpu = receiver.count, cpu_seconds(replica.pid)
                await_served(receiver, total, replica)
                used = cpu_seconds(replica.pid) - cpu
                most = arrears.most(where)
        came = judged(where, receiver.take(), names, events, found)
    times = sorted(arrival.time for each in came.values() for arrival in each)
    return Work(per(len(times) - 1, times[-1] - times[0]), per(used * 1e6, total - first), most)


def judged(
    where: Stage, served: Iterable[Served], names: Sequence[str], events: int, found: Findings
) -> dict[str, list[Arrival]]:
    """Return what came for each subscription; what is wrong with it, and what is for none of them, is `found`."""
    by_path: dict[str, list[Served]] = {f"/{name}": [] for name in names}
    strangers = 0
    for each in served:
        if each.path in by_path:
            by_path[each.path].append(each)
        else:
            strangers += 1
    if strangers:
        found.problems.append(f"{strangers} requests were for none of the subscriptions")
    records = list(where.records())
    came = {name: arrivals(by_path[f"/{name}"], numbers(records, by_delivery(name))) for name in names}
    for name, delivered in came.items():
        found.problems += reckon(delivered, range(events), key).faults(name)
    return came
