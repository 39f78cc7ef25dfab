"""Requests kept as files, to be read in a review; WRITE_REQUESTS=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def compare(text: str, file: Path) -> None:
    """Fail if the text is not the one on file; with WRITE_REQUESTS=1, write it there instead, and skip."""
    if os.environ.get("WRITE_REQUESTS"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
        pytest.skip(f"{file.name} is written, not compared")
    assert text == file.read_text("utf-8")
