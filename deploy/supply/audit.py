"""The audit of the lock files: what they pin and what the package index serves go in, problems and notes come out.

    python deploy/supply/audit.py requirements.lock …     # the index is pip's own: PIP_INDEX_URL, pip.conf, or PyPI

Exit codes: 0 nothing to do, 1 a problem or no answer, 2 wrong usage.
"""

from __future__ import annotations

import platform
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, TypeAlias

import click
from index import AT_ONCE, Advisory, File, Index, Project, Unreachable, configured
from locks import Pin, read_lock
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, canonicalize_version
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

ACCEPTED = Path(__file__).with_name("accepted.toml")
YANKED = "yanked"
_LONGEST = timedelta(days=90)  # what is accepted is looked at again each quarter

Answers: TypeAlias = Mapping[str, tuple[Project | None, Mapping[str, tuple[Advisory, ...] | None]]]
"""Of each package what is served, and of each of its locked versions what is known against it."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one pin; `ids` are the names by which it may be accepted."""

    name: str
    version: str
    locks: tuple[str, ...]
    text: str
    ids: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.name} {self.version or '(no version)'} in {', '.join(self.locks)}: {self.text}"


class Acceptance(BaseModel):
    """A problem that is lived with until a day, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: Annotated[str, AfterValidator(canonicalize_name)]
    finding: str = Field(pattern=rf"^({YANKED}|[A-Z]+-[\w:-]+)$")
    until: date
    reason: str = Field(min_length=10)

    def covers(self, problem: Problem) -> bool:
        """Return whether it speaks of this problem, whatever the day."""
        return self.package == problem.name and self.finding in problem.ids


@dataclass
class Report:
    """What an audit came to. `unknown` are the versions whose vulnerabilities the index did not tell."""

    packages: int = 0
    problems: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


class _Exceptions(BaseModel):
    model_config = ConfigDict(extra="forbid")
    accepted: list[Acceptance] = []


def read_accepted(path: Path) -> list[Acceptance]:
    """Return what the file accepts; raises click.UsageError with one sentence for a file that is wrong."""
    try:
        return _Exceptions.model_validate(tomllib.loads(path.read_text("utf-8"))).accepted
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise click.UsageError(f"{path.name}: {where}: {first['msg']}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path.name} cannot be read: {error}") from None


def audit(pins: Sequence[Pin], index: Index, accepted: Sequence[Acceptance], *, python: str, today: date) -> Report:
    """Hold all pins against what `index` serves; raises Unreachable where that does not say.

    `python` is the version that the files have to be for.
    """
    loose = [pin for pin in pins if not pin.version or not pin.hashes]
    held = _merged(pin for pin in pins if pin.version and pin.hashes)
    answers = _ask(index, held)
    report = Report(packages=len(answers))
    problems = [Problem(pin.name, pin.version, (pin.lock,), _looseness(pin)) for pin in loose]
    for pin, locks in held:
        project, known = answers[pin.name]
        problems += [Problem(pin.name, pin.version, locks, text, ids) for text, ids in _problems(pin, project, python)]
        report.notes += [f"{pin.name} {pin.version}: {text}" for text in _notes(pin, project)]
        found = known.get(pin.version)
        if found is None:
            report.unknown.append(f"{pin.name} {pin.version}")
        problems += [_vulnerability(pin, locks, advisory) for advisory in found or ()]
    _judge(problems, accepted, today, report)
    return report


def _merged(pins: Iterable[Pin]) -> list[tuple[Pin, tuple[str, ...]]]:
    """One pin for each package and version, with all hashes, and the lock files that it stands in."""
    found: dict[tuple[str, str], list[Pin]] = {}
    for pin in pins:
        found.setdefault((pin.name, pin.version), []).append(pin)
    return [
        (
            Pin(same[0].lock, name, version, frozenset().union(*(pin.hashes for pin in same))),
            tuple(p.lock for p in same),
        )
        for (name, version), same in sorted(found.items())
    ]


def _ask(index: Index, held: Sequence[tuple[Pin, tuple[str, ...]]]) -> Answers:
    versions: dict[str, list[str]] = {}
    for pin, _ in held:
        versions.setdefault(pin.name, []).append(pin.version)

    def one(name: str) -> tuple[Project | None, dict[str, tuple[Advisory, ...] | None]]:
        project = index.project(name)
        served = {file.version for file in project.files} if project else set()
        asked = (version for version in versions[name] if canonicalize_version(version) in served)
        return project, {version: index.advisories(name, version) for version in asked}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = {name: pool.submit(one, name) for name in versions}
        try:
            return {name: answer.result() for name, answer in waiting.items()}
        except Unreachable:
            pool.shutdown(cancel_futures=True)  # where one is not answered, the others would only take their time too
            raise


def _looseness(pin: Pin) -> str:
    return "no file is known by its SHA-256" if pin.version else "is not pinned to one version by =="


def _problems(pin: Pin, project: Project | None, python: str) -> Iterator[tuple[str, frozenset[str]]]:
    """What is wrong with a pin's files, and by which name it could be accepted."""
    none: frozenset[str] = frozenset()
    if project is None:
        yield "the index has no such package", none
        return
    if project.status == "quarantined":
        yield f"the index has it in quarantine{_because(project.reason)}", none
    files = _released(pin, project)
    if not files:
        yield "the index no longer serves this version", none
        return
    locked = [file for file in files if file.sha256 in pin.hashes]
    if lost := pin.hashes - {file.sha256 for file in locked}:
        strangers = [file for file in files if file.sha256 not in pin.hashes]
        instead = f", and {_names(strangers)} under one that is not locked" if strangers else ""
        yield f"nothing is served under the locked hash {_hashes(lost)}{instead}", none
    if reasons := [file.yanked for file in locked if file.yanked is not None]:
        yield f"it was yanked{_because(reasons[0])}", frozenset({YANKED})
    if locked and not any(_fits(file, python) for file in locked):
        yield f"no file of it is for Python {python}, but for {locked[0].requires_python}", none


