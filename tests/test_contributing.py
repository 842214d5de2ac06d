"""What CONTRIBUTING.md shows works as it stands, and what guides for newcomers name is there."""

import re
from pathlib import Path

import pytest
import torch

from sparsebench.analysis import metrics
from sparsebench.analysis.points import points
from sparsebench.cases import problem
from sparselayers.topologies import registry
from tests.sparsebench.factory import case, record

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
ROOMS = r"`((?:benchmarks|experiments|layers|sparsebench|tests)/[\w./-]*)`"


@pytest.mark.parametrize(
    ("guide", "path", "where"),
    [
        ("CONTRIBUTING.md", ROOMS, ""),
        ("layers/README.md", r"`((?:\w+/)*\w+\.py|\w+/)`", "layers/sparselayers"),
    ],
)
def test_every_file_and_folder_that_a_guide_names_is_there(guide, path, where):
    named = re.findall(path, (ROOT / guide).read_text("utf-8"))
    assert len(named) > 20
    assert not [name for name in named if not (ROOT / where / name).exists()]


def test_the_librarys_guide_names_every_module():
    text = (ROOT / "layers" / "README.md").read_text("utf-8")
    modules = {path.name for path in (ROOT / "layers" / "sparselayers").glob("[a-z]*.py")}
    assert not {name for name in modules if name not in text}


@pytest.mark.filterwarnings("ignore:Sparse CSC tensor support is in beta")
def test_the_competitor_is_right():
    (source,) = (block for block in BLOCKS if "Implementation" in block)
    namespace = {"__name__": "torch_csc"}
    exec(source, namespace)
    given = problem.make(case(width=64, batch=8, implementation="torch_csc"))
    module = namespace["TorchCSC"]().build(given)
    weight = torch.zeros(given.connectivity.shape)
    weight[given.connectivity.mask()] = given.values
    expected = torch.nn.functional.linear(given.x, weight, given.bias)
    torch.testing.assert_close(module(given.x), expected)


def test_the_topology_is_right(monkeypatch):
    (source,) = (block for block in BLOCKS if "def banded" in block)
    monkeypatch.setattr(registry, "DRAWN", {})
    namespace = {"__name__": "banded"}
    exec(source, namespace)
    assert list(registry.DRAWN) == ["banded"]
    made = namespace["banded"]((40, 30), 0.85)
    assert (made.shape, made.nnz) == ((40, 30), 180)
    assert set(made.row_ptr.diff().tolist()) == {4, 5}
    assert made.col[:4].tolist() == [0, 1, 2, 3]


def test_the_metric_is_right():
    (function,) = (block for block in BLOCKS if "def bandwidth" in block)
    (row,) = (block for block in BLOCKS if "Metric(" in block)
    namespace = dict(vars(metrics))
    exec(function, namespace)
    metric = eval(row, namespace)
    (point,) = points([record(0.5)])
    assert metric.of(point).value == metrics.METRICS["traffic"].of(point).value / 0.5
