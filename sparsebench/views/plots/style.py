"""What all figures share: colours, marks, axes, and how they are saved."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sparsebench.views.plots.layout import laid_out

# Okabe and Ito, Color Universal Design (2008): told apart with every kind of colour vision.
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
# Of curves that no colour is known for, in this order.
COLOURS = (VERMILION, BLUE, GREEN, ORANGE, PURPLE, SKY)
GREY = "#767676"

_MARKS = 500

# What the mathematics needs is nobody's, and dotted.
NEEDED: dict[str, Any] = {"color": BLACK, "linestyle": (0, (1, 1)), "linewidth": 1.6}

_RC: dict[Any, Any] = {
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8.5,
    "figure.titlesize": 10.5,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.edgecolor": "#444444",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "legend.frameon": False,
    "figure.constrained_layout.w_pad": 0.08,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "svg.hashsalt": "sparsebench",
}


class Look(NamedTuple):
    """How an implementation is drawn: colour, marker and line, so that it also reads in grey."""

    colour: str
    marker: str
    line: str


_LOOKS = {
    "ours": Look(VERMILION, "o", "-"),
    "dense": Look(BLACK, "s", "-"),
    "dense_compiled": Look(BLACK, "D", ":"),
    "masked": Look(GREY, "s", "--"),
    "torch_csr": Look(BLUE, "v", "-"),
    "torch_coo": Look(SKY, "^", "--"),
    "sparseprop": Look(GREEN, "D", "-"),
    "sparseprop_pixels": Look(GREEN, "^", ":"),
    "sparselab": Look(ORANGE, "P", "--"),
    "torch_sparse_matmul": Look(PURPLE, "X", "-"),
    "torch_sparse_spmm": Look(PURPLE, "<", ":"),
    "sparselinear": Look(BLUE, ">", ":"),
    "scipy_csr": Look(ORANGE, "h", ":"),
    "reference": Look(GREY, "d", ":"),
    # Dense ones are black and grey, those of 8 bits blue, engines in their own colour.
    "dense_bf16": Look(GREY, "v", "-."),
    "dense_packed": Look(BLACK, "^", "-."),
    "dense_onednn": Look(BLACK, "P", "-"),
    "dense_openblas": Look(BLACK, "X", "--"),
    "dense_int8": Look(BLUE, "s", "-."),
    "dense_onnxruntime": Look(GREEN, "<", "--"),
    "dense_onnxruntime_int8": Look(GREEN, "<", "-."),
    "dense_openvino": Look(PURPLE, ">", "--"),
    "dense_openvino_int8": Look(PURPLE, ">", "-."),
    "openvino_sparse": Look(PURPLE, "*", "-"),
    "jax_bcsr": Look(SKY, "d", "--"),
    "torch_bsr": Look(BLUE, "D", "--"),
    "sparse_dot_mkl": Look(ORANGE, "h", "-"),
}
# For implementations that were added since: combinations that nobody above has.
_SPARE = [
    Look(colour, marker, line)
    for line, marker in (("-.", "p"), (":", "H"), ("--", "8"))
    for colour in (GREEN, BLUE, ORANGE, SKY, PURPLE, VERMILION)
]


def of(name: str, among: Iterable[str] = ()) -> dict[str, Any]:
    """Return how to draw an implementation; a new one's look depends on the new ones `among`."""
    look = _LOOKS.get(name)
    if look is None:
        strangers = sorted({*among, name} - _LOOKS.keys())
        look = _SPARE[strangers.index(name) % len(_SPARE)]
    # The thin light edge keeps overlapping markers apart.
    return {
        "color": look.colour,
        "marker": look.marker,
        "linestyle": look.line,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def marks(count: int) -> dict[str, Any]:
    """Return how to draw `count` marks: of thousands, an SVG holds a picture, not each of them."""
    return {"linestyle": "", "rasterized": count > _MARKS}


def looks() -> Iterator[tuple[str, str]]:
    """Yield a line and a colour for one curve after the other: all colours, then other lines."""
    return itertools.cycle(itertools.product(("-", "--", ":"), COLOURS))


def ring(look: dict[str, Any]) -> dict[str, Any]:
    """Return a look of marks without a filling, and of no line."""
    edge = to_rgba(look["color"], look.get("alpha"))
    empty = {"markerfacecolor": "white", "markeredgecolor": edge, "markeredgewidth": 1.0}
    # What is below would be seen through them.
    return look | empty | {"linestyle": "", "alpha": None}


def hollow(axes: Axes, places: Sequence[tuple[float, float]], look: dict[str, Any]) -> None:
    """Draw marks without a filling over those of a curve: of times that other work disturbed."""
    if places:
        axes.plot(*zip(*places, strict=True), **ring(look))


def with_hollow(conditions: str, marked: bool) -> str:
    """Return the line below a figure, which explains hollow marks where there are some."""
    return f"hollow: disturbed by other work; {conditions}" if marked else conditions


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the house style, and leave matplotlib's settings as they were."""
    with mpl.rc_context(_RC):
        yield


def save(figure: Figure, path: Path) -> list[Path]:
    """Write `path`.png and `path`.svg, the same bytes each time; return their paths."""
    png, svg = path.with_name(f"{path.name}.png"), path.with_name(f"{path.name}.svg")
    with styled():
        box = laid_out(figure, dpi=_RC["savefig.dpi"])
        figure.savefig(png, metadata={"Software": None}, bbox_inches=box)
        figure.savefig(svg, metadata={"Date": None}, bbox_inches=box)
    return [png, svg]


def head(
    figure: Figure,
    title: str,
    conditions: str,
    names: Sequence[str],
    *extra: Line2D,
    lines: bool = True,
) -> None:
    """Say what a figure shows, with a legend below that hides no data, and where it was measured.

    `extra` are legend entries that are no implementation's; without `lines` only marks are drawn.
    """
    looks = {name: of(name, names) | ({} if lines else {"linestyle": ""}) for name in names}
    handles = [*(Line2D([], [], label=n, **look) for n, look in looks.items()), *extra]
    # Inches: of each entry its line, and a fourteenth for each of its letters.
    wanted = sum(0.3 + 0.5 * lines + len(str(handle.get_label())) / 14 for handle in handles)
    rows = math.ceil(wanted / figure.get_figwidth())
    figure.legend(
        handles=handles,
        loc="outside upper left",
        title=title,
        title_fontproperties={"weight": "bold", "size": 10.5},
        alignment="left",
        ncols=math.ceil(len(handles) / rows),
        handlelength=2.6 if lines else 1.0,
        columnspacing=1.4,
    )
    figure.supxlabel(conditions, x=0.99, ha="right", fontsize=7.5, color="#555555")


def plain_head(figure: Figure, title: str, conditions: str) -> None:
    """Say what a figure shows that needs no legend, and where it was measured."""
    figure.suptitle(title, x=0.012, ha="left")
    figure.supxlabel(conditions, x=0.99, ha="right", fontsize=7.5, color="#555555")


def panel_title(size: str) -> str:
    """Return what stands above the panel of a layer."""
    return size if "→" in size else f"{size} × {size}"


def phase_title(phase: str) -> str:
    """Return a phase in words."""
    return {
        "forward_backward": "forward + backward",
        "train_step": "training step",
        "construction": "making a layer",
        "rewiring": "training step with a rewiring",
    }.get(phase, phase)
