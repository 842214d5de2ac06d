"""Figures are laid out as matplotlib would, from fewer panels, and drawn with fewer artists."""

import numpy as np
import pytest
from matplotlib.axis import Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sparsebench.views.page import images
from sparsebench.views.plots import layout, style
from sparsebench.views.plots.axes import quantity_axis, ratio_axis, sparsity_axes
from sparsebench.views.plots.layout import laid_out

SPARSITIES = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99)


def grid(side, sharey):
    """A figure of panels, as those of times or memory are."""
    figure = Figure(figsize=(1.4 + 1.9 * side, 1.5 + 1.8 * side), layout="constrained")
    panels = figure.subplots(side, side, squeeze=False, sharex=True, sharey=sharey)
    for n, axes in enumerate(panels.flat):
        times = [10.0 ** -(n % 4) * (1 - s) for s in SPARSITIES]
        axes.plot([1 - s for s in SPARSITIES], times, **style.of("ours"))
    for n, axes in enumerate(panels[:, 0]):
        axes.set_ylabel(f"batch {n}")
    for axes in panels[0] if sharey == "col" else panels[:, 0]:
        quantity_axis(axes, "s")
    if sharey is True:
        ratio_axis(panels[0, 0], 1e-5, 2)
    sparsity_axes(panels, SPARSITIES)
    for n, axes in enumerate(panels[0]):
        axes.set_title(f"{512 * (n + 1)} × 1")
    style.head(figure, "Time against sparsity", "this machine", ["ours", "dense"])
    return figure


def picture(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba()).astype(int)


@pytest.mark.parametrize("sharey", ["row", "col", True, False])
def test_panels_lie_where_matplotlib_puts_them_and_look_as_it_draws_them(sharey):
    with style.styled():
        usual, ours = grid(3, sharey), grid(3, sharey)
        for axes in usual.axes:
            layout._place(axes)  # else labels that are empty take room
        expected = picture(usual)
        laid_out(ours, dpi=100)
        found = picture(ours)
    for one, other in zip(usual.axes, ours.axes, strict=True):
        assert other.get_position().bounds == pytest.approx(one.get_position().bounds)
    assert not np.abs(found - expected).any()


def test_what_ticks_take_grows_with_the_sides_of_a_figure(monkeypatch):
    """Not with its panels: those amid others show no labels."""
    drawn, draw = [], Tick.draw
    monkeypatch.setattr(Tick, "draw", lambda tick, to: drawn.append(tick) or draw(tick, to))
    counts = {}
    with style.styled():
        for side in (2, 4):
            figure = grid(side, "row")
            laid_out(figure, dpi=100)
            picture(figure)
            counts[side] = len(drawn)
            drawn.clear()
    assert counts[4] <= 2.5 * counts[2]


def test_a_figure_can_be_laid_out_again():
    with style.styled():
        figure = grid(2, "row")
        box = laid_out(figure, dpi=100)
        before = picture(figure)
        assert laid_out(figure, dpi=100).bounds == pytest.approx(box.bounds)
        assert not np.abs(picture(figure) - before).any()


def test_pictures_of_many_panels_are_drawn_once(monkeypatch):
    kinds, saved = [], images._saved

    def save(figure, kind, box, **options):
        kinds.append(kind)
        return saved(figure, kind, box, **options)

    monkeypatch.setattr(images, "_saved", save)
    with style.styled():
        many = grid(3, "row")
    assert images.image(many).address.startswith("data:image/webp")
    assert kinds == ["rgba"]


def test_words_are_measured_once_for_all_figures(monkeypatch):
    asked = []
    measure = layout.RendererAgg.get_text_width_height_descent
    monkeypatch.setattr(
        layout.RendererAgg, "get_text_width_height_descent",
        lambda renderer, *given: asked.append(given[0]) or measure(renderer, *given),
    )  # fmt: skip
    with style.styled():
        for _ in range(2):
            laid_out(grid(2, "row"), dpi=100)
            count, _ = len(asked), asked.clear()
    assert count == 0
