"""Times that other work disturbed are shown, marked, and decide nothing.

They are those of a sweep on two cores of which others used one: the six samples of a layer that
takes 18 µs were 7.6 to 19 ms.
"""

from dataclasses import replace

import pytest
from matplotlib.colors import to_hex
from rich.console import Console

from sparsebench.advisor import Question
from sparsebench.advisor.interpolation import from_records
from sparsebench.analysis.crossover import crossover
from sparsebench.analysis.league import league
from sparsebench.analysis.metrics import METRICS
from sparsebench.analysis.points import points
from sparsebench.views.frames import frame_of
from sparsebench.views.page.maps import speedup_maps
from sparsebench.views.page.summary import sentences
from sparsebench.views.plots.headline import headline
from sparsebench.views.plots.layers import layers
from sparsebench.views.plots.matrices import matrices
from sparsebench.views.plots.rooflines import rooflines
from sparsebench.views.plots.scaling import scaling
from sparsebench.views.plots.speedups import speedups as speedup_plots
from sparsebench.views.plots.times import times as time_plots
from sparsebench.views.tables import tables, terminal, write
from tests.sparsebench.factory import MACHINE, sweep

WHY = "other work had a core in 3 of 3 samples"
SPARSITY = 0.98


def disturbed(records, implementation="ours", sparsity=SPARSITY, factor=1000.0):
    """Let some times be a thousand times as long, for a reason."""
    return [
        r.model_copy(
            update={
                "samples": [factor * s for s in r.samples],
                "rounds": [replace(turn, disturbed=WHY) for turn in r.rounds],
            }
        )
        if (r.case.implementation, r.case.sparsity) == (implementation, sparsity)
        else r
        for r in records
    ]


@pytest.fixture(scope="module")
def quiet():
    probed = MACHINE | {"roofline": {"matmul_gflops": 100, "stream_gb_s": 10}}
    return sweep(widths=(512,), batches=(128,), phases=("inference",), machine=probed)


@pytest.fixture(scope="module")
def every(quiet):
    return points(disturbed(quiet))


def ours(found):
    return [p for p in found if p.case.implementation == "ours"]


def test_a_crossover_does_not_see_them(quiet, every):
    expected = crossover(ours(points(quiet))).sparsity.value
    assert crossover(ours(every)).sparsity.value == pytest.approx(expected)
    assert crossover(ours(points(disturbed(quiet, "dense")))).highest == 0.99
    alone = [p for p in ours(every) if p.case.sparsity == SPARSITY]
    assert crossover(alone) is None


def test_a_league_counts_the_others(quiet):
    fast = points(disturbed(quiet, "coo", factor=1e-6))
    standing = {s.implementation: s for s in league(fast)}
    assert standing["coo"].wins == 0
    assert standing["coo"].timed == 5
    assert (
        standing["ours"].wins == {s.implementation: s for s in league(points(quiet))}["ours"].wins
    )


def test_numbers_are_kept_in_the_frame_with_the_reason(quiet):
    frame = frame_of(disturbed(quiet))
    rows = frame[frame["disturbed"] != ""]
    assert len(rows) == 1
    assert set(rows["disturbed"]) == {WHY}
    assert rows["time [s]"].notna().all()


def test_tables_mark_them_and_say_what_the_mark_means(every, tmp_path):
    marked = {}
    for table in tables(every):
        (page, *_) = write(table, tmp_path)
        marked[table.name] = page.read_text("utf-8")
    for name in ("summary", "speedup", "measurements"):
        assert "!: disturbed by other work, decides nothing" in marked[name]
        assert "×! " in marked[name] or "s! " in marked[name]
    assert "!" not in marked["crossover"].replace("!=", "")
    assert "!" not in marked["league"]


def test_a_quiet_table_has_no_mark(quiet, tmp_path):
    for table in tables(points(quiet)):
        assert "disturbed" not in write(table, tmp_path)[0].read_text("utf-8")


def test_the_terminal_marks_them_and_its_answers_leave_them_out(quiet):
    console = Console(width=100, record=True)
    console.print(terminal(disturbed(quiet, sparsity=0.9)))
    text = console.export_text()
    assert "<0.01×!" in text
    assert "!: disturbed by other work" in text
    answer = next(line for line in text.splitlines() if line.startswith("inference"))
    assert "0.01" not in answer


