"""Plots of losses that are compared step by step. They never measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.figure import Figure

from sparsebench.training.curves import CurvesRecord
from sparsebench.training.published import published
from sparsebench.training.views.plots import COLOURS
from sparsebench.views.plots.style import BLACK, BLUE, GREY, VERMILION, plain_head


def of(records: Sequence[CurvesRecord]) -> Iterator[tuple[str, Figure]]:
    """Yield the losses of models that are compared step by step."""
    if own := [record for record in records if record.experiment == "toy"]:
        yield "toy", _toy(own)
    if own := [record for record in records if record.experiment == "same-training"]:
        yield "same-training", _same_training(own)


def _toy(records: list[CurvesRecord]) -> Figure:
    """Losses on random outputs, with the published ones."""
    figure = Figure(figsize=(5.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, losses in records[-1].losses.items():
        axes.semilogy(range(1, len(losses) + 1), losses, color=COLOURS[name], label=name)
        theirs = published()["toy"][name]
        steps = [100 * (i + 1) for i, loss in enumerate(theirs) if loss]
        axes.semilogy(
            steps, [loss for loss in theirs if loss], "s" if name == "dense" else "o",
            color=COLOURS[name], markerfacecolor="none", label=f"{name}, published",
        )  # fmt: skip
    axes.set_xlabel("step")
    axes.set_ylabel("sum of squared errors")
    axes.legend()
    plain_head(figure, "Two layers fitted to random outputs",
               "published losses that were printed as 0.000 are not drawn")  # fmt: skip
    return figure


def _same_training(records: list[CurvesRecord]) -> Figure:
    """Losses of masked and sparse training, and their relative difference below."""
    figure = Figure(figsize=(3.6 * len(records), 3.8), layout="constrained")
    panels = figure.subplots(2, len(records), sharex=True, sharey="row", squeeze=False)
    for (upper, lower), record in zip(panels.T, records, strict=True):
        steps = np.arange(1, record.conditions["steps"] + 1)
        masked, sparse = (np.array(record.losses[name]) for name in ("masked", "sparse"))
        upper.plot(steps, masked, color=GREY, linewidth=4, label="masked dense")
        upper.plot(steps, sparse, color=VERMILION, linewidth=1, label="truly sparse")
        difference = np.maximum(np.abs(masked - sparse) / np.abs(masked), 1e-17)
        lower.semilogy(steps, difference, color=BLUE)
        rounding = float(np.finfo(np.float64).eps)
        lower.axhline(rounding, color=BLACK, linestyle=":", linewidth=1)
        where = {"va": "top", "ha": "right", "fontsize": 8}
        lower.text(steps[-1], 5e-13, "dotted: one rounding of float64", **where)
        lower.set_ylim(1e-17, 1e-12)
        upper.set_title(record.case)
        lower.set_xlabel("step")
    panels[0][0].set_ylabel("training loss")
    panels[1][0].set_ylabel("relative difference")
    panels[0][0].legend()
    of = records[0].conditions
    title = "Masked dense and truly sparse training are the same training"
    net = f"784–{of['width']}–10 at {of['sparsity']:.0%}"
    plain_head(figure, title, f"float64, {of['dataset']}, {net}")
    return figure
