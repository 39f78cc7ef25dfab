"""Lock files: their text goes in, what each of their requirements pins comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})$")


@dataclass(frozen=True)
class Pin:
    """One requirement of a lock file: its canonical name, and what it is held to.

    `version` is "" where not exactly one is named, `hashes` (SHA-256, hexadecimal) is empty where no file is.
    """

    lock: str
    name: str
    version: str
    hashes: frozenset[str]


def read_lock(path: Path) -> list[Pin]:
    """Return all that pip would install by this lock file, in its order, whether it is pinned or not.

    Raises OSError. What is no requirement by name (an option, an address, a path) is a Pin of that text without a
    version, so that it is noticed.
    """
    return [_pin(str(path), line) for line in _logical_lines(path.read_text("utf-8"))]


def _logical_lines(text: str) -> Iterator[str]:
    """Each line as pip reads it: continued ones joined, without comments and blanks."""
    for line in text.replace("\\\n", " ").splitlines():
        if bare := re.sub(r"(^|\s)#.*", "", line).strip():
            yield bare


def _pin(lock: str, line: str) -> Pin:
    words = line.split()
    hashes = frozenset(found[1] for word in words if (found := _HASH.match(word)))
    text = " ".join(word for word in words if not word.startswith("--hash="))
    try:
        requirement = Requirement(text)
    except InvalidRequirement:
        return Pin(lock, text, "", hashes)
    return Pin(lock, canonicalize_name(requirement.name), _only_version(requirement), hashes)


def _only_version(requirement: Requirement) -> str:
    found = list(requirement.specifier)
    exact = len(found) == 1 and found[0].operator == "==" and "*" not in found[0].version
    return found[0].version if exact and not requirement.url else ""
