"""The summary of a run in a few lines: from where `ours` pays, and how much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from sparsebench.analysis.crossover import NEVER, crossover
from sparsebench.analysis.grouping import group
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.point import LEAD, Point
from sparsebench.views import units

TYPICAL = 0.9


def answers(phases: Mapping[str, Sequence[Point]]) -> Table:
    """Return a line per phase and batch, each a range over the widths."""
    ours = {
        phase: [p for p in points if p.case.implementation == LEAD]
        for phase, points in phases.items()
    }
    sparsity = min(
        {p.case.sparsity for points in ours.values() for p in points},
        key=lambda s: (abs(s - TYPICAL), s),
    )
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    at = units.percent(sparsity)
    for title in ("", "batch", "faster than dense from", f"speed-up at {at}", f"memory at {at}"):
        table.add_column(title, justify="right" if title == "batch" else "left", no_wrap=True)
    for phase, points in ours.items():
        for row, ((batch,), members) in enumerate(group(points, "batch").items()):
            typical = [p for p in members if p.case.sparsity == sparsity]
            table.add_row(
                Text(phase.replace("_", " "), style="bold") if row == 0 else "",
                str(batch),
                _pays(members),
                Text(_range(typical, "speedup"), style="bold"),
                _range(typical, "memory_ratio"),
            )
    return table


def _pays(points: Sequence[Point]) -> Text:
    """Return the range of the crossovers of all widths, green where all of them pay somewhere."""
    found = [c for m in group(points, "size").values() if (c := crossover(m)) is not None]
    if not found:
        if any(p.unsure and p.baseline is not None for p in points):
            return Text("disturbed by other work: nothing is concluded", style="yellow")
        return Text("dense was not timed", style="yellow")
    told = sorted((c for c in found if c.told), key=lambda crossing: crossing.sparsity.value)
    if not told:
        return Text(units.CANNOT_TELL, style="yellow")
    text = " to ".join(dict.fromkeys(units.sparsity(c.sparsity.value) for c in (told[0], told[-1])))
    text += units.UNKNOWN * any(not c.sparsity.known for c in told)
    never = [c.sparsity.value == NEVER for c in told]
    if len(told) < len(found):
        return Text(f"{text}, or {units.CANNOT_TELL}", style="yellow")
    return Text(text, style="red" if all(never) else "yellow" if any(never) else "green")


def _range(points: Sequence[Point], metric: str) -> str:
    sure = [p for p in points if metric == "memory_ratio" or not p.unsure]
    found = [e for p in sure if (e := METRICS[metric].of(p)) is not None]
    if not found:
        return ""
    values = [e.value for e in found]
    text = " to ".join(dict.fromkeys((units.ratio(min(values)), units.ratio(max(values)))))
    return text + units.UNKNOWN * any(not e.known for e in found)
