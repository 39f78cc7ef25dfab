"""The audit of the lock files against an index on loopback, in every state that an index can have a package in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

import click
import pytest
from audit import ACCEPTED, Acceptance, Report, audit, read_accepted
from index import Index, Place, Unreachable, parse_configuration
from indexes import PackageIndex
from locks import read_lock
from ports import free_port
from receivers import Raw, Reply
from tenacity import wait_none

ROOT = Path(__file__).resolve().parent.parent
TODAY = date(2026, 3, 1)
WHEEL, SDIST = "acme-1.0-py3-none-any.whl", "acme-1.0.tar.gz"
ADVISORY = {"id": "GHSA-aaaa-bbbb-cccc", "aliases": ["CVE-2026-1"], "summary": "reads too far", "fixed_in": ["1.1"]}


@pytest.fixture(params=["json", "html"])
def index(request: pytest.FixtureRequest) -> Iterator[PackageIndex]:
    with PackageIndex(as_html=request.param == "html") as index:
        index.add(WHEEL, requires_python=">=3.11")
        index.add(SDIST, requires_python=">=3.11")
        index.add("acme-0.9.tar.gz", yanked=True)
        yield index


@pytest.fixture
def held(index: PackageIndex, tmp_path: Path) -> Callable[..., Report]:
    """Audits a lock file that is made now, in the state that the index comes to later."""
    lock = tmp_path / "some.lock"
    lock.write_text(index.lock("acme", "1.0"))

    def run(*accepted: Acceptance) -> Report:
        asked = Index(Place((index.url,)), wait=wait_none())
        return audit(read_lock(lock), asked, accepted, python="3.11.7", today=TODAY)

    return run


def accepting(finding: str, *, days: int = 30, package: str = "Acme") -> Acceptance:
    until = TODAY + timedelta(days=days)
    return Acceptance(package=package, finding=finding, until=until, reason="not called from here")


def test_what_is_served_as_it_was_locked_is_fine(held: Callable[..., Report]) -> None:
    assert held() == Report(packages=1)


def test_a_file_under_another_hash_is_a_problem(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.replace(WHEEL)
    (problem,) = held().problems
    assert "nothing is served under the locked hash" in problem
    assert problem.endswith(f"{WHEEL} under one that is not locked")


def test_a_file_that_is_gone_is_a_problem(index: PackageIndex, held: Callable[..., Report]) -> None:
    del index.files["acme"][0]
    (problem,) = held().problems
    assert "acme 1.0 in" in problem
    assert "nothing is served under the locked hash" in problem


def test_a_version_that_is_gone_is_a_problem(index: PackageIndex, held: Callable[..., Report]) -> None:
    del index.files["acme"][:2]
    (problem,) = held().problems
    assert problem.endswith("the index no longer serves this version")


def test_a_package_that_is_gone_is_a_problem(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.files.clear()
    report = held()
    (problem,) = report.problems
    assert problem.endswith("the index has no such package")
    assert report.unknown == ["acme 1.0"]


def test_a_locked_hash_of_another_version_is_none_of_this_one(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.files["acme"][0]["filename"] = "acme-0.8-py3-none-any.whl"
    (problem,) = held().problems
    assert "nothing is served under the locked hash" in problem


@pytest.mark.parametrize(
    ("said", "shown"), [("breaks <everything>", "it was yanked: breaks <everything>"), (True, "it was yanked")]
)
def test_a_yanked_version_is_a_problem(
    index: PackageIndex, held: Callable[..., Report], said: bool | str, shown: str
) -> None:
    for entry in index.files["acme"]:
        entry["yanked"] = said
    (problem,) = held().problems
    assert problem.endswith(shown)
    report = held(accepting("yanked"))
    assert (report.problems, len(report.accepted)) == ([], 1)


def test_quarantine_is_a_problem_that_cannot_be_accepted(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.marks["acme"] = {"status": "quarantined"}
    (problem,) = held(accepting("yanked")).problems
    assert problem.endswith("the index has it in quarantine")


@pytest.mark.parametrize("status", ["archived", "deprecated"])
def test_a_project_that_is_given_up_is_noted(index: PackageIndex, held: Callable[..., Report], status: str) -> None:
    index.marks["acme"] = {"status": status, "reason": "use acme2"}
    report = held()
    assert report.problems == []
    assert status in report.notes[0]


def test_a_version_for_other_pythons_is_a_problem(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.files["acme"][0]["requires-python"] = ">=3.12"
    assert held().problems == []  # the other one is for this Python
    index.files["acme"][1]["requires-python"] = ">=3.12"
    (problem,) = held().problems
    assert problem.endswith("no file of it is for Python 3.11.7, but for >=3.12")


def test_a_file_that_came_later_is_noted(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.add("acme-1.0-cp313-cp313-win_amd64.whl")
    report = held()
    assert report.problems == []
    assert report.notes == [
        "acme 1.0: acme-1.0-cp313-cp313-win_amd64.whl came after it was locked; `make lock` takes it in"
    ]


def test_a_known_vulnerability_is_a_problem(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.advisories["acme", "1.0"] = [ADVISORY, {**ADVISORY, "id": "PYSEC-1", "withdrawn": "2026-01-01T00:00:00Z"}]
    (problem,) = held().problems
    assert "it is vulnerable: GHSA-aaaa-bbbb-cccc (CVE-2026-1): reads too far; mended in 1.1" in problem


@pytest.mark.parametrize("name", ["GHSA-aaaa-bbbb-cccc", "CVE-2026-1"])
def test_a_vulnerability_is_accepted_for_a_time(index: PackageIndex, held: Callable[..., Report], name: str) -> None:
    index.advisories["acme", "1.0"] = [ADVISORY]
    report = held(accepting(name))
    assert report.problems == []
    assert report.accepted[0].endswith("; accepted until 2026-03-31: not called from here")
    assert len(held(accepting(name, days=0)).accepted) == 1  # its last day
    (problem,) = held(accepting(name, days=-1)).problems
    assert problem.endswith("that it is accepted ended on 2026-02-28")
    (problem,) = held(accepting(name, days=91)).problems
    assert "90 days at most" in problem


def test_what_is_accepted_of_another_is_not_accepted_here(index: PackageIndex, held: Callable[..., Report]) -> None:
    index.advisories["acme", "1.0"] = [ADVISORY]
    report = held(accepting("CVE-2026-1", package="other"), accepting("CVE-2026-2"))
    assert len(report.problems) == 1
    assert report.notes == [
        "other: CVE-2026-1 is accepted, but was not found",
        "acme: CVE-2026-2 is accepted, but was not found",
    ]


def test_where_vulnerabilities_are_not_told_it_is_asked_once_and_said(tmp_path: Path) -> None:
    with PackageIndex(tells=False) as index:
        for name in ("one", "two", "three"):
            index.add(f"{name}-1.0.tar.gz")
        (tmp_path / "a.lock").write_text("".join(index.lock(name, "1.0") for name in index.files))
        report = audit(read_lock(tmp_path / "a.lock"), Index(Place((index.url,))), [], python="3.11.7", today=TODAY)
        asked = index.paths
    assert report.unknown == ["one 1.0", "three 1.0", "two 1.0"]
    assert sum(path.startswith("/pypi/") for path in asked) == 1
    assert sum(path.startswith("/simple/") for path in asked) == 3


def test_what_several_locks_pin_alike_is_asked_for_once(index: PackageIndex, tmp_path: Path) -> None:
    for name in ("a.lock", "b.lock"):
        (tmp_path / name).write_text(index.lock("acme", "1.0"))
    index.replace(SDIST)
    pins = [pin for name in ("a.lock", "b.lock") for pin in read_lock(tmp_path / name)]
    report = audit(pins, Index(Place((index.url,))), [], python="3.11.7", today=TODAY)
    assert index.paths == ["/simple/acme/", "/pypi/acme/1.0/json"]
    assert len(report.problems) == 1
    assert "a.lock" in report.problems[0]
    assert "b.lock" in report.problems[0]


def test_the_second_index_is_asked_for_what_the_first_has_not(index: PackageIndex, tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text(index.lock("acme", "1.0"))
    with PackageIndex() as first:
        asked = Index(Place((first.url, index.url)))
        report = audit(read_lock(tmp_path / "a.lock"), asked, [], python="3.11.7", today=TODAY)
    assert report.problems == []


@pytest.mark.parametrize("failure", [503, 429, Raw(reset=True)])
def test_a_passing_failure_is_got_over(index: PackageIndex, held: Callable[..., Report], failure: int | Raw) -> None:
    index.failing += [failure] * 3
    assert held() == Report(packages=1)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([503] * 4, "127.0.0.1 answered 503"),
        ([403], "127.0.0.1 answered 403"),
        ([Raw()] * 4, "127.0.0.1 could not be asked: ConnectionError"),
        ([Reply(200, b"<html>log in")], "gave an answer that is not what its API says"),
        ([Reply(200, b"[]")], "gave an answer that is not what its API says"),
        ([Reply(200, b'{"files": [{}]}')], "gave an answer that is not what its API says"),
    ],
)
def test_an_index_that_cannot_be_asked_is_no_clean_audit(
    index: PackageIndex, held: Callable[..., Report], answers: list[int | Raw | Reply], said: str
) -> None:
    index.failing += answers
    with pytest.raises(Unreachable) as error:
        held()
    assert said in str(error.value)
    assert str(index.url) not in str(error.value)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acme>=1.0 --hash=sha256:" + "a" * 64, "acme (no version) in LOCK: is not pinned to one version by =="),
        ("acme==1.* --hash=sha256:" + "a" * 64, "acme (no version) in LOCK: is not pinned to one version by =="),
        ("acme==1.0", "acme 1.0 in LOCK: no file is known by its SHA-256"),
        ("acme==1.0 --hash=md5:abc", "acme 1.0 in LOCK: no file is known by its SHA-256"),
        ("./acme", "./acme (no version) in LOCK: is not pinned to one version by =="),
        ("-e .", "-e . (no version) in LOCK: is not pinned to one version by =="),
        ("acme @ https://x.test/a.whl", "acme (no version) in LOCK: is not pinned to one version by =="),
    ],
)
def test_what_is_not_pinned_by_version_and_hash_is_a_problem(tmp_path: Path, line: str, said: str) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(f"# made by hand\n{line}\n")
    report = audit(read_lock(lock), Index(Place(())), [], python="3.11.7", today=TODAY)
    assert report.problems == [said.replace("LOCK", str(lock))]


def test_the_project_s_own_locks_are_pinned_and_by_hash() -> None:
    locks = [*ROOT.glob("requirements*.lock"), *ROOT.glob("benchmarks/**/*.lock"), *ROOT.glob("deploy/**/*.lock")]
    assert len(locks) == 6
    assert [pin for lock in locks for pin in read_lock(lock) if not pin.version or not pin.hashes] == []


def test_what_the_project_accepts_can_be_read() -> None:
    assert all(acceptance.reason for acceptance in read_accepted(ACCEPTED))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[[accepted]]\npackage = 'acme'\nfinding = 'CVE-2026-1'\nuntil = 2026-03-01",
            "accepted.0.reason: Field required",
        ),
        (
            "[[accepted]]\npackage = 'acme'\nfinding = 'hash'\nuntil = 2026-03-01\nreason = 'we trust it'",
            "accepted.0.finding",
        ),
        ("[[acepted]]", "acepted: Extra inputs are not permitted"),
        ("[[accepted", "cannot be read"),
    ],
)
def test_what_is_accepted_without_a_reason_or_too_widely_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "accepted.toml"
    file.write_text(text)
    with pytest.raises(click.UsageError) as error:
        read_accepted(file)
    assert said in error.value.message


def test_pip_says_where_packages_come_from() -> None:
    said = (
        ":env:.extra-index-url='https://two.test/simple https://three.test/simple'\n"
        "global.cert='/etc/authorities.pem'\n"
        "global.index-url='https://elsewhere.test/simple'\n"
        "install.index-url='https://user:word@one.test/simple/'\n"
        "install.trusted-host='one.test\\ntwo.test'\n"
    )
    urls = ("https://user:word@one.test/simple", "https://two.test/simple", "https://three.test/simple")
    assert parse_configuration(said) == Place(urls, "/etc/authorities.pem", frozenset({"one.test", "two.test"}))
    assert parse_configuration(":env:.index-url='https://a.test'\n" + said).urls[0] == "https://a.test"
    assert parse_configuration("") == Place()


def command(index: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the audit as `make audit` does, by pip's own settings."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [sys.executable, str(ROOT / "deploy/supply/audit.py"), *arguments],
        env=environ | {"PIP_INDEX_URL": index, "PIP_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_command_says_what_it_found(index: PackageIndex, tmp_path: Path) -> None:
    lock, accepted = tmp_path / "a.lock", tmp_path / "accepted.toml"
    lock.write_text(index.lock("acme", "1.0"))
    done = command(index.url, str(lock))
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "Audited 1 packages: 0 problems, 0 accepted, 0 notes\n",
        "",
    )
    index.advisories["acme", "1.0"] = [ADVISORY]
    done = command(index.url, str(lock))
    assert done.returncode == 1
    assert "PROBLEM: acme 1.0 in" in done.stdout
    until = date.today() + timedelta(days=5)
    accepted.write_text(
        f"[[accepted]]\npackage = 'acme'\nfinding = 'CVE-2026-1'\nuntil = {until}\nreason = 'not called from here'\n"
    )
    done = command(index.url, str(lock), "--accepted", str(accepted))
    assert done.returncode == 0
    assert "accepted: acme 1.0" in done.stdout


def test_the_command_says_that_vulnerabilities_were_not_looked_up(tmp_path: Path) -> None:
    with PackageIndex(tells=False) as index:
        index.add(WHEEL)
        (tmp_path / "a.lock").write_text(index.lock("acme", "1.0"))
        done = command(index.url, str(tmp_path / "a.lock"))
        assert done.returncode == 0
        assert "VULNERABILITIES WERE NOT LOOKED UP for 1 versions (acme 1.0)" in done.stderr
        assert command(index.url, str(tmp_path / "a.lock"), "--full").returncode == 1


def test_the_command_fails_without_an_index_and_says_no_password(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text(f"acme==1.0 --hash=sha256:{'a' * 64}")
    done = command(f"http://user:s3cret@127.0.0.1:{free_port()}/simple", str(tmp_path / "a.lock"))
    assert done.returncode == 1
    assert done.stderr.startswith("Error: Nothing was audited: 127.0.0.1 could not be asked: ")
    assert "s3cret" not in done.stdout + done.stderr
