"""A package index: a name goes in, what the index serves of it comes out: files, hashes, marks, known vulnerabilities.

Asked are the Simple API (https://packaging.python.org/en/latest/specifications/simple-repository-api/), as JSON or as
HTML, and PyPI's JSON API beside it, which alone tells of vulnerabilities and which mirrors often lack.
"""

from __future__ import annotations

import ast
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import requests
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_version,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion
from pip._internal.models.index import PyPI  # what pip goes by where it is told nothing
from requests.adapters import HTTPAdapter
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter
from tenacity.wait import wait_base

AT_ONCE = 8  # requests at a time
_ATTEMPTS = 4
_TIMEOUT = 10.0  # seconds for a connection, and for each part of an answer
_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class Unreachable(Exception):
    """The index could not be asked, or gave no answer that can be read: one sentence with its host."""


class _Passing(Unreachable):
    """So that another try may help."""


@dataclass(frozen=True)
class File:
    """A file as the index serves it; `yanked` is the reason given, None where it is not yanked."""

    name: str
    sha256: str
    yanked: str | None = None
    requires_python: str = ""

    @property
    def version(self) -> str:
        """The canonical version that the file's name says, or "" where it says none."""
        try:
            parse = parse_wheel_filename if self.name.endswith(".whl") else parse_sdist_filename
            return canonicalize_version(parse(self.name)[1])
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
            return ""


@dataclass(frozen=True)
class Project:
    """All files of a package, and its status (PEP 792): active, archived, deprecated or quarantined."""

    files: tuple[File, ...] = ()
    status: str = "active"
    reason: str = ""


@dataclass(frozen=True)
class Advisory:
    """A known vulnerability of one version."""

    id: str
    aliases: frozenset[str] = frozenset()
    summary: str = ""
    fixed_in: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where pip is told to get packages from: the indexes, the authorities to trust, hosts whose TLS is not checked."""

    urls: tuple[str, ...] = (PyPI.simple_url,)
    cert: str = ""
    trusted_hosts: frozenset[str] = field(default_factory=frozenset)


def configured() -> Place:
    """Return what pip goes by here: its configuration files, and over them its environment variables.

    Raises Unreachable where pip does not say.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unreachable(f"pip does not say which index it uses: {done.stderr.strip()[-200:]}")
    return parse_configuration(done.stdout)


def parse_configuration(text: str) -> Place:
    """Return the place that `pip config list` tells of: what is for `install` goes before what is for all commands."""
    values: dict[tuple[str, str], str] = {}
    for line in text.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        values[section, key] = str(ast.literal_eval(value))

    def get(key: str) -> str:
        return next(
            (values[section, key] for section in (":env:", "install", "global") if (section, key) in values), ""
        )

    urls = [get("index-url") or PyPI.simple_url, *get("extra-index-url").split()]
    return Place(tuple(url.rstrip("/") for url in urls), get("cert"), frozenset(get("trusted-host").split()))


