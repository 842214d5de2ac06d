"""The topology of a model as one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from sparselayers.analysis.degrees import degrees
from sparselayers.analysis.turnover import Turnover
from sparselayers.layer import SparseLayer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(model: nn.Module, *, turnover: Turnover | None = None) -> Figure:
    """Return a figure with the degree distributions of each sparse layer's outputs and inputs.

    With `turnover`, a panel below has the share of connections that each rewiring replaced, and of
    all places that were explored. The figure is not shown, and no window is opened. Needs
    matplotlib.

    Raises ValueError where the model has no sparse layers, and ModuleNotFoundError where matplotlib
    is missing.
    """
    layers = {n: m for n, m in model.named_modules() if isinstance(m, SparseLayer)}
    if not layers:
        raise ValueError("the model has no sparse layers")
    try:
        from matplotlib.figure import Figure  # here, since sparselayers does not depend on it
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("figures need matplotlib: pip install matplotlib") from error
    below = turnover is not None
    figure = Figure(figsize=(3.2 * max(2, len(layers)), 5 + 2.5 * below), layout="constrained")
    grid = figure.add_gridspec(2 + below, len(layers))
    for column, (name, layer) in enumerate(layers.items()):
        found = degrees(layer.connectivity)
        dead = found.dead_outputs, found.dead_inputs
        for row, (side, counts) in enumerate((("output", found.outputs), ("input", found.inputs))):
            axes = figure.add_subplot(grid[row, column])
            axes.hist(counts.cpu().numpy(), bins=min(30, max(1, int(counts.max()) + 1)))
            axes.set_xlabel(f"connections of an {side}")
            axes.set_ylabel(f"{side}s" if column == 0 else "")
            title = f"{name or 'layer'}: {layer.sparsity:.1%} sparse\n" if row == 0 else ""
            axes.set_title(f"{title}{dead[row]} {side}s without any", fontsize="small")
    if turnover is not None:
        _add_turnover(figure.add_subplot(grid[2, :]), turnover)
    return figure


def _add_turnover(axes: Any, turnover: Turnover) -> None:
    for name in dict.fromkeys(row["layer"] for row in turnover.rows):
        own = [row for row in turnover.rows if row["layer"] == name]
        changes = [row["change"] for row in own]
        (line,) = axes.plot(
            changes, [row["share"] for row in own], marker=".", label=f"{name}: new"
        )
        explored = [row["explored"] for row in own]
        axes.plot(changes, explored, "--", color=line.get_color(), label=f"{name}: explored")
    axes.set_xlabel("change of the connections")
    axes.set_ylabel("share")
    if turnover.rows:
        axes.legend(fontsize="small")
