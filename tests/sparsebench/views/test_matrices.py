"""Leagues and plots of matrices from files, where every ratio is known."""

import io

import numpy as np
import pytest
from rich.console import Console

from sparsebench.analysis import matrices
from sparsebench.analysis.points import points
from sparsebench.views import plots, tables
from tests.sparsebench.factory import record, sweep

# Network, sparsity, and how many times as fast as dense `ours` and the two of MKL are.
MATRICES = [
    ("rn50", 0.70001, 1.0, 2.0, 1.0),
    ("rn50", 0.8999, 4.0, 2.0, 1.0),
    ("rn50", 0.95004, 9.0, 3.0, 3.0),
    ("transformer", 0.5, 0.5, 0.25, 0.5),
]


def measured(operation="linear", phase="inference"):
    found = []
    for number, (network, sparsity, ours, csr, dot) in enumerate(MATRICES):
        topology = f"file:dlmc/{network}/some/{number}.smtx@{number:012x}"
        speeds = {"dense": 1.0, "ours": ours, "torch_csr": csr, "sparse_dot_mkl": dot}
        found += [
            record(
                1e-3 / speed,
                implementation=name,
                operation=operation,
                phase=phase,
                topology=topology,
                sparsity=sparsity,
                in_features=100 + number,
                out_features=50,
            )
            for name, speed in speeds.items()
        ]
    return found


@pytest.fixture(scope="module")
def made():
    return {table.name: table for table in tables.tables(points(measured()))}


def numbers(table, **where):
    frame = table.numbers
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame.set_index("implementation")


def test_the_league_by_network(made):
    rn50 = numbers(made["matrices-network"], network="rn50")
    assert rn50.speedup["ours"] == pytest.approx((1 * 4 * 9) ** (1 / 3))
    assert rn50.speedup["dense"] == pytest.approx(1)
    assert rn50.over_mkl["ours"] == pytest.approx((1 / 2 * 4 / 2 * 9 / 3) ** (1 / 3))
    assert rn50.wins.to_dict() == {"ours": 2, "torch_csr": 1, "dense": 0, "sparse_dot_mkl": 0}
    every = numbers(made["matrices-network"], network="all")
    assert (every.matrices == 4).all()
    assert every.speedup["ours"] == pytest.approx((1 * 4 * 9 * 0.5) ** (1 / 4))
    text = made["matrices-network"].text.set_index("network")
    assert text.loc["rn50", "ours"] == "3.3× (2 won)"
    assert text.loc["rn50", "ours over MKL"] == "1.4×"
    assert text.loc["transformer", "dense won"] == "1"


def test_the_league_by_sparsity(made):
    text = made["matrices-sparsity"].text.set_index("sparsity")
    assert [*text.index] == ["50–59%", "70–79%", "90–94%", "95–97%", "60–95%"]
    assert text.ours.tolist() == ["0.50×", "1.0×", "4.0× (1 won)", "9.0× (1 won)", "3.3× (2 won)"]
    assert text.matrices.tolist() == ["1", "1", "1", "1", "3"]


def test_tables_by_sparsity_are_of_drawn_layers_alone(made):
    assert {"matrices-network", "matrices-sparsity", "measurements"} == {*made}
    drawn = sweep(widths=(512,), phases=("inference",))
    both = {table.name: table for table in tables.tables(points([*drawn, *measured()]))}
    alone = {table.name: table for table in tables.tables(points(drawn))}
    assert [*both["speedup"].text] == [*alone["speedup"].text]
    assert both["speedup"].text.equals(alone["speedup"].text)
    assert both["league"].text.equals(alone["league"].text)
    assert len(both["measurements"].text) == len(alone["measurements"].text) + 16


def test_operations_are_not_taken_together():
    found = points([*measured(), *measured("product")])
    made = {table.name: table for table in tables.tables(found)}
    counts = made["matrices-network"].text.groupby("operation").size()
    assert counts.to_dict() == {"linear": 3, "product": 3}


def test_every_matrix_is_a_point():
    figures = dict(plots.figures(points(measured())))
    assert [*figures] == ["matrices-inference"]
    (axes,) = figures["matrices-inference"].axes
    ours = [line for line in axes.lines if line.get_color() == plots.style.of("ours")["color"]]
    dots, means = (line.get_xydata() for line in ours)
    expected = sorted((1 - sparsity, ours) for _, sparsity, ours, _, _ in MATRICES)
    assert np.sort(dots, axis=0) == pytest.approx(np.sort(np.array(expected), axis=0), rel=0.03)
    assert len(means) == 4  # of every band
    assert axes.get_xlabel() == "sparsity"


def test_the_plots_of_drawn_layers_know_nothing_of_files():
    drawn = sweep(widths=(512,), phases=("inference",))
    alone = [name for name, _ in plots.figures(points(drawn))]
    both = [name for name, _ in plots.figures(points([*drawn, *measured()]))]
    assert both == [*alone, "matrices-inference"]


def test_the_terminal_shows_the_leagues():
    console = Console(file=io.StringIO(), width=120)
    console.print(tables.terminal(measured()))
    shown = console.file.getvalue()
    assert "Matrices from files by network" in shown
    assert "90–94%" in shown
    assert "Does sparse pay here?" not in shown


def test_bands_are_of_whole_percents():
    of = {s: record(1e-3, sparsity=s, topology=f"file:a.smtx@{s}") for s in (0.8999, 0.9, 0.90001)}
    assert [len(found) for found in matrices.bands(points(of.values())).values()] == [3]