def _notes(pin: Pin, project: Project | None) -> Iterator[str]:
    """What nobody has to do anything about: pip takes only files whose hash is locked."""
    if project is None:
        return
    if project.status not in ("active", "quarantined"):
        yield f"its maintainers have marked the project as {project.status}{_because(project.reason)}"
    files = _released(pin, project)
    known = {file.sha256 for file in files}
    if pin.hashes <= known and (added := [file for file in files if file.sha256 not in pin.hashes]):
        yield f"{_names(added)} came after it was locked; `make lock` takes it in"


def _released(pin: Pin, project: Project) -> list[File]:
    """The files of the pin's version, by what their names say."""
    version = canonicalize_version(pin.version)
    return [file for file in project.files if file.version == version]


def _vulnerability(pin: Pin, locks: tuple[str, ...], advisory: Advisory) -> Problem:
    also = f" ({', '.join(sorted(advisory.aliases))})" if advisory.aliases else ""
    mended = f"mended in {', '.join(advisory.fixed_in)}" if advisory.fixed_in else "no version without it is known"
    text = f"it is vulnerable: {advisory.id}{also}: {advisory.summary or 'no summary'}; {mended}"
    return Problem(pin.name, pin.version, locks, text, advisory.aliases | {advisory.id})


def _judge(problems: Iterable[Problem], accepted: Sequence[Acceptance], today: date, report: Report) -> None:
    """Sort problems by whether they are accepted today, and notice what is accepted for too long or for nothing."""
    idle = list(accepted)
    for problem in problems:
        about = [acceptance for acceptance in accepted if acceptance.covers(problem)]
        idle = [acceptance for acceptance in idle if acceptance not in about]
        valid = [acceptance for acceptance in about if today <= acceptance.until <= today + _LONGEST]
        if valid:
            report.accepted.append(f"{problem}; accepted until {valid[0].until}: {valid[0].reason}")
        else:
            report.problems.append(f"{problem}{_why_not(about, today)}")
    report.notes += [f"{it.package}: {it.finding} is accepted, but was not found" for it in idle]


def _why_not(about: Sequence[Acceptance], today: date) -> str:
    if not about:
        return ""
    last = max(acceptance.until for acceptance in about)
    if last < today:
        return f"; that it is accepted ended on {last}"
    return f"; it may be accepted for {_LONGEST.days} days at most, and not until {last}"


def _fits(file: File, python: str) -> bool:
    try:
        return SpecifierSet(file.requires_python).contains(python, prereleases=True)
    except InvalidSpecifier:  # pip installs it as well
        return True


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _hashes(hashes: Iterable[str]) -> str:
    return _some(sorted(f"{digest[:12]}…" for digest in hashes))


def _names(files: Iterable[File]) -> str:
    return _some(sorted(file.name for file in files))


def _some(words: Sequence[str]) -> str:
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


@click.command()
@click.argument("locks", nargs=-1, required=True, type=click.Path(dir_okay=False, exists=True, path_type=Path))
@click.option("--accepted", type=click.Path(dir_okay=False, path_type=Path), default=ACCEPTED, help="What is accepted.")
@click.option("--full", is_flag=True, help="Fail where the index does not tell of vulnerabilities.")
def main(locks: Sequence[Path], accepted: Path, full: bool) -> None:
    """Hold the LOCKS against what pip's package index serves: versions, hashes, marks and known vulnerabilities."""
    accepting = read_accepted(accepted)
    pins = [pin for lock in locks for pin in read_lock(lock)]
    try:
        report = audit(pins, Index(configured()), accepting, python=platform.python_version(), today=date.today())
    except Unreachable as error:
        raise click.ClickException(f"Nothing was audited: {error}") from None
    _show(report)
    sys.exit(bool(report.problems or (full and report.unknown)))


def _show(report: Report) -> None:
    for title, lines in (("note", report.notes), ("accepted", report.accepted), ("PROBLEM", report.problems)):
        for line in lines:
            click.echo(f"{title}: {line}")
    click.echo(
        f"Audited {report.packages} packages: {len(report.problems)} problems, {len(report.accepted)} accepted, "
        f"{len(report.notes)} notes"
    )
    if report.unknown:
        click.echo(
            f"VULNERABILITIES WERE NOT LOOKED UP for {len(report.unknown)} versions ({_some(report.unknown)}): pip's "
            "index does not tell of them. This was no full audit: repeat it where PyPI's JSON API is served.",
            err=True,
        )


if __name__ == "__main__":
    main()
