"""Things are done to replicas, to Kafka and to the way between them, while events are delivered; then all is counted.

    python tests/chaos/drill.py [FAULT ...] [--seed N] [--seconds N] [--events N] [--replicas N] [--schedule]

Without a fault, each is played for itself (three minutes, 20,000 events), and then all together (ten minutes). Docker
is needed: the Kafka is one of its own, which is killed. The same seed does the same things at the same times. If
anything is lost, out of order, or comes twice without a reason, it says which event, and exits with 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from chaos.cluster import own_cluster  # noqa: E402
from chaos.run import Outcome, Run, figures  # noqa: E402
from chaos.schedule import ALL, FAULTS, title_of  # noqa: E402
from kafka import KafkaUnavailable  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.playing import INTERRUPTED, at_least  # noqa: E402
from consumer.errors import SprintlyError  # noqa: E402

SECONDS, SECONDS_OF_ALL = 180, 600
MOST = 20  # problems that are printed of each run


def main(arguments: Sequence[str] | None = None) -> int:
    """Play and print; returns the exit code: 1 if something is wrong or there is no Kafka."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that both ways to end it clean up
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # it tells of what it then tries again by itself
    runs = _runs(options)
    say(f"seed {options.seed}")
    if options.schedule:
        for run in runs:
            show_schedule(run)
        return 0
    try:
        outcomes = _play(runs, keep=options.keep)
    except KeyboardInterrupt:
        return INTERRUPTED
    except (KafkaUnavailable, SprintlyError) as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps([figures(outcome) | {"problems": outcome.problems} for outcome in outcomes], indent=2))
    else:
        Console(width=max(140, Console().width)).print(table(outcomes))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return a row for each run."""
    made = Table()
    rows = [figures(outcome) for outcome in outcomes]
    for name in rows[0] if rows else ():
        made.add_column(name, justify="left" if name == "fault" else "right")
    for row in rows:
        made.add_row(
            *(f"{value:,}" if isinstance(value, int) and name != "seed" else str(value) for name, value in row.items())
        )
    return made


def show_schedule(run: Run) -> None:
    """Say what will be done, and when."""
    say(f"{run.fault}: {title_of(run.fault)}; seed {run.seed}")
    for action in run.actions:
        say(f"  {action}")


def say(sentence: str) -> None:
    """Print what is not the table."""
    print(sentence, file=sys.stderr, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = (*FAULTS, ALL)
    parser.add_argument("faults", metavar="FAULT", nargs="*", help=f"{', '.join(names)}; each of these if none")
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000), help="of the schedule (a random one)")
    parser.add_argument(
        "--seconds", type=at_least(30), help=f"of each run ({SECONDS}; {SECONDS_OF_ALL} of all together)"
    )
    parser.add_argument("--events", type=at_least(100), default=20_000, help="of each run (%(default)s)")
    parser.add_argument("--replicas", type=int, choices=(2, 3), default=3, help="(%(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep the logs of the replicas even when all is well")
    parser.add_argument("--schedule", action="store_true", help="only print what would be done")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    options = parser.parse_args(arguments)
    if unknown := set(options.faults) - set(names):
        parser.error(f"no fault {', '.join(sorted(unknown))}: there are {', '.join(names)}")
    options.faults = options.faults or list(names)
    return options


def _runs(options: argparse.Namespace) -> list[Run]:
    return [
        Run(
            fault,
            options.seed,
            options.seconds or (SECONDS_OF_ALL if fault == ALL else SECONDS),
            options.events,
            options.replicas,
        )
        for fault in options.faults
    ]


def _play(runs: Sequence[Run], *, keep: bool) -> list[Outcome]:
    outcomes = []
    with own_cluster() as cluster:
        for run in runs:
            folder = Path(tempfile.mkdtemp(prefix=f"chaos-{run.fault}-"))
            show_schedule(run)
            outcomes.append(run.play(cluster, folder, say))
            _report(outcomes[-1], folder, keep=keep)
    return outcomes


def _report(outcome: Outcome, folder: Path, *, keep: bool) -> None:
    say(f"{outcome.run.fault}: {figures(outcome)}, {_times(outcome)}")
    for problem in outcome.problems[:MOST]:
        say(f"WRONG: {problem}")
    if outcome.problems or keep:
        say(f"the logs of the replicas are kept in {folder}")
    else:
        shutil.rmtree(folder)


def _times(outcome: Outcome) -> str:
    """Say how long replicas took to stop and, where they were replaced, to be ready."""
    start = f", slowest start until ready {outcome.slowest_start:.1f} s" if outcome.slowest_start else ""
    return f"slowest stop {outcome.slowest_stop:.1f} s{start}"


if __name__ == "__main__":
    sys.exit(main())
