"""Axes: logarithmic all, and labelled in the words of the field."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from numpy.typing import NDArray

from sparsebench.views import units

Panels = NDArray[Any]  # of Axes, rows by columns


class Readable(FuncFormatter):
    """Labels of an axis whose values can be read off a page, too; `kind` says what they are.

    "sparsity" for density, "×" for ratios, a unit, or "" for plain numbers.
    """

    def __init__(self, kind: str, show: Callable[[float], str]) -> None:
        super().__init__(lambda value, _: show(value))
        self.kind = kind


def sparsity_axis(axes: Axes, sparsities: Sequence[float], *, label: bool = True) -> None:
    """Make x an axis of density, logarithmic and falling, that is labelled with sparsity.

    Every halving of the weights takes the same width: 98% is as far from 99% as 50% from 75%.
    """
    densities = sorted({1.0 - s for s in sparsities}, reverse=True)
    axes.set_xscale("log")
    pad = (densities[0] / densities[-1]) ** 0.06 if len(densities) > 1 else 1.5
    axes.set_xlim(densities[0] * pad, densities[-1] / pad)
    axes.xaxis.set_major_locator(FixedLocator(_spread(densities, min_ratio=1.6)))
    axes.xaxis.set_major_formatter(Readable("sparsity", lambda d: units.percent(1.0 - d)))
    axes.xaxis.set_minor_locator(NullLocator())
    if label:
        axes.set_xlabel("sparsity")


def sparsity_axes(grid: Panels, sparsities: Sequence[float]) -> None:
    """Make the x that all panels share, rows by columns, such an axis; labelled below the last row.

    What is set on one axis holds for those that share it. To set it on each takes time that grows
    with the square of their number.
    """
    sparsity_axis(grid[0, 0], sparsities, label=False)
    for axes in grid[-1]:
        axes.set_xlabel("sparsity")


def ratio_axis(axes: Axes, low: float, high: float, *, which: str = "y") -> None:
    """Make an axis of ratios logarithmic, with ticks at 1, 2, 5, 10 and so on."""
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    axis = axes.yaxis if which == "y" else axes.xaxis
    steps = (1, 2, 5) if high / low < 300 else (1, 3) if high / low < 2000 else (1,)
    ticks = [step * 10.0**e for e in range(-6, 7) for step in steps]
    # Only those that will be seen: each takes a tenth of a millisecond in every panel.
    axis.set_major_locator(FixedLocator([tick for tick in ticks if low <= tick <= high]))
    axis.set_major_formatter(Readable("×", lambda value: f"{value:g}×"))
    axis.set_minor_locator(NullLocator())
    (axes.set_ylim if which == "y" else axes.set_xlim)(low, high)


def quantity_axis(axes: Axes, unit: str, *, which: str = "y") -> None:
    """Make an axis of a quantity logarithmic, with prefixed units at the ticks."""
    (axes.set_yscale if which == "y" else axes.set_xscale)("log")
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_locator(_decades(axis))
    axis.set_major_formatter(Readable(unit, lambda value: units.quantity(value, unit, digits=1)))
    axis.set_minor_locator(NullLocator())


def number_axis(axes: Axes) -> None:
    """Make x logarithmic, with plain numbers at the ticks."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(_decades(axes.xaxis))
    axes.xaxis.set_major_formatter(Readable("", lambda value: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


class _Seen(LogLocator):
    """Ticks of a logarithmic axis that are seen: others would be made, and hidden."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        low, high = sorted((vmin, vmax))
        found = super().tick_values(vmin, vmax)
        return [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def _decades(axis: Axis) -> LogLocator:
    """Return ticks at powers of ten, and at 2 and 5 times them where there would be few."""
    low, high = axis.get_view_interval()
    return _Seen(subs=(1.0, 2.0, 5.0) if high / low < 100 else (1.0,))


def _spread(densities: Sequence[float], *, min_ratio: float) -> list[float]:
    """Return the densities that are far enough apart to be labelled, the sparsest first kept."""
    kept: list[float] = []
    for density in reversed(densities):
        if not kept or density / kept[-1] >= min_ratio:
            kept.append(density)
    return kept[::-1]