class Index:
    """The indexes of a `place`, asked by several threads at a time; `wait` is how long before a failed try's next."""

    def __init__(self, place: Place, *, wait: wait_base | None = None, timeout: float = _TIMEOUT) -> None:
        self._place = place
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers["User-Agent"] = "sprintly-services audit"
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, HTTPAdapter(pool_maxsize=AT_ONCE))
        self._retrying = Retrying(
            stop=stop_after_attempt(_ATTEMPTS),
            wait=wait or wait_exponential_jitter(multiplier=0.5, max=4),
            retry=retry_if_exception_type(_Passing),
            reraise=True,
        )
        self._first = threading.Lock()
        self._tells: bool | None = None  # of vulnerabilities; not known before the first is asked for

    def project(self, name: str) -> Project | None:
        """Return what the first index that has it serves of a package, or None if none has it; raises Unreachable."""
        for url in self._place.urls:
            answer = self._get(f"{url}/{name}/", _ACCEPT)
            if answer.status_code != 404:
                return _read_project(answer)
        return None

    def advisories(self, name: str, version: str) -> tuple[Advisory, ...] | None:
        """Return the known vulnerabilities of a version that is served, or None where the first index does not tell.

        Where it does not tell of the first version that is asked for, or fails, it is not asked again.
        """
        with self._first:
            if self._tells is None:
                found = self._advisories(name, version)
                self._tells = found is not None
                return found
        return self._advisories(name, version) if self._tells else None

    def _advisories(self, name: str, version: str) -> tuple[Advisory, ...] | None:
        base, simple, _ = self._place.urls[0].rpartition("/simple")
        if not simple:
            return None
        try:
            answer = self._get(f"{base}/pypi/{name}/{version}/json", "application/json")
            return None if answer.status_code == 404 else _read_advisories(answer)
        except Unreachable:
            self._tells = False
            return None

    def _get(self, url: str, accept: str) -> requests.Response:
        """Return a 200 or a 404."""
        return self._retrying.copy()(self._try, url, accept)

    def _try(self, url: str, accept: str) -> requests.Response:
        host = urlsplit(url).hostname or "the index"
        verify = False if host in self._place.trusted_hosts else self._place.cert or True
        try:
            answer = self._session.get(url, headers={"Accept": accept}, timeout=self._timeout, verify=verify)
        except requests.RequestException as error:  # its own text would quote the URL, which may hold a password
            raise _Passing(f"{host} could not be asked: {type(error).__name__}") from None
        if answer.status_code in _PASSING:
            raise _Passing(f"{host} answered {answer.status_code}")
        if answer.status_code not in (200, 404):
            raise Unreachable(f"{host} answered {answer.status_code}")
        return answer


@contextmanager
def _as_promised(answer: requests.Response) -> Iterator[None]:
    """Raise Unreachable for an answer that turns out not to be what the API says."""
    try:
        yield
    except (requests.JSONDecodeError, AttributeError, KeyError, TypeError):
        raise Unreachable(f"{urlsplit(answer.url).hostname} gave an answer that is not what its API says") from None


def _read_advisories(answer: requests.Response) -> tuple[Advisory, ...] | None:
    with _as_promised(answer):
        found = answer.json().get("vulnerabilities")
        return None if found is None else tuple(_advisory(entry) for entry in found if not entry.get("withdrawn"))


def _advisory(entry: Mapping[str, Any]) -> Advisory:
    return Advisory(
        entry["id"],
        frozenset(entry.get("aliases") or ()),
        entry.get("summary") or (entry.get("details") or "").partition("\n")[0][:200],
        tuple(entry.get("fixed_in") or ()),
    )


def _read_project(answer: requests.Response) -> Project:
    if "html" in answer.headers.get("Content-Type", ""):
        page = _Page(answer.url)
        page.feed(answer.text)
        return Project(tuple(page.files), page.metas.get("status", "active"), page.metas.get("status-reason", ""))
    with _as_promised(answer):
        found = answer.json()
        status = found.get("project-status") or {}
        return Project(tuple(map(_file, found["files"])), status.get("status", "active"), status.get("reason") or "")


def _file(entry: Mapping[str, Any]) -> File:
    yanked = entry.get("yanked", False)
    reason = None if yanked is False else "" if yanked is True else str(yanked)
    return File(entry["filename"], entry["hashes"].get("sha256", ""), reason, entry.get("requires-python") or "")


class _Page(HTMLParser):
    """The Simple API's HTML: a link for each file, with its hash as the fragment; marks as attributes."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url
        self.files: list[File] = []
        self.metas: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take a link or a `pypi:project-…` mark down."""
        given = dict(attrs)
        if tag == "meta" and (name := given.get("name") or "").startswith("pypi:project-"):
            self.metas[name.removeprefix("pypi:project-")] = given.get("content") or ""
        if tag == "a" and given.get("href"):
            parts = urlsplit(urljoin(self._url, given["href"] or ""))
            sha256 = parse_qs(parts.fragment).get("sha256", [""])[0]
            yanked = (given["data-yanked"] or "") if "data-yanked" in given else None
            name = parts.path.rpartition("/")[2]
            self.files.append(File(name, sha256, yanked, given.get("data-requires-python") or ""))
