"""Forbidden destinations, tried for real in a network namespace without a route; see forbidden.py."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from forbidden import SECONDS, Try, right
from kafka import REQUIRED

SCRIPT = Path(__file__).with_name("forbidden.py")


def test_a_hundred_forbidden_destinations_are_refused_and_none_is_connected_to() -> None:
    if shutil.which("unshare") is None and not REQUIRED:
        pytest.skip("no unshare here, which makes network namespaces")

    ran = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, timeout=SECONDS, check=False)

    assert ran.returncode == 0, ran.stdout[-4_000:] + ran.stderr
    assert "128 destinations; connections: 0; where 127.0.0.0/8 is allowed: 2 of 2" in ran.stdout


@pytest.mark.parametrize(
    "row",
    [
        Try("private", "http://10.0.0.1/", "tried", "refused"),
        Try("private", "http://10.0.0.1/", "refused", "tried"),
        Try("loopback", "http://127.0.0.1/", "answered 200", "refused"),
        Try("loopback", "http(s)://127.0.0.1/", "refused / tried", "refused"),
        Try("redirect 302", "to http://127.0.0.2/", "answered 200", "answered 302"),
        Try("public", "http://8.8.8.8/", "refused", "tried"),
    ],
)
def test_what_came_to_something_else_is_noticed(row: Try) -> None:
    assert not right(row)
