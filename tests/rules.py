#!/usr/bin/env python3
"""Takes rules of the delivery protocol out of the production core, one by one, and has the simulation notice.

    python tests/rules.py [--schedules N] [RULE ...]

Each rule is taken away by a change of a line or two in a copy of the project; the simulation then plays schedules there
until one fails. A rule that nobody misses would be no rule, or the simulation blind.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("consumer", "services", "schemas", "tests")
FIRST_SEED = 1_000_000
WIDTH = 140  # of what is printed of a failure
FAILED = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)


class Rule(NamedTuple):
    """A rule in a few words, and the change that takes it away."""

    name: str
    says: str
    file: str
    old: str
    new: str
    words: bool = False  # whether it is about what operators say
    changes: bool = False  # whether it is about subscriptions that change while a replica runs
    first: int = FIRST_SEED  # where to begin; a rule that few schedules need has a seed that a long search found

    def take_away(self, root: Path) -> None:
        """Change the file below `root`; raises ValueError where the place is not found exactly once."""
        path = root / self.file
        text = path.read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.name}: {self.file} has {text.count(self.old)} places like {self.old!r}, not one")
        path.write_text(text.replace(self.old, self.new))


class Verdict(NamedTuple):
    """What came of it: the seed that failed and how; no seed where nothing did."""

    seed: int | None
    notice: str


RULES = (
    Rule(
        "watermark",
        "what is owed holds the watermark until its state is durable",
        "consumer/flow.py",
        "            if not owed.covered:\n                self.uncovered[owed] = None\n",
        "            owed.covered or self.partition.offsets.finished(owed.offset)\n            owed.covered = True\n",
    ),
    Rule(
        "floor",
        "a `next` holds the watermark until its state is durable",
        "consumer/partition.py",
        "if flow not in written and flow.floor is not None and flow.floor < lowest:",
        "if False and flow not in written and flow.floor is not None and flow.floor < lowest:",
    ),
    Rule(
        "fencing",
        "no state and no dead letter is written without the offset of its partition",
        "consumer/cycle.py",
        "if prove or watermark != partition.committed or partition in involved:",
        "if prove or watermark != partition.committed:",
        first=1_006_147,
    ),
    Rule(
        "letter-frees",
        "a dead letter frees its lane only once it is durable",
        "consumer/attempts.py",
        "delivery=delivery))\n\n    # -- what turns out",
        "delivery=delivery))\n        self._dispatcher.settle(delivery)\n\n    # -- what turns out",
    ),
    Rule(
        "letter-with-state",
        "a dead letter and the state without it are one transaction",
        "consumer/cycle.py",
        "snapshot = self._snapshot(flow, ending.get(flow, ()))",
        "snapshot = self._snapshot(flow, ())",
    ),
    Rule(
        "in-doubt",
        "a state that changed after the snapshot is written once more",
        "consumer/flow.py",
        "        if version != self.version:\n            dirty[self] = None",
        "        if False:\n            dirty[self] = None",
    ),
    Rule(
        "tombstone",
        "a state of which a record may exist is deleted when nothing is owed any more",
        "consumer/cycle.py",
        "        flow.written = True  # or may be",
        "        flow.written = flow.written  # or may be",
    ),
    Rule(
        "one-at-once",
        "a lane has one attempt at a time",
        "consumer/flow.py",
        "        if tail is None:\n            return True\n",
        "        if tail is None or not tail.owed:\n            return True\n",
    ),
    Rule(
        "taken-over",
        "what a take-over found owed is not taken in again when it is read",
        "consumer/core.py",
        "if flow.next is not None or (flow.taken_over and flow.passes(offset)):",
        "if flow.next is not None:",
    ),
    Rule(
        "behind",
        "who is behind does not take live events",
        "consumer/core.py",
        "if flow.next is not None or (flow.taken_over and flow.passes(offset)):",
        "if flow.taken_over and flow.passes(offset):",
    ),
    Rule(
        "hand-over",
        "who is behind goes live only where it meets the live position",
        "consumer/catchup.py",
        "flow.next == flow.partition.position",
        "flow.next >= flow.partition.position - 2",
    ),
    Rule(
        "room",
        "who is behind reads on only while it has room",
        "consumer/catchup.py",
        "        return len(flow.hand) <= self._room and not channel.resting",
        "        return not channel.resting",
    ),
    Rule(
        "outage",
        "an outage uses up no attempts",
        "consumer/attempts.py",
        "        return breaker.open\n",
        "        return was_open and False\n",
    ),
    Rule(
        "gone",
        "answers of an assignment that is over are without effect",
        "consumer/attempts.py",
        "        if delivery.flow.partition.gone:",
        "        if False and delivery.flow.partition.gone:",
    ),
    Rule(
        "never-attempted",
        "who gives a partition up owes only what it began; the rest is its next owner's",
        "consumer/partition.py",
        "        self.offsets.rewind(position)\n",
        "",
    ),
    Rule(
        "owed-position",
        "catching up does not read past the live position",
        "consumer/catchup.py",
        "            flow.reach(min(end, partition.position))",
        "            flow.reach(end)",
    ),
    Rule(
        "held-up",
        "few bad items that fill all room use up their attempts, although they look like an outage",
        "consumer/dispatcher.py",
        "            channel.breaker.doubt()\n",
        "",
        first=114_651,
    ),
    Rule(
        "threads",
        "a probe keeps to the bound of its subscription's threads",
        "consumer/dispatcher.py",
        "if channel.in_flight < channel.limit and (self",
        "if (self",
        first=502_058,
    ),
    Rule(
        "hold",
        "nothing holds the watermark for longer than some seconds",
        "consumer/patience.py",
        "        if lowest is not None and lowest < limit:",
        "        if False and lowest is not None and lowest < limit:",
    ),
    Rule(
        "disabled",
        "of a disabled subscription nothing is attempted",
        "consumer/channel.py",
        "return self.breaker.open or self.off",
        "return self.breaker.open",
        words=True,
    ),
    Rule(
        "note",
        "a word is carried out only once the states that it changed are durable",
        "consumer/partition.py",
        "applied = min([known, *(offset for flow, offset in self.told.items() if flow not in written)])",
        "applied = known",
        words=True,
        first=1_009_475,
    ),
    Rule(
        "meanwhile",
        "who takes over carries out what was said meanwhile",
        "consumer/steward.py",
        "for word in self._words.since(applied.offset):",
        "for word in self._words.since(known.offset):",
        words=True,
    ),
    Rule(
        "in-hand",
        "what is read once more is not taken in hand twice",
        "consumer/catchup.py",
        "elif event is not None and not flow.passes(offset):",
        "elif event is not None:",
        words=True,
    ),
    Rule(
        "left-in-hand",
        "who is gone leaves memory only once all that it had in hand is durably owed",
        "consumer/changeover.py",
        "    written = flow.version == flow.durable and flow not in flow.partition.dirty and not flow.uncovered\n",
        "    written = True\n",
        changes=True,
    ),
    Rule(
        "kept",
        "what was owed to who is gone is owed when it comes back",
        "consumer/core.py",
        "            for id_ in back if not partition.draining else ():",
        "            for id_ in ():",
        changes=True,
    ),
    Rule(
        "under-way",
        "who is gone leaves memory only once nothing of it is under way",
        "consumer/changeover.py",
        "return written and not ending and",
        "return written and",
        changes=True,
    ),
    Rule(
        "set-aside",
        "of who is set aside nothing is attempted",
        "consumer/dispatcher.py",
        "channel.off = channel.gone or id_ in self._off or id_ in self._aside",
        "channel.off = channel.gone or id_ in self._off",
        changes=True,
    ),
)


def copy(to: Path) -> None:
    """Copy what the simulation needs."""
    for part in PARTS:
        shutil.copytree(ROOT / part, to / part, ignore=shutil.ignore_patterns("__pycache__"))


def missed(rule: Rule | None, schedules: int) -> Verdict:
    """Play schedules without a rule, or with all of them, until one fails."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        copy(root)
        if rule is not None:
            rule.take_away(root)
        check = f"import consumer; assert consumer.__file__.startswith({place!r}), consumer.__file__"
        environ = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}"}
        subprocess.run([sys.executable, "-c", check], cwd=root, env=environ, check=True)
        command = [sys.executable, "tests/simulation.py", str(schedules), str(rule.first if rule else FIRST_SEED)]
        command += ["--words"] if rule and rule.words else []
        command += ["--changes"] if rule and rule.changes else []
        ran = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, check=False)
    if ran.returncode == 0:
        return Verdict(None, ran.stdout.strip())
    failed = FAILED.search(ran.stdout)
    if failed is None:
        raise RuntimeError(f"the simulation did not run: {ran.stdout}{ran.stderr}")
    return Verdict(int(failed[1]), failed[2])


