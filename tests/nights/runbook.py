"""What docs/operating.md tells somebody to do: the section of an alert comes in by name, its commands go out."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

OPERATING = Path(__file__).resolve().parents[2] / "docs/operating.md"
OURS, KAFKAS = "sprintly-services", ".sh"  # the program, and how those of Kafka's end
LOOK, DO = "What to look at", "What to do"

_COMMAND = re.compile(rf"^    ((?:\w+=\S+ )*)({OURS}|kafka-[a-z-]+\{KAFKAS}) (.+?)(?:\s{{2,}}# .*)?$")


@dataclass(frozen=True)
class Command:
    """One line that the documentation shows, to be typed as it stands, but for the words in capitals."""

    program: str
    arguments: tuple[str, ...]
    environ: tuple[tuple[str, str], ...] = ()

    def filled(self, **words: str) -> Command:
        """Put what is meant in the place of ID, FILE and the like."""
        return Command(self.program, tuple(words.get(each, each) for each in self.arguments), self.environ)

    def __str__(self) -> str:
        settings = [f"{name}={value}" for name, value in self.environ]
        return " ".join([*settings, self.program, *map(shlex.quote, self.arguments)])


Block: TypeAlias = tuple[Command, ...]
"""Commands that stand together, one line after the other."""


@dataclass(frozen=True)
class Section:
    """The commands of one section, in the order of the text."""

    name: str
    look: tuple[Block, ...]
    do: tuple[Block, ...]

    @property
    def commands(self) -> tuple[Command, ...]:
        """All of them."""
        return tuple(command for block in (*self.look, *self.do) for command in block)


def section(name: str, text: str | None = None) -> Section:
    """Return the section of this name; `text` is docs/operating.md unless it is given. Raises LookupError."""
    text = OPERATING.read_text("utf-8") if text is None else text
    found = re.search(rf"^#+ {re.escape(name)}\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise LookupError(f"docs/operating.md has no section {name}")
    return Section(name, blocks(_part(found[1], LOOK)), blocks(_part(found[1], DO)))


def blocks(text: str) -> tuple[Block, ...]:
    """Return the commands of a text, by the blocks in which they stand."""
    found: list[list[Command]] = [[]]
    for line in text.splitlines():
        if matched := _COMMAND.match(line):
            settings = (setting.split("=", 1) for setting in matched[1].split())
            environ = tuple((setting[0], setting[1]) for setting in settings)
            found[-1].append(Command(matched[2], tuple(shlex.split(matched[3])), environ))
        elif found[-1]:
            found.append([])
    return tuple(tuple(block) for block in found if block)


def _part(text: str, title: str) -> str:
    found = re.search(rf"^\*\*{title}\.\*\*(.*?)(?=^\*\*|\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""
