"""One event for one subscription, and one for ten: what ten deliveries cost against one."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from benchmarks.served import Work, receiving, work_off
from benchmarks.stage import Findings, per, spread

MOST = 7.0  # times one delivery: the event is read, decoded and turned into JSON once


class Fanout(NamedTuple):
    """What is played."""

    events: int = 20_000
    wide: int = 10  # subscriptions that each event is for
    rounds: int = 3

    def play(self, bootstrap: str) -> Findings:
        """Work backlogs off, for one subscription and for all, in turn."""
        names = [f"hook-{number}" for number in range(1, self.wide + 1)]
        one: list[Work] = []
        all_: list[Work] = []
        with receiving() as receiver:
            found = Findings(
                f"fan-out: {self.events:,} events for 1 and for {self.wide} subscriptions, to {receiver.title}; "
                f"{self.rounds} round(s)"
            )
            for _ in range(self.rounds):
                one.append(work_off(bootstrap, receiver, names[:1], self.events, found))
                all_.append(work_off(bootstrap, receiver, names, self.events, found))
        self._tell(one, all_, found)
        return found

    def _tell(self, one: list[Work], all_: list[Work], found: Findings) -> None:
        for works, width in ((one, 1), (all_, self.wide)):
            found.figure(f"{width} deliveries an event: events/s", spread([w.rate / width for w in works], ",.0f"))
            found.figure("  deliveries/s", spread([work.rate for work in works], ",.0f"))
            found.figure("  CPU µs an event", spread([work.cpu * width for work in works], ",.0f"))
        cpu = statistics.median(per(b.cpu * self.wide, a.cpu) for a, b in zip(one, all_, strict=True))
        took = statistics.median(per(a.rate * self.wide, b.rate) for a, b in zip(one, all_, strict=True))
        for name, ratio in (("CPU", cpu), ("time", took)):
            found.target(f"{name} of {self.wide} : 1 (less than {MOST:g})", f"{ratio:.1f}", reached=ratio < MOST)
        found.no_arrears(max(work.arrears for work in (*one, *all_)))
