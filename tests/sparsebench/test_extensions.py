"""Implementations and topologies of other distributions: an example package, tried as a user would.

It is installed by hand: its module and metadata lie in a folder that is on the path. Everything is
done by one process with that path; in the slow half of the tests by processes of its own, as it is.
"""

import json
import os
import subprocess
import sys
from contextlib import chdir

import pytest

from sparsebench import extensions, records
from sparsebench.extensions import Extension, Registry, Unusable
from tests import fresh

MODULE = '''
"""A competitor and a topology."""
import torch
from torch import nn
import sparselayers as sl
from sparsebench.implementations.base import Implementation


class Gathered(Implementation):
    """Gathers the inputs of every connection."""

    name = "gathered"

    def build(self, problem):
        return Module(problem)


class Module(nn.Module):
    def __init__(self, problem):
        super().__init__()
        self.connectivity = problem.connectivity
        self.weights = nn.Parameter(problem.values.clone())
        self.bias = nn.Parameter(problem.bias.clone())

    def forward(self, x):
        terms = x[:, self.connectivity.col] * self.weights
        y = x.new_zeros(len(x), len(self.bias)).index_add(1, self.connectivity.row, terms)
        return y + self.bias


class Halved(Gathered):
    """Computes half of it."""

    name = "halved"

    def build(self, problem):
        module = super().build(problem)
        with torch.no_grad():
            module.weights *= 0.5
        return module


def banded(shape, sparsity, *, generator=None):
    """Connect each output to the inputs next to it."""
    each = round((1 - sparsity) * shape[1])
    row = torch.arange(shape[0]).repeat_interleave(each)
    col = (row + torch.arange(each).repeat(shape[0])) % shape[1]
    return sl.from_edges(torch.stack((row, col)), shape)


def too_few(shape, sparsity, *, generator=None):
    """Connect one pair."""
    return sl.from_edges(torch.zeros(2, 1, dtype=torch.int64), shape)
'''
ENTRIES = {
    ("example", "1.2"): (
        {"gathered": "example_of_sparsebench:Gathered", "halved": "example_of_sparsebench:Halved"},
        {"banded": "example_of_sparsebench:banded", "too_few": "example_of_sparsebench:too_few"},
    ),
    ("broken", "0.3"): ({"absent": "module_that_is_not_there:It"}, {"gone": "nor_this_one:it"}),
    ("usurper", "2.0"): (
        {"dense": "example_of_sparsebench:Gathered", "twice": "example_of_sparsebench:Gathered"},
        {"random": "example_of_sparsebench:banded"},
    ),
    ("rival", "4"): ({"twice": "example_of_sparsebench:Halved"}, {}),
}
SWEEP = """
rounds = 1
sample_s = 0.001
[grid]
implementation = ["dense", "ours", "gathered", "halved", "absent"]
topology = "banded"
width = 32
sparsity = 0.75
batch = 4
phase = "forward_backward"
threads = 1
[[include]]
implementation = "ours"
topology = ["too_few", "gone", "random"]
"""
SCRIPT = """
import sys
from typer.testing import CliRunner
from sparsebench import cli
if __name__ == "__main__":
    runner = CliRunner()
    for name, arguments in (("list", ["list", "--json"]), ("run", ["run", "try.toml"])):
        result = runner.invoke(cli.app, arguments)
        open(name, "w").write(result.stdout)
        if result.exception: raise result.exception
    assert "nor_this_one" not in sys.modules
    result = runner.invoke(cli.app, ["run", "twice.toml"])
    open("refused", "w").write(str(result.exception))
"""


ALONE = """
import sys
sys.path.insert(0, {folder!r})
from sparsebench.measuring import isolation, roofline
roofline.probe = lambda device, dtype, threads: {{"matmul_gflops": 1.0}}
isolation.call = lambda function, *args, timeout_s, log=None: function(*args)
"""


def install(folder):
    (folder / "example_of_sparsebench.py").write_text(MODULE)
    for (name, version), (implementations, topologies) in ENTRIES.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        info.joinpath("entry_points.txt").write_text(
            "".join(
                f"[{group}]\n" + "".join(f"{n} = {place}\n" for n, place in entries.items())
                for group, entries in (
                    (extensions.IMPLEMENTATIONS, implementations),
                    (extensions.TOPOLOGIES, topologies),
                )
            )
        )


