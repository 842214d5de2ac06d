"""What is counted is right: every workload computes its product, compared with the dense one."""

import pytest
import torch

from sparsebench.regression.counted.memory import Memory, given
from sparsebench.regression.counted.way import INPUTS, OUTPUTS, Layer
from sparsebench.regression.counted.workloads import ISA, WAYS, WORKLOADS, use, workload
from sparselayers.backends.native import calibration, library

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def kernels():
    if library.kernels is None or ISA not in library.kernels.supported():
        pytest.skip(f"needs the kernels for {ISA}")
    yield use(library.kernels)
    library.kernels.use(library.isa()[0])


def matrix(kind, rows, columns, seed):
    numbers = given(kind, rows * columns, seed).numbers()
    return torch.tensor(numbers, dtype=torch.float64).view(rows, columns)


def oracle(name):
    """Every result that a workload may have, in float64, from dense matrices."""
    way, _, kind, batch = WORKLOADS[name]
    layer = Layer(way.of_256, way.height, way.n_of_m)
    row_ptr = torch.tensor(layer.row_ptr)
    rows = torch.arange(OUTPUTS).repeat_interleave(row_ptr.diff())
    places = (rows, torch.tensor(layer.col))
    weight = torch.zeros(OUTPUTS, INPUTS, dtype=torch.float64)
    weight[places] = matrix(kind, 1, layer.nnz, 1)[0]
    if not batch:
        return {"weight": weight, "dweights": matrix(kind, OUTPUTS, INPUTS, 5)[places]}
    bias = matrix(kind, 1, OUTPUTS, 2)
    x, dy = matrix(kind, batch, INPUTS, 3), matrix(kind, batch, OUTPUTS, 4)
    return {
        "y": x @ weight.t() + bias,
        "dx": dy @ weight,
        "dweights": (dy.t() @ x)[places],
        "dbias": dy.sum(0),
    }


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_workload_computes_its_product(name, kernels):
    made = workload(name, kernels)
    made.run()
    made.run()  # nothing is added up from call to call
    _, product, kind, _ = WORKLOADS[name]
    if product == "arrange":
        assert not made.results
        return
    assert made.results
    expected = oracle(name)
    for result, memory in made.results.items():
        found = torch.tensor(memory.numbers(), dtype=torch.float64)
        exact = expected[result].to(TYPES[kind]).double().reshape(-1)
        assert torch.equal(found, exact), result


def test_every_way_is_counted():
    assert {way.name for way in WAYS} == set(calibration.WAYS)


def test_numbers_are_kept_exactly():
    numbers = [-0.875, 0.0, 0.5, 96.5]
    for kind in ("f32", "bf16"):
        assert Memory.of(kind, numbers).numbers() == numbers
    assert given("f32", 1000, 7).numbers() == given("bf16", 1000, 7).numbers()


def test_so_many_of_every_four():
    layer = Layer(26, n_of_m=(2, 4))
    assert layer.row_ptr == list(range(0, OUTPUTS * INPUTS // 2 + 1, INPUTS // 2))
    assert [col // 4 for col in layer.col] == [i // 2 for i in range(INPUTS // 2)] * OUTPUTS
    assert all(a != b for a, b in zip(layer.col[::2], layer.col[1::2], strict=True))


def test_a_layer_is_in_order_and_blocks_are_alike():
    layer = Layer(26, height=8)
    rows = [layer.col[a:b] for a, b in zip(layer.row_ptr, layer.row_ptr[1:], strict=False)]
    assert len(rows) == OUTPUTS
    assert all(row == sorted(set(row)) for row in rows)
    assert rows[0] == rows[7] != rows[8]
    assert layer.nnz == pytest.approx(OUTPUTS * INPUTS * 26 / 256, rel=0.05)
