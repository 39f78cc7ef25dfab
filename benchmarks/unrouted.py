"""Events of products that nobody subscribed, which are most in real life: how soon they pass, beside deliveries."""

from __future__ import annotations

import statistics
import time
from typing import NamedTuple

from benchmarks.events import PRODUCT, Events
from benchmarks.process import Process, cpu_seconds
from benchmarks.served import AnyReceiver, Work, receiving, work_off
from benchmarks.stage import Findings, await_log, await_that, metrics, per, spread, stage, webhook

HOOK = "hook"
NOBODYS = 2222  # a product without any subscription
LEAST = 4.0  # times the deliveries a second
EVERY = 0.1  # seconds between two looks at how many have passed; each costs the replica some ms


class Unrouted(NamedTuple):
    """What is played."""

    events: int = 200_000  # that concern nobody
    delivered: int = 40_000  # that concern one subscription, for comparison
    rounds: int = 3

    def play(self, bootstrap: str) -> Findings:
        """Work off a backlog that is delivered, and one that is not, in turn."""
        delivered: list[Work] = []
        passed: list[Work] = []
        with receiving() as receiver:
            found = Findings(
                f"unrouted: {self.events:,} events of a product without a subscription, beside {self.delivered:,} that "
                f"are delivered to {receiver.title}; {self.rounds} round(s)"
            )
            for _ in range(self.rounds):
                delivered.append(work_off(bootstrap, receiver, [HOOK], self.delivered, found))
                passed.append(self._pass(bootstrap, receiver, found))
        self._tell(delivered, passed, found)
        return found

    def _tell(self, delivered: list[Work], passed: list[Work], found: Findings) -> None:
        for works, what in ((delivered, "delivered"), (passed, "passed")):
            found.figure(f"{what}: events/s", spread([work.rate for work in works], ",.0f"))
            found.figure("  CPU µs an event", spread([work.cpu for work in works], ".1f"))
        pairs = list(zip(delivered, passed, strict=True))
        ratio = statistics.median(per(b.rate, a.rate) for a, b in pairs)
        found.target(f"events/s, passed : delivered (at least {LEAST:g})", f"{ratio:.1f}", reached=ratio >= LEAST)
        cpu = statistics.median(per(a.cpu, b.cpu) for a, b in pairs)
        found.figure("CPU of an event, delivered : passed", f"{cpu:.1f}")
        found.no_arrears(max(work.arrears for work in (*delivered, *passed)))

    def _pass(self, bootstrap: str, receiver: AnyReceiver, found: Findings) -> Work:
        """Let a replica read what concerns nobody; how far it is, it counts itself."""
        with stage(bootstrap) as where:
            found.in_force(where.settings())
            where.produce(Events(product=NOBODYS), range(self.events))
            where.subscribe([webhook(HOOK, receiver.url_of(HOOK), PRODUCT)])
            receiver.take()
            with where.start() as replica:
                await_log(replica, "serving metrics")
                work = self._watched(replica)
                await_that(lambda: sum(where.committed().values()) == self.events, "not all was committed", replica)
        if came := receiver.count:
            found.problems.append(f"{came:,} requests were sent for events that concern nobody")
        return work

    def _watched(self, replica: Process) -> Work:
        looks: list[Look] = []

        def through() -> bool:
            looks.append(_look(replica))
            return looks[-1].passed >= self.events

        await_that(through, "not all events were passed", replica, every=EVERY)
        return between(looks, self.events)


class Look(NamedTuple):
    """How far a replica was, and when."""

    at: float  # seconds
    passed: float  # events
    cpu: float  # seconds of the replica's so far
    arrears: float


def _look(replica: Process) -> Look:
    served = metrics(replica)
    at, cpu = time.monotonic(), cpu_seconds(replica.pid)
    return Look(at, served.get("events_total", 0.0), cpu, served["owed"] + served["behind"])


def between(looks: list[Look], events: int) -> Work:
    """Return what it came to between the first look and the last at which some events had passed, and not yet all.

    Where there are no two such looks, the one before and the one after count as well: the pace is then too low.
    """
    under_way = [place for place, look in enumerate(looks) if 0 < look.passed < events]
    first, last = (under_way[0], under_way[-1]) if under_way else (0, 0)
    if first == last:
        first, last = max(0, first - 1), len(looks) - 1
    a, b = looks[first], looks[last]
    passed = b.passed - a.passed
    return Work(per(passed, b.at - a.at), per((b.cpu - a.cpu) * 1e6, passed), max(look.arrears for look in looks))