def main(arguments: Sequence[str] | None = None, rules: Sequence[Rule] = RULES) -> int:
    """Print a line for each rule; returns 1 if one is not missed."""
    parser = argparse.ArgumentParser(description="Take rules out of the core, and have the simulation notice.")
    parser.add_argument("--schedules", type=int, default=10_000, help="to play for each rule at most (%(default)s)")
    parser.add_argument("rules", metavar="RULE", nargs="*", help="names of rules; all without any")
    options = parser.parse_args(arguments)
    unknown = set(options.rules) - {rule.name for rule in rules}
    if unknown:
        parser.error(f"no such rule: {', '.join(sorted(unknown))}; there are {', '.join(rule.name for rule in rules)}")
    print(f"{'with all rules':18} {missed(None, 500).notice}")
    chosen = [rule for rule in rules if not options.rules or rule.name in options.rules]
    unnoticed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for rule, verdict in zip(chosen, pool.map(lambda rule: missed(rule, options.schedules), chosen), strict=True):
            if verdict.seed is None:
                unnoticed += 1
                print(f"{rule.name:18} NOT MISSED in {options.schedules} schedules: {rule.says}", flush=True)
            else:
                print(f"{rule.name:18} without it ({rule.says}):")
                print(f"{'':18} seed {verdict.seed}: {verdict.notice[:WIDTH]}", flush=True)
    print(f"{len(chosen) - unnoticed} of {len(chosen)} rules are missed when they are taken away")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
