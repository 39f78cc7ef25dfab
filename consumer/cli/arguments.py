"""Kinds of arguments that several commands take, read by functions of ours."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click

from consumer.selection import read_moment, read_rate, read_status
from consumer.settings.values import read_duration

T = TypeVar("T")


class Parsed(click.ParamType[T]):
    """An argument that is read by a function of ours; what that refuses is wrong usage, in its words."""

    def __init__(self, name: str, read: Callable[[str], T]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T:
        """Return what a text means."""
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


STATUS = Parsed("status", read_status)
MOMENT = Parsed("time", lambda text: read_moment(text, time.time()))
RATE = Parsed("rate", read_rate)
DURATION = Parsed("duration", read_duration)
