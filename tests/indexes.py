"""A package index to test with, on 127.0.0.1: the Simple API as JSON or HTML, and PyPI's JSON API where it has that.

with PackageIndex() as index:
    index.add("pytz-1.0.tar.gz", yanked="wrong zone")  # index.lock("pytz", "1.0") pins it
"""

from __future__ import annotations

import html
import json
from hashlib import sha256
from typing import Any, Self
from urllib.parse import urlsplit

from packaging.utils import canonicalize_name
from receivers import Answer, Got, Receiver, Reply

JSON = "application/vnd.pypi.simple.v1+json"


class PackageIndex:
    """Serves files that exist by name and hash only; `failing` is what is answered as long as there is something in it.

    With `as_html` it knows no JSON. It tells of vulnerabilities if `tells` (PyPI does, mirrors often do not).
    """

    def __init__(self, *, as_html: bool = False, tells: bool = True) -> None:
        self.failing: list[Answer] = []
        self.files: dict[str, list[dict[str, Any]]] = {}
        self.marks: dict[str, dict[str, str]] = {}
        self.advisories: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._as_html = as_html
        self._tells = tells
        self._receiver = Receiver(self._answer)

    def __enter__(self) -> Self:
        self._receiver.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._receiver.__exit__(*error)

    @property
    def url(self) -> str:
        """What pip would be given as its index."""
        return f"{self._receiver.url}/simple"

    @property
    def paths(self) -> list[str]:
        """What it was asked for, in order."""
        return [request.path for request in self._receiver.requests]

    def add(self, filename: str, *, content: str = "", yanked: bool | str = False, requires_python: str = "") -> None:
        """Serve a file; who gives another `content` gets another hash."""
        name = canonicalize_name(filename.split("-")[0])
        digest = sha256((filename + content).encode()).hexdigest()
        entry = {
            "filename": filename,
            "hashes": {"sha256": digest},
            "yanked": yanked,
            "requires-python": requires_python,
        }
        self.files.setdefault(name, []).append(entry)

    def replace(self, filename: str) -> None:
        """Serve other bytes under the same name."""
        name = canonicalize_name(filename.split("-")[0])
        self.files[name] = [entry for entry in self.files[name] if entry["filename"] != filename]
        self.add(filename, content="other")

    def lock(self, name: str, version: str) -> str:
        """Pin a version to the hashes of all files that are served of it now, as pip-compile does."""
        files = [entry for entry in self.files[name] if f"-{version}" in entry["filename"]]
        hashes = [f" \\\n    --hash=sha256:{entry['hashes']['sha256']}" for entry in files]
        return f"{name}=={version}{''.join(hashes)}\n    # via sprintly-services (pyproject.toml)\n"

    def _answer(self, request: Got) -> Answer:
        if self.failing:
            return self.failing.pop()
        match urlsplit(request.path).path.strip("/").split("/"):
            case ["simple", name] if name in self.files:
                return self._html(name) if self._as_html else self._json(name)
            case ["pypi", name, version, "json"] if self._tells:
                found = self.advisories.get((name, version), [])
                return _reply(json.dumps({"info": {}, "vulnerabilities": found}), "application/json")
        return Reply(404, b"404 Not Found")

    def _json(self, name: str) -> Reply:
        page = {
            "meta": {"api-version": "1.4"},
            "name": name,
            "files": [{**entry, "url": _path(entry)} for entry in self.files[name]],
        }
        marks = {"project-status": self.marks[name]} if name in self.marks else {}
        return _reply(json.dumps(page | marks), JSON)

    def _html(self, name: str) -> Reply:
        marks = self.marks.get(name, {})
        names = {"status": "pypi:project-status", "reason": "pypi:project-status-reason"}
        metas = [f'<meta name="{names[key]}" content="{html.escape(value)}">' for key, value in marks.items()]
        links = [_link(entry) for entry in self.files[name]]
        return _reply("<!DOCTYPE html>" + "\n".join(metas + links), "text/html; charset=UTF-8")


def _path(entry: dict[str, Any]) -> str:
    return f"../../files/{entry['filename']}"


def _link(entry: dict[str, Any]) -> str:
    yanked = entry["yanked"]
    marks = "" if yanked is False else f' data-yanked="{"" if yanked is True else html.escape(yanked)}"'
    if entry["requires-python"]:
        marks += f' data-requires-python="{html.escape(entry["requires-python"])}"'
    return f'<a href="{_path(entry)}#sha256={entry["hashes"]["sha256"]}"{marks}>{entry["filename"]}</a><br>'


def _reply(body: str, kind: str) -> Reply:
    return Reply(200, body.encode(), {"Content-Type": kind})
