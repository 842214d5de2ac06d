"""Where the parts of a figure lie: found out once, and from the panels beside which something is.

To place text, and to draw ticks, is most of what drawing takes. Of panels that share their axes
most have neither labels nor a title: they lie where their column and their row do. And a grid is
two curves for each axis, not five artists for each tick.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis, Tick
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

_PAD = 0.08  # inches around a figure
_WORDS = 20_000  # whose extents are known: more than all figures of a report have

_Extent = tuple[float, float, float]
_EXTENTS: dict[tuple[Any, ...], _Extent] = {}


class _Renderer(RendererAgg):
    """A renderer that measures a word once: figures repeat most of those of others."""

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> _Extent:
        key = (s, hash(prop), ismath, self.dpi)
        if (found := _EXTENTS.get(key)) is None:
            if len(_EXTENTS) >= _WORDS:
                _EXTENTS.clear()
            measured: Any = super()
            found = measured.get_text_width_height_descent(s, prop, ismath)
            _EXTENTS[key] = found
        return found


class Canvas(FigureCanvasAgg):
    """What pictures are drawn on, and figures laid out."""

    def get_renderer(self) -> RendererAgg:
        """Return the renderer of a canvas of this size, and this many dots per inch."""
        width, height = self.get_width_height(physical=True)
        key = (width, height, self.figure.dpi)
        if vars(self).get("_known") != key:
            make: Any = _Renderer
            self._known, self.renderer = key, make(width, height, self.figure.dpi)
        return cast(RendererAgg, self.renderer)


def laid_out(figure: Figure, *, dpi: int) -> Bbox:
    """Lay a figure out, once and for all; return the box around what it shows at `dpi`, in inches.

    As "tight" each format would do so anew, and matplotlib would look for the places of labels and
    titles that are empty, or known.
    """
    Canvas(figure)
    for axes in figure.axes:
        _place(axes)
    plain = [(axes, axis) for axes in figure.axes for axis in _axes(axes) if _has_no_minor(axis)]
    for _, axis in plain:
        axis.set_visible(_is_labelled(axis))
    if (engine := figure.get_layout_engine()) is not None:
        among = list(_among_others(figure.axes))
        for axes, _, _ in among:
            axes.set_in_layout(False)
        engine.execute(figure)
        for axes, above, beside in among:
            x, y = above.get_position(), beside.get_position()
            axes.set_position((x.x0, y.y0, x.width, y.height))
    figure.set_layout_engine(None)  # "none" would be an engine too: each format would draw twice
    ticks: dict[object, Tick] = {}
    for axes, axis in sorted(plain, key=lambda one: not one[1].get_visible()):
        _draw_grid(axes, axis, ticks)  # where ticks are depends on how large a panel is
    laid, figure.dpi = figure.dpi, dpi  # letters fit pixels: where they are many, words are longer
    try:
        return figure.get_tightbbox().padded(_PAD)
    finally:
        figure.dpi = laid


def _axes(axes: Axes) -> tuple[Axis, Axis]:
    return axes.xaxis, axes.yaxis


def _place(axes: Axes) -> None:
    """Say where things are that matplotlib would find out from the extents of all others."""
    axes.set_title(axes.get_title(), y=1.0)  # no ticks are above a panel
    for spine in axes.spines.values():
        spine.set_in_layout(False)  # labels reach further
    for drawn in (*axes.lines, *axes.patches, *axes.collections):
        if drawn.get_clip_on():
            drawn.set_in_layout(False)
    for axis in _axes(axes):
        if not axis.get_label_text():
            axis.set_label_coords(0.5, 0.5)


def _has_no_minor(axis: Axis) -> bool:
    """Whether an axis has ticks of one kind."""
    return axis.get_visible() and isinstance(axis.get_minor_locator(), NullLocator)


def _is_labelled(axis: Axis) -> bool:
    """Whether something is written at an axis; if not, its labels stand at another panel."""
    shown = axis.get_tick_params()
    labels = any(value for name, value in shown.items() if name.startswith("label"))
    return labels or bool(axis.get_label_text())


def _among_others(panels: Sequence[Axes]) -> Iterator[tuple[Axes, Axes, Axes]]:
    """Yield the panels beside which nothing is, each with one of its column and one of its row."""
    places = {axes: spec for axes in panels if (spec := axes.get_subplotspec()) is not None}
    around = {axes: spec for axes, spec in places.items() if not _is_alone(axes)}
    columns = {(spec.get_gridspec(), spec.colspan): axes for axes, spec in around.items()}
    rows = {(spec.get_gridspec(), spec.rowspan): axes for axes, spec in around.items()}
    for axes, spec in places.items():
        above = columns.get((spec.get_gridspec(), spec.colspan))
        beside = rows.get((spec.get_gridspec(), spec.rowspan))
        if axes not in around and above is not None and beside is not None:
            yield axes, above, beside


def _is_alone(axes: Axes) -> bool:
    """Whether a panel shows nothing outside of itself."""
    titles = any(axes.get_title(loc) for loc in ("left", "center", "right"))
    labels = any(axis.get_visible() for axis in _axes(axes))
    return not (titles or labels or axes.texts or axes.get_legend())


def _draw_grid(axes: Axes, axis: Axis, ticks: dict[object, Tick]) -> None:
    """Draw the grid of an axis and the marks of its ticks as two curves, and no more by tick.

    They look as those of the first axis of the kind do: to make ticks takes long. `ticks` are
    those that are known.
    """
    x, shown = axis is axes.xaxis, axis.get_tick_params()
    kind = (x, *(value for name, value in shown.items() if not name.startswith("label")))
    if kind not in ticks:
        ticks[kind] = axis.get_major_ticks(1)[0]
    tick, places = ticks[kind], _seen(axis)
    transform: Any = axes.get_xaxis_transform if x else axes.get_yaxis_transform
    ends = np.tile([0.0, 1.0, np.nan], len(places))
    for part, which, along, across in (
        (tick.gridline, "grid", np.repeat(places, 3), ends),
        (tick.tick1line, "tick1", places, np.zeros(len(places))),
    ):
        if shown["gridOn"] if which == "grid" else shown["bottom" if x else "left"]:
            line = Line2D(*((along, across) if x else (across, along)))
            line.update_from(part)
            axes.add_artist(line)
            line.set(transform=transform(which), zorder=axis.get_zorder(), in_layout=False)
            line.set(clip_on=which == "grid", visible=True)
    if axis.get_visible():
        axis.grid(visible=False)
        axis.set_tick_params(bottom=False, left=False)


def _seen(axis: Axis) -> NDArray[np.float64]:
    """Return where an axis has ticks between its ends."""
    low, high = sorted(axis.get_view_interval())
    places, slack = np.asarray(axis.get_majorticklocs(), dtype=float), 1e-10 * (high - low)
    return places[(places >= low - slack) & (places <= high + slack)]
