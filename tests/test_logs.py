"""Logs: each line is whole, says when and who, and holds nothing that was not passed to it."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import warnings
from datetime import datetime, timedelta
from typing import Any

import pytest

from consumer import logs
from consumer.errors import BrokerError

pytestmark = pytest.mark.usefixtures("logging_as_it_was")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def fail(secret: str) -> None:
    """Raise while a local variable holds a secret, and with a text that does."""
    try:
        raise KeyError(secret)
    except KeyError as error:
        raise BrokerError("no broker at all") from ExceptionGroup(secret, [error, ValueError(secret)])


def test_a_json_line_says_what_when_who_and_how_bad() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logs.get_logger("consumer.pipeline").warning("delivery_failed", delivery="d1", status=500)
    [line] = lines(stream)
    timestamp = datetime.fromisoformat(line.pop("timestamp"))
    assert timestamp.utcoffset() == timedelta(0)
    assert line == {
        "event": "delivery_failed",
        "level": "warning",
        "logger": "consumer.pipeline",
        "delivery": "d1",
        "status": 500,
    }


def test_less_than_the_level_is_not_written() -> None:
    stream = io.StringIO()
    logs.configure("json", "warning", stream)
    logger = logs.get_logger("consumer.x")
    logger.info("quiet")
    logger.warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


def test_a_logger_made_before_follows_the_configuration() -> None:
    logger = logs.get_logger("consumer.early")
    for level, expected in (("error", 0), ("debug", 1)):
        stream = io.StringIO()
        logs.configure("json", level, stream)
        logger.info("now")
        assert len(lines(stream)) == expected


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_exception_is_shown_without_values(log_format: str) -> None:
    stream = io.StringIO()
    logs.configure(log_format, "info", stream)
    try:
        fail("pl" + "anted")
    except BrokerError:
        logs.get_logger("consumer.x").exception("broken")
    text = stream.getvalue()
    assert "planted" not in text
    for said in ("KeyError", "ValueError", "ExceptionGroup", "BrokerError: no broker at all", "in fail"):
        assert said in text


def test_what_nobody_catches_is_told_without_values() -> None:
    program = """if True:
        import sys, threading
        from consumer.traces import speak_safely
        class Reluctant:
            def __del__(self): raise ValueError(sys.argv[1] + "1")
        def fail(): raise ValueError(sys.argv[1] + "2")
        speak_safely()
        Reluctant()
        thread = threading.Thread(target=fail)
        thread.start()
        thread.join()
        raise KeyError(sys.argv[1] + "3")
    """
    done = subprocess.run([sys.executable, "-c", program, "planted"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 3
    assert done.stderr.rstrip().endswith("KeyError")
    assert "planted" not in done.stderr


def test_text_from_outside_stays_on_its_line() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logs.get_logger("consumer.x").info("odd", text='a\n{"event": "forged"}\udcff')
    [line] = lines(stream)
    assert line["text"] == 'a\n{"event": "forged"}\udcff'


@pytest.mark.parametrize(
    ("log_format", "stream", "is_json"),
    [
        ("auto", io.StringIO(), True),
        ("auto", Terminal(), False),
        ("json", Terminal(), True),
        ("console", io.StringIO(), False),
    ],
)
def test_auto_is_console_on_a_terminal(log_format: str, stream: io.StringIO, is_json: bool) -> None:
    logs.configure(log_format, "info", stream)
    logs.get_logger("consumer.x").info("hello")
    assert stream.getvalue().startswith("{") is is_json
    assert stream.getvalue().count("\n") == 1


def test_there_are_colours_on_a_terminal_only() -> None:
    for stream, coloured in ((Terminal(), True), (io.StringIO(), False)):
        logs.configure("console", "info", stream)
        logs.get_logger("consumer.x").info("hello")
        assert ("\x1b[" in stream.getvalue()) is coloured


def test_stdlib_logging_and_warnings_come_out_alike() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logging.getLogger("somebody.else").warning("it is %s", "late")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old way", DeprecationWarning, stacklevel=1)
    late, old = lines(stream)
    assert (late["event"], late["level"], late["logger"]) == ("it is late", "warning", "somebody.else")
    assert "old way" in old["event"]
    assert old["logger"] == "py.warnings"


def test_other_libraries_are_heard_from_warnings_upwards_even_when_debugging() -> None:
    stream = io.StringIO()
    logs.configure("json", "debug", stream)
    logging.getLogger("urllib3.connectionpool").debug("POST /services/T0/planted")
    logging.getLogger("urllib3.connection").warning("Failed to parse headers (url=https://x/planted)")
    logging.getLogger("apprise").warning("Could not load URL: json://x/planted")
    logging.getLogger("asyncio").info("using selector")
    logs.get_logger("consumer.x").debug("ours")
    assert [line["event"] for line in lines(stream)] == ["ours"]


def test_configuring_again_does_not_double_the_lines() -> None:
    stream = io.StringIO()
    logs.configure("json", "info", stream)
    logs.configure("json", "info", stream)
    logging.getLogger("somebody").warning("once")
    logs.get_logger("consumer.x").info("once")
    assert len(lines(stream)) == 2