@pytest.fixture(scope="module", params=["alone", pytest.param("apart", marks=pytest.mark.slow)])
def tried(request, tmp_path_factory):
    """The folder in which `list` and a tiny sweep were run with the packages on the path."""
    folder = tmp_path_factory.mktemp("installed")
    install(folder)
    (folder / "try.toml").write_text(SWEEP)
    (folder / "twice.toml").write_text(SWEEP.replace("halved", "twice"))
    (folder / "script.py").write_text(SCRIPT)
    if request.param == "alone":
        with chdir(folder):
            fresh.one(ALONE.format(folder=str(folder)) + SCRIPT)
        return folder
    path = os.pathsep.join([str(folder), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def listed(tried):
    found = json.loads((tried / "list").read_text())
    return {
        kind: {(row["name"], row["owner"]): row for row in found[kind]}
        for kind in ("implementations", "topologies")
    }


def test_what_another_distribution_brings_is_listed(listed):
    gathered = listed["implementations"]["gathered", "example 1.2"]
    assert gathered["description"] == "Gathers the inputs of every connection."
    assert gathered["unavailable"] is None
    banded = listed["topologies"]["banded", "example 1.2"]
    assert banded["description"] == "Connect each output to the inputs next to it."
    assert banded["unavailable"] is None


@pytest.mark.parametrize(
    ("kind", "name", "module"),
    [
        ("implementations", "absent", "module_that_is_not_there"),
        ("topologies", "gone", "nor_this_one"),
    ],
)
def test_what_cannot_be_imported_is_listed_with_whose_it_is_and_why(listed, kind, name, module):
    reason = listed[kind][name, "broken 0.3"]["unavailable"]
    assert reason == (
        f"broken 0.3 brings it, and cannot be imported: ModuleNotFoundError: "
        f"No module named '{module}'"
    )


def test_a_name_that_is_taken_is_refused_with_both_owners(listed):
    for kind, name in (("implementations", "dense"), ("topologies", "random")):
        assert listed[kind][name, "sparsebench"]["unavailable"] is None
        reason = listed[kind][name, "usurper 2.0"]["unavailable"]
        assert "usurper 2.0 brings" in reason
        assert "sparsebench has" in reason
    for owner, other in (("usurper 2.0", "rival 4"), ("rival 4", "usurper 2.0")):
        reason = listed["implementations"]["twice", owner]["unavailable"]
        assert reason == f"{owner} and {other} all bring 'twice': none of them is used"


def test_a_sweep_that_asks_for_a_refused_name_is_told_why(tried):
    told = (tried / "refused").read_text()
    assert "twice.toml, line 5: grid.implementation[3] = 'twice': rival 4 and usurper 2.0" in told
    assert "none of them is used: choose from dense, " in told


@pytest.fixture(scope="module")
def measured(tried):
    found = records.load(tried / "results" / "try" / "records.jsonl")
    return {(r.case.implementation, r.case.topology): r for r in found}


def test_it_runs_in_a_sweep_and_is_checked(measured):
    for name in ("dense", "ours", "gathered"):
        assert measured[name, "banded"].status == "ok"
        assert measured[name, "banded"].samples
    assert set(measured["gathered", "banded"].errors) == {"output", "input", "values", "bias"}
    wrong = measured["halved", "banded"]
    assert wrong.status == "incorrect"
    assert "differs from the oracle: output" in wrong.message
    assert measured["ours", "random"].status == "ok"


def test_records_say_whose_software_it_was(measured):
    told = measured["gathered", "banded"].software["implementation"]
    assert told.startswith("example 1.2, ")
    assert "connections of example 1.2" in told
    assert "example" not in measured["ours", "random"].software["implementation"]


def test_what_cannot_be_used_is_a_row_that_says_why(measured):
    absent = measured["absent", "banded"]
    assert (absent.status, absent.samples) == ("unsupported", [])
    assert "broken 0.3 brings it" in absent.message
    assert "broken 0.3 brings it" in measured["ours", "gone"].message
    few = measured["ours", "too_few"]
    assert few.status == "unsupported"
    assert few.message == "topology too_few: it drew 1 connections, asked for 256"


class _Entry:
    """An entry point of a made-up distribution."""

    def __init__(self, name, loaded):
        self.name, self._loaded = name, loaded

    def load(self):
        if isinstance(self._loaded, BaseException):
            raise self._loaded
        return self._loaded


def test_any_failure_of_an_import_is_told():
    with pytest.raises(Unusable, match=r"thing 1 brings it, .*: OSError: no such file$"):
        Extension("x", "thing 1", _Entry("x", OSError("no such file\nat all"))).load()


def test_names_that_cannot_stand_in_a_key_are_refused(monkeypatch):
    every = tuple(
        Extension(name, "thing 1", _Entry(name, name)) for name in ("a b", "file:x", "x=1", "fine")
    )
    monkeypatch.setattr(extensions, "found", lambda group: every)
    registry = Registry("group", {"own": "own"}, lambda extension: extension.load())
    assert list(registry) == ["own", "fine"]
    assert len(registry) == 2
    assert registry["fine"] == "fine"
    assert [registry.owner(name) for name in registry] == ["sparsebench", "thing 1"]
    assert ["a name is letters" in e.refused for e in registry.refused] == [True] * 3
    with pytest.raises(KeyError):
        registry["a b"]
