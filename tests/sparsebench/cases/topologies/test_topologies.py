"""Every topology that is registered: drawn for a case, known to sweeps, filters and tables."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

import sparselayers as sl
from sparsebench import cli
from sparsebench.cases import drawable, names, problem, sweep, topologies
from sparsebench.cases.covered import LAYERS, of_layer, of_topologies, shipped
from sparsebench.cases.filters import parse
from sparsebench.cases.topologies import TOPOLOGIES, Undrawable, registry
from sparsebench.cases.topologies.structured import STRUCTURED
from sparsebench.errors import InputError
from sparsebench.measuring import worker
from sparselayers.topologies import drawn
from tests.sparsebench.factory import case

SOME = case(width=48, sparsity=0.8, batch=2, phase="inference")


@pytest.mark.parametrize("name", sorted(TOPOLOGIES.keys() - STRUCTURED.keys()))
def test_every_topology_draws_as_many_connections_as_a_case_says(name):
    one, same, other = (
        topologies.draw(replace(SOME, topology=name), torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert one.shape == (48, 48)
    assert one.nnz == SOME.nnz
    assert torch.equal(one.col, same.col)
    assert not (torch.equal(one.col, other.col) and torch.equal(one.row_ptr, other.row_ptr))


def test_a_topology_of_the_library_is_drawn_from_the_seed_of_the_case():
    made = problem.make(replace(SOME, topology="small_world", seed=3)).connectivity
    expected = sl.small_world((48, 48), 0.8, generator=torch.Generator().manual_seed(3))
    assert torch.equal(made.col, expected.col)


def test_what_follows_data_connects_inputs_to_those_near_them():
    made = topologies.draw(replace(SOME, topology="correlated"), torch.Generator().manual_seed(0))
    distance = (made.row.long() - made.col.long()).abs()
    assert (distance <= 12).float().mean() > 0.9
    assert (distance > 0).all()


def test_the_library_registers_what_it_draws():
    assert {"random", "erdos_renyi", "small_world", "receptive_fields"} <= TOPOLOGIES.keys()

    def random():
        """Draw nothing."""

    with pytest.raises(ValueError, match="two topologies are called 'random'"):
        drawn(random)
    with pytest.raises(ValueError, match="two topologies are called 'full_rows'"):
        topologies.named("full_rows")(random)


def test_one_decorator_makes_a_topology_known_everywhere(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "OWN", {})

    @topologies.named("diagonal")
    def diagonal(shape, sparsity, *, generator=None):
        """Connect equals."""

    (made,) = registry.OWN.values()
    monkeypatch.setitem(TOPOLOGIES, "diagonal", made)
    assert made.description == "Connect equals."
    assert "diagonal" in names.topologies()
    path = tmp_path / "mine.toml"
    path.write_text(
        '[grid]\nimplementation = "ours"\ntopology = "diagonal"\nwidth = 8\nsparsity = 0.5\n'
        'batch = 1\nphase = "inference"'
    )
    (asked,) = sweep.load(str(path)).cases(["cpu"], [1])
    assert asked.topology == "diagonal"
    assert parse("topology=diagonal")(asked)
    path.write_text(path.read_text().replace("diagonal", "antidiagonal"))
    with pytest.raises(InputError, match=r"unknown topology: choose from random.*diagonal, file"):
        sweep.load(str(path))
    listed = json.loads(CliRunner().invoke(cli.app, ["list", "--json"]).stdout)["topologies"]
    (row,) = (row for row in listed if row["name"] == "diagonal")
    assert row["description"] == "Connect equals."


def test_a_case_that_has_no_such_connections_says_why(tmp_path):
    lonely = replace(SOME, topology="small_world", sparsity=0.99)
    outcome = worker.prepare(lonely, tmp_path)
    assert outcome.status == "unsupported"
    assert outcome.message.startswith("topology small_world: sparsity 0.99 leaves 23 connections")
    with pytest.raises(Undrawable):
        problem.make(lonely)


@pytest.mark.parametrize(
    ("topology", "changes", "why"),
    [
        ("blocks-32x32", {}, "blocks of 32 × 32 do not divide a layer of shape (48, 48)"),
        ("2:4", {}, "2:4 has a sparsity of 0.5"),
        ("1:4", {"width": 50, "sparsity": 0.75}, "its 50 inputs are no multiple of M = 4"),
        ("blocks-16x16", {"sparsity": 0.99}, "sparsity 0.99 leaves no block of 16 × 16"),
        ("fan-in", {"sparsity": 0.995}, "leaves the outputs of a layer of shape (48, 48) without"),
        ("small_world", {"sparsity": 0.99}, "leaves 23 connections"),
        ("random", {"width": 8, "sparsity": 0.995}, "leaves no connection in a layer of shape"),
        ("mask", {"width": 8, "sparsity": 0.995}, "leaves no connection in a layer of shape"),
    ],
)
def test_what_nobody_could_draw_is_known_before_it_is_measured(topology, changes, why, tmp_path):
    """As a worker says it that tries; and never where one of the layers has such connections."""
    wrong = case(**{"width": 48, "sparsity": 0.8, "topology": topology, "batch": 2} | changes)
    found = drawable.never([wrong, replace(wrong, batch=4), replace(SOME, topology="power_law")])
    assert found.keys() == {topology}
    assert why in found[topology]
    assert worker.prepare(wrong, tmp_path).message == f"topology {topology}: {found[topology]}"
    fits = replace(wrong, in_features=4096, out_features=4096, sparsity=0.5)
    assert drawable.never([wrong, fits]) == {}


def test_what_is_shipped_can_be_drawn_and_what_others_bring_answers_later(monkeypatch):
    for name in sweep.names():
        asked = sweep.load(name)
        if not asked.files:
            assert drawable.never(asked.cases(["cpu"], [2])) == {}
    monkeypatch.setattr(TOPOLOGIES, "owner", lambda name: "example 1.2")
    assert drawable.never([replace(SOME, topology="2:4")]) == {}


def test_every_layer_and_topology_has_a_sweep():
    grids = shipped()
    assert next(iter(grids)) == "default"
    assert not [layer.name for layer in LAYERS if not of_layer(layer, grids)]
    found = of_topologies(grids)
    assert not [name for name in TOPOLOGIES if not found[name]]
    assert "uneven" in found["power_law"]
    assert "dlmc" in found["file:"]
