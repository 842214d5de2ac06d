"""What the connections of trained networks look like, method by method, as one figure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from sparsebench.training.groups import Group
from sparsebench.training.views.topology_table import SHARES, row_of
from sparsebench.views import units
from sparsebench.views.plots.style import BLUE, plain_head


def of(every: Sequence[Group]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure for each experiment of which two rows or more recorded their connections."""
    for name in dict.fromkeys(group.setting.experiment for group in every):
        own = [group for group in every if group.setting.experiment == name]
        rows = [row for group in own if (row := row_of(group)) is not None]
        if len(rows) > 1:
            rows.sort(key=lambda row: row["sparsity"])
            setting = own[0].setting
            yield f"connections-{name}", _draw(rows, f"{setting.dataset}, all sparse layers")


def _draw(rows: Sequence[dict[str, Any]], conditions: str) -> Figure:
    shown = [share for share in SHARES if all(row[share] is not None for row in rows)]
    figure = Figure(figsize=(2.0 * len(shown) + 2.2, 0.22 * len(rows) + 1.4), layout="constrained")
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    places = range(len(rows))
    for axes, share in zip(panels, shown, strict=True):
        axes.barh(places, [row[share] for row in rows], color=BLUE, height=0.6)
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel(share)
    names = [f"{row['row']} ({units.percent(row['sparsity'])})" for row in rows]
    panels[0].set_yticks(places, names, fontsize="small")
    panels[0].invert_yaxis()
    plain_head(figure, "The connections after training", conditions)
    return figure
