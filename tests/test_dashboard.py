"""The dashboard: the file is what the program makes, every panel is explained, and what it asks for exists."""

from __future__ import annotations

import pytest
from dashboard import FILE, build, encode
from observed import metric_names, panels
from panels import ROWS, SEEN
from prometheus import metric, selectors

PANELS = list(panels())


def test_the_file_is_what_the_program_makes() -> None:
    assert encode(build()) == FILE.read_text("utf-8"), "run make dashboard"
    assert encode(build()) == encode(build())


def test_what_changes_in_a_panel_changes_the_file() -> None:
    assert encode(build(ROWS[:-1])) != encode(build())


def test_all_panels_are_there_and_none_lies_on_another() -> None:
    assert [panel["title"] for panel in PANELS] == [panel.title for _row, some in ROWS for panel in some]
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in PANELS):
        cells = {(place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])}
        assert not taken & cells
        assert max(x for x, _y in cells) < 24
        taken |= cells


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_has_a_sentence_a_unit_and_what_was_chosen_on_top(panel: dict[str, object]) -> None:
    description = str(panel["description"])
    assert description.endswith(".")
    assert description.count(". ") == 0
    assert panel["fieldConfig"]["defaults"]["unit"]  # type: ignore[index]
    assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    targets = panel["targets"]
    assert isinstance(targets, list)
    assert targets
    for target in targets:
        assert target["legendFormat"]
        for selector in selectors(target["expr"]):
            assert SEEN in selector


def test_every_metric_that_a_panel_reads_exists() -> None:
    read = {metric(selector) for panel in PANELS for t in panel["targets"] for selector in selectors(t["expr"])}
    assert read - metric_names() == set()


def test_every_metric_of_ours_stands_in_a_panel() -> None:
    text = FILE.read_text("utf-8")
    families = {name.removesuffix("_bucket").removesuffix("_count").removesuffix("_sum") for name in metric_names()}
    ours = {name for name in families if name.startswith("sprintly_")}
    assert [name for name in sorted(ours) if name not in text] == []
