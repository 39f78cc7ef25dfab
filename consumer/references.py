"""References in options: what is written comes in, what it stands for goes out: variables, and files with secrets.

Anywhere in a text, `${NAME}` stands for an environment variable, and `$${` for a plain `${`. A whole text `env:NAME`
stands for a variable and `file:PATH` for what a file holds, as Docker and Kubernetes hand secrets over; a text that
begins so itself is written with `text:` before it. What something stands for is taken as it is and not looked
through again, so that no variable or file can refer to others.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from consumer.strictyaml import shown

LARGEST_FILE = 64 * 1024  # bytes; a secret is a line, a key some kilobytes
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE = re.compile(r"\$\$\{|\$\{(?:(" + _NAME + r")\})?")
_REFERENCE = re.compile(r"(file|env):(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\Atext:(?=(?:text:)*(?:file|env):)")
_TO_ESCAPE = re.compile(r"\A(?=(?:text:)*(?:file|env):)")


class Sources(Protocol):
    """Where references lead. Both raise ValueError, with the rest of a sentence about the option, and no value."""

    def variable(self, name: str) -> str:
        """Return the value of an environment variable."""

    def file(self, path: str, written: str) -> str:
        """Return what a file holds; `written` is its path as it may be shown, before variables were replaced."""


class Local:
    """An environment and the files of this machine: for what its own operator wrote."""

    def __init__(self, environ: Mapping[str, str], folder: Path = Path(), opened: set[Path] | None = None) -> None:
        """Look variables up in `environ`; paths are relative to `folder`. `opened` gets those that are referred to."""
        self._environ = environ
        self._folder = folder
        self._opened = set() if opened is None else opened

    def variable(self, name: str) -> str:
        """Return the value of a variable that is set."""
        if name not in self._environ:
            raise ValueError(f"needs the environment variable {shown(name)}, which is not set")
        return self._environ[name]

    def file(self, path: str, written: str) -> str:
        """Return a file's text, UTF-8, without the line's end that most editors leave after it."""
        self._opened.add(self._folder / path)
        try:
            text = _read(self._folder / path).decode("utf-8").removesuffix("\n").removesuffix("\r")
            problem = "is empty" if not text else "is not text" if "\0" in text else ""
        except UnicodeDecodeError:
            problem = "is not UTF-8 text"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ValueError as error:
            problem = str(error)
        if problem:
            raise ValueError(f"needs the file {self._folder / written}, which {problem}") from None
        return text


def _read(path: Path) -> bytes:
    if "\0" in str(path):
        raise ValueError("has a name that no file can have")
    # Not blocking, or a named pipe would be waited for; a link, as Kubernetes makes them, is followed.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("is no regular file")
        content = file.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise ValueError(f"is larger than {LARGEST_FILE // 1024} KiB")
    return content


class Nothing:
    """No source at all: for what others wrote, who must not read this machine's files and environment by it."""

    def variable(self, name: str) -> str:
        """Refuse."""
        raise ValueError(f"refers to the environment ({name}), which only a subscriptions file may")

    def file(self, path: str, written: str) -> str:
        """Refuse."""
        raise ValueError("refers to a file, which only a subscriptions file may")


def expand(options: Mapping[Any, Any], sources: Sources) -> tuple[dict[Any, Any], list[tuple[str, str]]]:
    """Return the options with every reference replaced, and a pair of option and sentence for each that cannot be."""
    problems: list[tuple[str, str]] = []

    def replaced(text: str, path: str) -> str:
        try:
            return _expanded(text, sources)
        except _Problems as found:
            problems.extend((path, problem) for problem in found.sentences)
            return text

    return _mapped(options, replaced), problems


def escape(options: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return options whose texts mean themselves, as `expand` has to read them to get these."""
    return _mapped(options, lambda text, _: _TO_ESCAPE.sub("text:", text.replace("${", "$${")))


class _Problems(Exception):
    def __init__(self, sentences: list[str]) -> None:
        super().__init__()
        self.sentences = sentences


def _expanded(text: str, sources: Sources) -> str:
    reference = _REFERENCE.fullmatch(text)
    if reference is None:
        return _filled(_ESCAPED.sub("", text), sources)
    kind, name = reference.groups()
    try:
        if kind == "file":
            return sources.file(_filled(name, sources), name)
        if not re.fullmatch(_NAME, name):
            raise ValueError("has env: without the name of an environment variable; a plain env: is written text:env:")
        return sources.variable(name)
    except ValueError as error:
        raise _Problems([str(error)]) from None


def _filled(text: str, sources: Sources) -> str:
    """Return a text with its variables replaced."""
    problems: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        try:
            if match[1] is None:
                raise ValueError("has a ${ without a name and }; a plain ${ is written $${")
            return sources.variable(match[1])
        except ValueError as error:
            problems.append(str(error))
            return ""

    filled = _VARIABLE.sub(value, text)
    if problems:
        raise _Problems(problems)
    return filled


def _mapped(options: Mapping[Any, Any], change: Callable[[str, str], str]) -> dict[Any, Any]:
    """Return options with each text changed, given with its path, at any depth; keys stay as they are."""

    def walk(value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(item, f"{path}.{key}" if path else str(key)) for key, item in value.items()}
        if isinstance(value, list):
            return [walk(item, f"{path}[{index}]") for index, item in enumerate(value)]
        return change(value, path) if isinstance(value, str) else value

    return {key: walk(item, str(key)) for key, item in options.items()}
