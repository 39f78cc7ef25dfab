"""Tables: folded to the terminal that they are printed on, and elsewhere one line a row."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from consumer.cli import output

ROW = ("3f2a0c1e", "word " * 60, "4bf92f3577b34da6a3ce929d0e0e4736")


def test_a_row_is_one_line_where_no_terminal_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    output.print_table(["id", "error", "trace"], [ROW, ROW])
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["id", "error", "trace"]
    assert [row.split() for row in rows] == [" ".join(ROW).split()] * 2


def test_a_table_on_a_terminal_is_folded_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(
        output, "Console", lambda: Console(file=screen, force_terminal=True, color_system=None, width=80)
    )
    output.print_table(["id", "error", "trace"], [ROW], unbroken=1)
    lines = screen.getvalue().splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 80
