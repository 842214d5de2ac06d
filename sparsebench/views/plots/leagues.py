"""Who is how far behind the fastest, over all problems of a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sparsebench.analysis.grouping import group, split
from sparsebench.analysis.league import Outcome, Standing, league
from sparsebench.analysis.metrics import behind
from sparsebench.analysis.order import main_phases
from sparsebench.analysis.point import Point
from sparsebench.views import units
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import ratio_axis

_SAID: dict[Outcome, str] = {"win": "won", "tie": "tied", "fastest": f"ahead{units.UNKNOWN}"}


def leagues(points: Sequence[Point]) -> Iterator[tuple[str, Figure]]:
    """Yield a figure with a panel per phase and a line per implementation."""
    for part in split(points):
        if len({p.case.implementation for p in part.points if p.ok}) > 2:
            yield "-".join(filter(None, ("league", part.name))), _figure(part.points, part.title)


def _figure(points: Sequence[Point], conditions: str) -> Figure:
    members = group(points, "phase")
    phases = {phase: league(members[phase,]) for phase in main_phases(points)}
    lines = max(len(standings) for standings in phases.values())
    figure = Figure(figsize=(7.2, 0.6 + len(phases) * (0.5 + 0.27 * lines)), layout="constrained")
    panels = figure.subplots(len(phases), 1, squeeze=False, sharex=True)[:, 0]
    names = sorted({p.case.implementation for p in points})
    for axes, (phase, standings) in zip(panels, phases.items(), strict=True):
        axes.set_title(style.phase_title(phase), loc="left")
        for line, standing in enumerate(standings):
            own = [p for p in members[phase,] if p.case.implementation == standing.implementation]
            _draw(axes, standing, own, line, names)
        axes.set_yticks(range(len(standings)), [s.implementation for s in standings])
        axes.set_ylim(len(standings) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
    slowest = max(ratio for p in points if (ratio := behind(p)) is not None)
    ratio_axis(panels[0], 0.9, slowest * 1.25, which="x")  # which all share
    panels[-1].set_xlabel("time over that of the fastest implementation of the same problem")
    style.plain_head(figure, "Who is how far behind the fastest", conditions)
    return figure


def _draw(
    axes: Axes, standing: Standing, points: Sequence[Point], line: int, names: Sequence[str]
) -> None:
    look = style.of(standing.implementation, names) | {"linestyle": ""}
    sure = [p for p in points if not p.disturbed]
    ratios = [ratio for p in sure if (ratio := behind(p)) is not None]
    # Spread by a fixed low-discrepancy sequence: random jitter would change from run to run.
    heights = line + 0.5 * (np.arange(len(ratios)) * 0.618034 % 1.0 - 0.5)
    dots = look | style.marks(len(ratios)) | {"marker": ".", "markersize": 5, "alpha": 0.5}
    axes.plot(ratios, heights, **dots)
    if standing.relative_time is not None:
        axes.plot(standing.relative_time.value, line, **look | {"markersize": 8})
    time = standing.relative_time
    words = [] if time is None else [units.interval(time)]
    for outcome, said in _SAID.items():
        if count := standing.outcomes[outcome]:
            words.append(f"{count} of {standing.problems} {said}")
    words += [f"{n} {status}" for status, n in sorted(standing.failures.items())]
    axes.annotate(
        ", ".join(words),
        (1.02, line),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=7.5,
        color="#333333",
    )
