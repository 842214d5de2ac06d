"""What figures hold: that they look well is for eyes."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from sparsebench.analysis.panels import curves
from sparsebench.analysis.points import points
from sparsebench.views import plots
from sparsebench.views.plots import style
from tests.sparsebench.factory import SPARSITIES, sweep


def drawn(records):
    return dict(plots.figures(points(records)))


def curve(axes, name):
    """The points of the line that is drawn as an implementation."""
    look = style.of(name, ("coo", "peer"))
    (line,) = (
        found
        for found in axes.lines
        if (found.get_color(), found.get_marker()) == (look["color"], look["marker"])
    )
    return line.get_xydata()


def test_speedups_are_drawn_where_they_belong():
    figure = drawn(sweep(widths=(512, 1024), phases=("inference",)))["speedup-inference"]
    assert [axes.get_title() for axes in figure.axes[:2]] == ["512 × 512", "1024 × 1024"]
    for axes in figure.axes:
        density, speedup = curve(axes, "peer").T
        assert density == pytest.approx([1 - s for s in SPARSITIES])
        assert speedup == pytest.approx(0.2 / density)
        assert axes.xaxis_inverted()
        ticks = axes.xaxis.get_major_formatter().format_ticks(axes.get_xticks())
        assert ticks == ["50%", "80%", "90%", "95%", "98%", "99%"]


def test_a_saved_picture_is_as_large_as_all_that_it_shows(tmp_path):
    """Also where words stand beside the axes, which no layout makes room for."""
    figure = drawn(sweep(widths=(512,), phases=("inference",)))["league"]
    png, _ = style.save(figure, tmp_path / "league")
    with Image.open(png) as picture:
        pixels = np.asarray(picture.convert("L"))
    edge = round(200 * 0.07)  # inches of white
    for side in (pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]):
        assert side.min() > 200


def test_axes_that_panels_share_are_set_once(monkeypatch):
    """On each panel it would take time that grows with the square of their number."""
    asked, scale = [], Axes.set_xscale
    monkeypatch.setattr(Axes, "set_xscale", lambda axes, to: asked.append(scale(axes, to)))
    few = drawn(sweep(widths=(512,), batches=(1,), phases=("inference",)))
    count, _ = len(asked), asked.clear()
    many = drawn(sweep(widths=(512, 1024, 2048), batches=(1, 8, 64), phases=("inference",)))
    assert few.keys() == many.keys()
    assert len(asked) == count
    for axes in many["time-inference"].axes + many["memory-inference"].axes:
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


@pytest.mark.parametrize(
    ("widths", "batches", "shown"),
    [(6, 6, (6, 6)), (11, 1, (6, 1)), (1, 11, (1, 6)), (11, 3, (6, 3)), (7, 4, (4, 4))],
)
def test_of_many_layers_as_many_are_drawn_as_can_be_read(widths, batches, shown):
    sizes, several = (range(16, 16 * (count + 1), 16) for count in (widths, batches))
    one = {"sparsities": (0.9,), "phases": ("inference",), "implementations": ("ours",)}
    found = curves(points(sweep(widths=sizes, batches=several, **one)))
    kept = [sorted({getattr(p.case, name) for p in found}) for name in ("in_features", "batch")]
    assert tuple(map(len, kept)) == shown
    assert len(found) == shown[0] * shown[1]
    for side, every in zip(kept, (sizes, several), strict=True):
        assert (side[0], side[-1]) == (every[0], every[-1])


def test_thousands_of_marks_are_a_picture_within_the_vectors(tmp_path, monkeypatch):
    records = sweep(widths=(512,), batches=(1,), phases=("inference",))
    sizes = []
    for most in (2000, 5):
        monkeypatch.setattr(style, "_MARKS", most)
        png, svg = style.save(drawn(records)["league"], tmp_path / "league")
        assert png.exists()
        sizes.append(svg.read_text().count("<image"))
    assert sizes[0] == 0 < sizes[1]


def test_every_axis_is_labelled():
    figures = drawn(sweep(widths=(512, 1024), sparsities=(0.5, 0.99), threads=(1, 2)))
    assert figures
    for figure in figures.values():
        assert isinstance(figure, Figure)
        labels = [axes.get_xlabel() for axes in figure.axes]
        assert any(labels)
        assert "Anvil 9000" in figure.get_supxlabel()


def test_marks_of_crossovers_without_an_interval_are_seen_and_explained():
    whole = sweep(widths=(512, 1024), batches=(1,), phases=("inference",))
    few = [r.model_copy(update={"rounds": r.rounds[:2], "samples": r.samples[:2]}) for r in whole]
    for records, hollow in ((whole, False), (few, True)):
        figure = drawn(records)["crossover"]
        marks = [
            (to_hex(line.get_markerfacecolor()), to_hex(line.get_markeredgecolor()))
            for axes in figure.axes
            for line in axes.lines
            if line.get_linestyle() == "None" and len(line.get_xdata())
        ]
        assert marks
        assert ("#ffffff", "#ffffff") not in marks
        assert any(face == "#ffffff" for face, _ in marks) == hollow
        assert ("hollow: no interval" in figure._supxlabel.get_text()) == hollow


def test_threads_are_drawn_as_speedup_over_one():
    few = {"sparsities": (0.5, 0.9), "batches": (1, 8), "phases": ("train_step",)}
    figure = drawn(sweep(widths=(512, 1024), threads=(1, 2, 4), **few))["threads-train_step"]
    for axes in figure.axes:
        assert np.allclose(curve(axes, "coo"), [(1, 1), (2, 2), (4, 4)])


def test_implementations_are_told_apart_without_colour():
    names = [*style._LOOKS, "new", "newer", "newest"]
    looks = [style.of(name, names) for name in names]
    assert len({(look["marker"], look["linestyle"]) for look in looks}) >= len(looks) - 2
    assert len({tuple(map(str, look.values())) for look in looks}) == len(looks)


def test_drawing_leaves_the_settings_of_matplotlib_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    drawn(sweep(widths=(512,), sparsities=(0.5, 0.9), batches=(1,), phases=("inference",)))
    assert dict(mpl.rcParams) == before


def test_many_convolutions_are_marks_on_a_line_each_and_their_curves_those_with_most_sparsities():
    window = {"operation": "conv2d", "kernel": 3, "padding": 1, "image": 8, "batches": (16,)}
    window |= {"phases": ("train_step",), "implementations": ("dense", "ours")}
    few = sweep(widths=(8, 16, 24, 32, 40, 48), sparsities=(0.9, 0.95), **window)
    records = few + sweep(widths=(64,), sparsities=(0.5, 0.9, 0.95), **window)
    figures = drawn(records)
    panels = figures["layers-train_step"].axes
    assert [axes.get_title() for axes in panels] == ["90% sparse", "95% sparse"]
    assert len(panels[0].get_yticks()) == 7
    marks = [line for line in panels[0].lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx([5.0] * 7)
    curves = figures["speedup-train_step"].axes
    assert [axes.get_title() for axes in curves] == ["64→64 3×3 8²"]
