"""Tables and plots of scale records. They never measure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rich.console import Console

from sparsebench.scale.records import STAGES, Cost, ScaleRecord, Stage
from sparsebench.views.plots import style
from sparsebench.views.plots.axes import quantity_axis
from sparsebench.views.tables import Table, printed
from sparsebench.views.tables.writers import write as write_table
from sparsebench.views.units import quantity

# What a multiplication reads of each connection: its value and its index.
READ = 8
LEAST_SPAN = 6.0  # of a logarithmic axis: of 1, 2, 5, 10, 20, … two lie within it
_SHOWN: tuple[Stage, ...] = ("construction", "inference", "training step", "SET")
# So that the table of memory fits a terminal of 80 columns.
_SHORT = {"construction": "build", "inference": "infer", "training step": "train"}
_OF_MEMORY = (
    "Bytes of memory per connection, activations included: its arrays, what is held once it has "
    "trained, and the peak of every stage"
)
_COLOURS = (style.VERMILION, style.BLUE, style.GREEN, style.PURPLE)


def seconds(cost: Cost) -> float:
    """Return the median of a stage's calls."""
    return statistics.median(cost.samples)


def write(records: Sequence[ScaleRecord], folder: Path, console: Console) -> None:
    """Write `folder`/tables and `folder`/plots, and print the tables."""
    for name in ("tables", "plots"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for table in tables(records):
        write_table(table, folder / "tables")
        console.print(printed(table, whole=2))
    with style.styled():
        for name, figure in figures(records):
            style.save(figure, folder / "plots" / name)


def plain(records: Sequence[ScaleRecord]) -> list[dict[str, Any]]:
    """Return records as JSON has them: seconds are medians, everything else is as it was taken."""
    return [
        record.case.model_dump()
        | {
            "connections": record.case.connections,
            "status": record.status,
            "message": record.message,
            "arrays": record.arrays,
            "machine": record.machine.get("id"),
            "stages": {
                stage: {"seconds": seconds(cost)} | cost.model_dump(exclude={"samples"})
                for stage, cost in record.costs.items()
            },
        }
        for record in _sorted(records)
    ]


def tables(records: Sequence[ScaleRecord]) -> Iterator[Table]:
    """Yield time and bytes per connection, and what files took, one row for each layer."""
    if not records:
        return
    numbers, times, memory, files = [], [], [], []
    for record in _sorted(records):
        case = record.case
        label = {"width": f"{case.width:,}", "connections": f"{case.connections:,}"}
        if record.status != "ok":
            times.append(label | dict.fromkeys(STAGES[:5], "") | {"": record.message})
            continue
        row: dict[str, float] = {"width": case.width, "per output": case.per_output}
        for stage, cost in record.costs.items():
            row |= {
                f"{stage} [s]": seconds(cost),
                f"{stage} peak [B]": cost.peak,
                f"{stage} held [B]": cost.held,
            }
        numbers.append(row)
        per = 1 / case.connections
        found = {stage: record.costs.get(stage) for stage in STAGES}
        times.append(
            label
            | {s: quantity(seconds(c) * per, "s") if c else "" for s, c in found.items()
               if s not in ("save", "load")}
        )  # fmt: skip
        memory.append(
            label
            | {
                "arrays": f"{record.arrays * per:.1f}",
                "held": f"{record.costs['training step'].held * per:.1f}",
            }
            | {_SHORT.get(s, s): f"{c.peak * per:.1f}" if c else "" for s, c in found.items()}
        )
        files.append(label | {"arrays": quantity(record.arrays, "B")} | _files(record))
    where = _conditions(records)
    frame = pd.DataFrame(numbers)
    for name, caption, text in (
        ("times", "Time per connection", times),
        ("memory", _OF_MEMORY, memory),
        ("files", "Files: the layer's, beside plain writing and reading of as many bytes", files),
    ):
        shown = pd.DataFrame(text).fillna("").astype(str)
        yield Table(f"scale-{name}", f"{caption}; {where}", frame, shown)


def figures(records: Sequence[ScaleRecord]) -> Iterator[tuple[str, Figure]]:
    """Yield the plots: time, and bytes, per connection against the number of connections."""
    finished = [record for record in _sorted(records) if record.status == "ok"]
    if not finished:
        return
    for name, unit, label, title in (
        ("scale-times", "s", "time per connection", "Time per connection"),
        ("scale-memory", "B", "peak memory per connection", "Memory per connection"),
    ):
        figure = Figure(figsize=(9.5, 5.6), layout="constrained")
        for axes, stage in zip(figure.subplots(2, 2, sharex=True).flat, _SHOWN, strict=True):
            _panel(axes, stage, finished, times=name == "scale-times")
            axes.set(title=stage, xscale="log", ylabel=label)
            _quantity_axis(axes, unit)
        for axes in figure.axes[2:]:
            axes.set_xlabel("connections")
        degrees = sorted({record.case.per_output for record in finished})
        lines = [
            Line2D([], [], color=c, marker="o", label=f"{d} per output")
            for d, c in zip(degrees, _COLOURS, strict=False)
        ]
        if name == "scale-times":
            lines += [
                Line2D([], [], color=style.GREY, label="connections fill L1d, L2, L3"),
                Line2D([], [], color=style.BLACK, linestyle=":", label="inputs fill L3"),
            ]
        style.head(figure, title, _conditions(records), [], *lines)
        yield name, figure


def _panel(axes: Axes, stage: Stage, records: list[ScaleRecord], *, times: bool) -> None:
    caches = _caches(records[0])
    degrees = sorted({record.case.per_output for record in records})
    for degree, colour in zip(degrees, _COLOURS, strict=False):
        own = [r for r in records if r.case.per_output == degree and stage in r.costs]
        x = [r.case.connections for r in own]
        y = [
            (seconds(r.costs[stage]) if times else r.costs[stage].peak) / r.case.connections
            for r in own
        ]
        axes.plot(x, y, color=colour, marker="o")
        if times and "L3" in caches:
            inputs = 4 * records[0].case.batch  # bytes for each of `width`
            axes.axvline(caches["L3"] / inputs * degree, color=colour, linestyle=":")
    if times:
        for size in caches.values():
            axes.axvline(size / READ, color=style.GREY, linewidth=0.8)


def _quantity_axis(axes: Axes, unit: str) -> None:
    """Make y a logarithmic axis of `unit` so long that two ticks lie on it."""
    low, high = axes.dataLim.intervaly
    wider = max(1.1, (LEAST_SPAN * low / high) ** 0.5)
    axes.set_ylim(low / wider, high * wider)
    quantity_axis(axes, unit)


def _caches(record: ScaleRecord) -> dict[str, int]:
    """The sizes in bytes of the caches that hold data, by level."""
    found = record.machine.get("cpu", {}).get("caches", {})
    units = {"K": 2**10, "M": 2**20}
    return {
        level: int(size[:-1]) * units[size[-1]]
        for level, size in found.items()
        if level in ("L1d", "L2", "L3") and size[-1] in units
    }


def _files(record: ScaleRecord) -> dict[str, str]:
    shown: dict[str, str] = {}
    stages: tuple[Stage, ...] = ("save", "load")
    for stage in stages:
        cost = record.costs[stage]
        shown |= {
            stage: quantity(seconds(cost), "s"),
            f"{stage}, plainly": quantity(cost.compared or 0.0, "s"),
            f"{stage}: peak over arrays": f"{cost.peak / record.arrays:.2f}",
        }
    return shown


def _conditions(records: Sequence[ScaleRecord]) -> str:
    case, machine = records[0].case, records[0].machine
    cpu = machine.get("cpu", {}).get("model", "")
    threads = "thread" if case.threads == 1 else "threads"
    return f"{cpu}, {case.threads} {threads}, batch {case.batch}, float32"


def _sorted(records: Sequence[ScaleRecord]) -> list[ScaleRecord]:
    return sorted(records, key=lambda r: (r.case.per_output, r.case.width))