@pytest.mark.parametrize("implementation", ["dense", "ours"])
def test_a_dense_layer_that_was_disturbed_was_timed(quiet, implementation):
    found = quiet
    for sparsity in {r.case.sparsity for r in quiet}:
        found = disturbed(found, implementation, sparsity)
    console = Console(width=100, record=True)
    console.print(terminal(found))
    text = console.export_text()
    assert "disturbed by other work: nothing is concluded" in text
    assert "dense was not timed" not in text


def test_sentences_are_made_of_the_others(quiet):
    said = str(sentences(points(disturbed(quiet, sparsity=0.9))))
    assert "slower" not in said
    assert "at 90%" not in said
    assert "as fast as dense" in said


def test_the_maps_of_the_page_leave_them_grey(every):
    (found,) = speedup_maps(every)
    cells = [cell for _, row in found.rows for cell in row if "!" in cell.text]
    assert len(cells) == 1
    assert cells[0].heat is None


@pytest.mark.parametrize("plots", [speedup_plots, time_plots, headline, rooflines])
def test_plots_draw_them_hollow(plots, quiet, every):
    assert hollow(plots, points(quiet)) == (0, False)
    assert hollow(plots, every) == (1, True)


def test_many_convolutions_and_numbers_of_threads_are_drawn_hollow_too():
    window = {"operation": "conv2d", "kernel": 3, "padding": 1, "image": 8, "batches": (16,)}
    convolutions = sweep(
        widths=(8, 16, 24, 32), sparsities=(0.9, SPARSITY), phases=("train_step",), **window
    )
    one = [r for r in convolutions if r.case.in_features == 16]
    others = [r for r in convolutions if r.case.in_features != 16]
    assert hollow(layers, points(convolutions)) == (0, False)
    assert hollow(layers, points([*others, *disturbed(one)])) == (1, True)
    two = sweep(widths=(512, 1024), sparsities=(SPARSITY,), threads=(1, 2, 4), batches=(1,))
    two = [r for r in two if r.case.phase == "inference"]
    for threads, expected in ((2, 1), (1, 3)):  # with one thread, of which all others are ratios
        mixed = [disturbed([r])[0] if r.case.threads == threads else r for r in two]
        assert hollow(scaling, points(mixed)) == (expected, True)
    assert hollow(scaling, points(two)) == (0, False)


def test_matrices_are_drawn_hollow():
    pruned = sweep(
        widths=(512,), batches=(1,), phases=("inference",), topology="file:some.smtx@0123456789ab"
    )
    assert hollow(matrices, points(pruned)) == (0, False)
    assert hollow(matrices, points(disturbed(pruned))) == (1, True)


def hollow(plots, found):
    """Return how many marks of a figure are hollow, and whether it says what that means."""
    ((_, figure),) = plots(found)
    lines = [line for axes in figure.axes for line in axes.lines if len(line.get_xdata())]
    rings = [
        line
        for line in lines
        if to_hex(line.get_markerfacecolor()) == "#ffffff" and line.get_linestyle() == "None"
    ]
    said = figure._supxlabel.get_text()
    return sum(len(line.get_xdata()) for line in rings), "hollow: disturbed" in said


def test_a_disturbed_dense_layer_makes_no_ratio_certain(quiet):
    every = points(disturbed(quiet, "dense"))
    (point,) = (p for p in ours(every) if p.case.sparsity == SPARSITY)
    assert point.unsure
    assert not point.disturbed
    assert METRICS["speedup"].of(point) is not None
    assert METRICS["relative_time"].of(point).value == pytest.approx(1.0)


def test_the_advisor_does_not_use_them(quiet):
    asked = Question(
        in_features=512, out_features=512, sparsity=SPARSITY, batch=128, phase="inference",
        threads=2,
    )  # fmt: skip
    found = from_records(asked, disturbed(quiet), MACHINE["id"])
    best = {c.implementation: c.speedup.value for c in found.candidates}["ours"]
    expected = from_records(asked, quiet, MACHINE["id"])
    exact = {c.implementation: c.speedup.value for c in expected.candidates}["ours"]
    assert best == pytest.approx(exact, rel=0.1)
