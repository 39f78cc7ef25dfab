"""Logs: events with named values come in, lines on stderr go out, as JSON or for a person at a terminal.

Values that hold secrets (option values, addresses that may carry a token, headers, bodies, `SPRINTLY_KAFKA`) are never
passed to a logger: no mask could tell them from the rest afterwards. Exceptions are rendered without the values of
their local variables, and without their texts unless they are this application's own; what other libraries log below a
warning is left out, for the same reason.
"""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any, TextIO, TypeAlias

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from consumer.traces import told


def configure(log_format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send what is logged from now on, by this application and by stdlib's logging and warnings, to one stream.

    `log_format` is json, console or auto (console if the stream is a terminal), `level` the least one of ours that
    is written, `stream` stderr unless another is given. Before this is called, structlog writes to stdout.
    """
    target = stream or sys.stderr
    renderers = _renderers(log_format, terminal=target.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*_ENRICHERS, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=lambda name="": _Writer(target, name),
        cache_logger_on_first_use=False,  # or a logger made at import time would miss a later configuration
    )
    _capture_stdlib(target, renderers, threshold)


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of a module, given `__name__`; its lines carry that name as `logger`."""
    logger: FilteringBoundLogger = structlog.get_logger(name)
    return logger


_ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]


class _Writer(structlog.WriteLogger):
    """Writes whole lines to a stream, and knows its name, as stdlib's loggers do."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream)
        self.name = name


_ENRICHERS: tuple[Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def _renderers(log_format: str, *, terminal: bool) -> list[Processor]:
    if log_format == "console" or (log_format == "auto" and terminal):
        return [structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=_write_told)]
    return [structlog.processors.ExceptionRenderer(_format_told), structlog.processors.JSONRenderer()]


def _format_told(exc_info: _ExcInfo) -> str:
    return told(exc_info[1])


def _write_told(stream: TextIO, exc_info: Any) -> None:
    stream.write("\n" + told(exc_info[1]))


def _capture_stdlib(target: TextIO, renderers: list[Processor], threshold: int) -> None:
    """Replace the root's handlers by one that writes the same lines; other libraries speak from warnings upwards.

    Below that they tell what they send where: urllib3 logs each address that it posts to, tokens included, and the
    whole address even in a warning about headers it could not parse.
    """
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_ENRICHERS,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(threshold, logging.WARNING))
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    # What Apprise warns of may hold parts of its addresses; the service quotes it with those masked.
    logging.getLogger("apprise").propagate = False
    logging.captureWarnings(True)
