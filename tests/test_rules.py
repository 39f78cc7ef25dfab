"""The rules that `rules.py` takes away are there to be taken, and the simulation is not blind to their absence."""

from __future__ import annotations

from pathlib import Path

import pytest
from rules import FIRST_SEED, ROOT, RULES, Rule, main, missed

BY_NAME = {rule.name: rule for rule in RULES}


@pytest.mark.parametrize("rule", RULES, ids=BY_NAME)
def test_each_rule_can_be_taken_away(rule: Rule, tmp_path: Path) -> None:
    path = tmp_path / rule.file
    path.parent.mkdir()
    path.write_text((ROOT / rule.file).read_text())
    rule.take_away(tmp_path)
    compile(path.read_text(), rule.file, "exec")
    assert path.read_text() != (ROOT / rule.file).read_text()
    with pytest.raises(ValueError, match=f"{rule.name}: {rule.file} has 0 places"):
        rule.take_away(tmp_path)


def test_the_simulation_misses_a_rule_and_names_a_seed() -> None:
    verdict = missed(BY_NAME["floor"], 100)
    assert verdict.seed is not None
    assert FIRST_SEED <= verdict.seed < FIRST_SEED + 100
    assert "which is not owed" in verdict.notice


def test_a_rule_that_nobody_misses_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    harmless = Rule("harmless", "a comment", "consumer/flow.py", '"""One subscription', '"""Some subscription')
    assert main(["--schedules", "5"], (harmless,)) == 1
    printed = capsys.readouterr().out
    assert "harmless           NOT MISSED in 5 schedules: a comment" in printed
    assert "0 of 1 rules" in printed


def test_a_misspelt_rule_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["florr"])
    assert "no such rule: florr; there are watermark, floor" in capsys.readouterr().err
