"""The dashboard: the rows of panels.py go in, deploy/grafana.json comes out, always the same bytes.

python deploy/observability/dashboard.py     # what `make dashboard` runs
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
from grafana_foundation_sdk.builders import common as look
from grafana_foundation_sdk.builders import dashboard as grafana
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model
from panels import ROWS, Panel, Rows

FILE = Path(__file__).resolve().parents[1] / "grafana.json"
UID = "sprintly-services"  # Grafana finds by it the dashboard that a newer file takes the place of
SOURCE = model.DataSourceRef(type_val="prometheus", uid="${datasource}")
WIDTH, HEIGHT = 24, 8  # of the grid, and of a panel on it


def build(rows: Rows = ROWS) -> model.Dashboard:
    """Return the dashboard with these rows."""
    made = (
        grafana.Dashboard("Sprint.ly outbound services")
        .uid(UID)
        .description("What comes from Kafka, what third parties get of it, and what is still owed to whom.")
        .tags(["sprintly", "kafka"])
        .readonly()
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("30s")
        .timezone("browser")
    )
    for variable in _variables():
        made = made.with_variable(variable)
    number = 0
    for title, panels in rows:
        number += 1
        made = made.with_row(grafana.Row(title).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(_panel(panel, number, _width(panels)))
    return made.build()


def _width(panels: tuple[Panel, ...]) -> int:
    """Figures stand in one line, charts three in a line."""
    return WIDTH // len(panels) if panels[0].figure else WIDTH // 3


def _panel(panel: Panel, number: int, width: int) -> stat.Panel | timeseries.Panel:
    made: stat.Panel | timeseries.Panel = _figure() if panel.figure else _chart(panel)
    made.id(number).title(panel.title).description(panel.description).unit(panel.unit).datasource(SOURCE)
    made.span(width).height(HEIGHT // 2 if panel.figure else HEIGHT)
    made.color_scheme(grafana.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC))
    for query, name in zip(panel.queries, "ABCDEFGH", strict=False):
        made.with_target(
            prometheus.Dataquery()
            .expr(query.expression)
            .legend_format(query.legend)
            .ref_id(name)
            .range()
            .datasource(SOURCE)
        )
    return made


def _figure() -> stat.Panel:
    return stat.Panel().reduce_options(look.ReduceDataOptions().calcs(["lastNotNull"]).values(False))


def _chart(panel: Panel) -> timeseries.Panel:
    stacking = common.StackingMode.NORMAL if panel.stacked else common.StackingMode.NONE
    return (
        timeseries.Panel()
        .min(0)
        .draw_style(common.GraphDrawStyle.LINE)
        .line_width(1)
        .fill_opacity(30 if panel.stacked else 0)
        .show_points(common.VisibilityMode.NEVER)
        .stacking(look.StackingConfig().mode(stacking))
        .tooltip(look.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI))
        .legend(
            look.VizLegendOptions()
            .show_legend(True)
            .display_mode(common.LegendDisplayMode.LIST)
            .placement(common.LegendPlacement.BOTTOM)
        )
    )


def _variables() -> Iterator[grafana.DatasourceVariable | grafana.QueryVariable]:
    yield grafana.DatasourceVariable("datasource").label("Prometheus").type("prometheus")
    yield _labels("job", "Job", "label_values(sprintly_build_info, job)")
    yield _labels("instance", "Replica", 'label_values(sprintly_build_info{job=~"$job"}, instance)')


def _labels(name: str, label: str, query: str) -> grafana.QueryVariable:
    return (
        grafana.QueryVariable(name)
        .label(label)
        .query({"query": query, "refId": name})
        .datasource(SOURCE)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .current(model.VariableOption(text="All", value="$__all", selected=True))
    )


def encode(dashboard: model.Dashboard) -> str:
    """Return the dashboard as the file's text, always the same for the same dashboard."""
    return JSONEncoder(indent=2, sort_keys=True, ensure_ascii=False).encode(dashboard) + "\n"


@click.command(help=__doc__)
def main() -> None:
    """Write the file."""
    FILE.write_text(encode(build()), "utf-8")
    click.echo(f"{FILE.name} is written: {sum(len(panels) for _title, panels in ROWS)} panels")


if __name__ == "__main__":
    main()
