"""What CONTRIBUTING.md shows works as it stands."""

import re
from pathlib import Path

import pytest
import torch

from sparsebench.analysis import metrics
from sparsebench.analysis.points import points
from sparsebench.cases import problem
from tests.sparsebench.factory import case, record

BLOCKS = re.findall(
    r"```python\n(.*?)```", (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(), re.DOTALL
)


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


def test_the_metric_is_right():
    (function,) = (block for block in BLOCKS if "def bandwidth_draws" in block)
    (row,) = (block for block in BLOCKS if "Metric(" in block)
    namespace = dict(vars(metrics))
    exec(function, namespace)
    metric = eval(row, namespace)
    (point,) = points([record(0.5)])
    assert metric.of(point).value == metrics.METRICS["traffic"].of(point).value / 0.5
