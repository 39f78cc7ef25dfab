"""Ten destinations of which one hangs, with a backlog that it can take in hand, and one that it cannot."""

from __future__ import annotations

import statistics
from typing import NamedTuple

from benchmarks.neighbours import Nine, ten
from benchmarks.stage import Findings, spread

MOST_TIME = 1.25  # times what the nine take without the tenth, where its backlog finds room …
MOST_LONGER = 6.0  # … and seconds, once, where it does not: DESIGN 2.4 gives it 5 before it falls behind


class Hanging(NamedTuple):
    """What is played: a backlog that the tenth can take in hand, and one that it cannot."""

    events: int = 3600
    beyond: int = 18_000
    seconds: float = 10.0  # that each request hangs
    pairs: int = 5

    def play(self, bootstrap: str) -> Findings:
        """Run interleaved pairs, without and with the hanging destination."""
        found = Findings(f"hanging: ten destinations, one hangs {self.seconds:g} s a request")
        with ten(self.seconds) as destinations:
            alone, beside = self._pairs(Nine(bootstrap, destinations, found, self.events))
            ratios = [b / a for a, b in zip(alone, beside, strict=True)]
            ratio = statistics.median(ratios)
            span = f"{ratio:.2f} (median of {len(ratios)}, {min(ratios):.2f} to {max(ratios):.2f})"
            found.bound(f"  ratio, pair by pair (at most {MOST_TIME:g})", span, kept=ratio <= MOST_TIME)
            alone, beside = self._pairs(Nine(bootstrap, destinations, found, self.beyond))
            longer = statistics.median(b - a for a, b in zip(alone, beside, strict=True))
            name = f"  longer, whatever the backlog (at most {MOST_LONGER:g} s)"
            found.bound(name, f"{longer:.1f} s", kept=longer <= MOST_LONGER)
        return found

    def _pairs(self, nine: Nine) -> tuple[list[float], list[float]]:
        """Return the seconds that the nine took, alone and beside the tenth."""
        runs = nine.pairs(self.pairs)
        alone, beside = ([run.seconds for run in of] for of in runs)
        nine.found.figure(f"{nine.events:,} events: the nine alone, seconds", spread(alone))
        nine.found.figure("  the nine beside the tenth, seconds", spread(beside))
        return alone, beside
