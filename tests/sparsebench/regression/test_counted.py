"""What is counted is right: every workload computes its product, compared with the dense one."""

from functools import cache
from pathlib import Path

import pytest
import torch

from sparsebench.regression import counted
from sparsebench.regression.counted.memory import Memory, given
from sparsebench.regression.counted.rewiring import Rewiring
from sparsebench.regression.counted.way import INPUTS, OUTPUTS, Layer, Workload
from sparsebench.regression.counted.workloads import ISA, WAYS, WORKLOADS, use, workload
from sparselayers.backends.native import calibration, library

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16}


@pytest.fixture(scope="module")
def kernels():
    if library.kernels is None or ISA not in library.kernels.supported():
        pytest.skip(f"needs the kernels for {ISA}")
    yield use(library.kernels)
    library.kernels.use(library.isa()[0])


def matrix(kind, rows, columns, seed, of_256=256):
    numbers = given(kind, rows * columns, seed, of_256).numbers()
    return torch.tensor(numbers, dtype=torch.float64).view(rows, columns)


@cache
def oracle(way, kind, batch):
    """Every result that workloads of a way may have, in float64, from dense matrices."""
    layer = Layer(way.of_256, way.height, way.n_of_m)
    row_ptr = torch.tensor(layer.row_ptr)
    rows = torch.arange(OUTPUTS).repeat_interleave(row_ptr.diff())
    places = (rows, torch.tensor(layer.col))
    weight = torch.zeros(OUTPUTS, INPUTS, dtype=torch.float64)
    weight[places] = matrix(kind, 1, layer.nnz, 1)[0]
    if not batch:
        return {"weight": weight, "dweights": matrix(kind, OUTPUTS, INPUTS, 5)[places]}
    bias = matrix(kind, 1, OUTPUTS, 2)
    x = matrix(kind, batch, INPUTS, 3, way.inputs_of_256)
    dy = matrix(kind, batch, OUTPUTS, 4)
    return {
        "y": x @ weight.t() + bias,
        "dx": dy @ weight,
        "dweights": (dy.t() @ x)[places],
        "dbias": dy.sum(0),
    }


@pytest.mark.parametrize("name", [n for n, (way, *_) in WORKLOADS.items() if way is not Rewiring])
def test_a_workload_computes_its_product(name, kernels):
    made = workload(name, kernels)
    made.run()
    made.run()  # nothing is added up from call to call
    way, product, kind, batch = WORKLOADS[name]
    if product == "arrange":
        assert not made.results
        return
    assert made.results
    expected = oracle(way, kind, batch)
    for result, memory in made.results.items():
        found = torch.tensor(memory.numbers(), dtype=torch.float64)
        exact = expected[result].to(TYPES[kind]).double().reshape(-1)
        assert torch.equal(found, exact), result


@pytest.fixture(scope="module")
def rewiring(kernels):
    return Rewiring(kernels)


@pytest.fixture
def rewired(rewiring):
    """Return what says of a product of the rewiring which results it has, as tensors."""

    def results(product, kind=""):
        made = Workload(rewiring.layer, kind, 0)
        getattr(rewiring, product)(made)
        made.run()
        first = {name: memory.numbers() for name, memory in made.results.items()}
        made.run()  # as again: nothing is added up, and all that is drawn is drawn again
        assert {name: memory.numbers() for name, memory in made.results.items()} == first
        return {name: torch.tensor(numbers) for name, numbers in first.items()}

    return results


def dense(row_ptr, col, values=True):
    """Return a matrix that has `values` where connections are, and 0 elsewhere."""
    row_ptr, col = torch.as_tensor(row_ptr).long(), torch.as_tensor(col).long()
    values = torch.as_tensor(values)
    found = torch.zeros(OUTPUTS, INPUTS, dtype=values.dtype)
    found[torch.arange(OUTPUTS).repeat_interleave(row_ptr.diff()), col] = values
    return found


def test_the_least_go_and_few_are_above_a_bar(rewiring, rewired):
    order = torch.tensor(rewiring.worth).argsort()
    keep = torch.ones(len(order), dtype=torch.bool)
    keep[order[: rewiring.dropped]] = False
    assert torch.equal(rewired("drop", "f32")["keep"].bool(), keep)
    assert keep.tolist() == rewiring.kept
    few = rewired("above", "f32")["places"][: rewiring.few]
    assert torch.equal(few, order[-rewiring.few :].sort().values)


def test_what_has_grown_takes_free_places(rewiring, rewired):
    old = rewiring.old
    kept = dense(old.row_ptr, old.col, torch.tensor(rewiring.kept))
    found = rewired("scatter")
    assert torch.equal(found["kept"], kept.sum(1))
    assert torch.equal(found["counts"], found["ptr"].diff())
    drawn = dense(found["ptr"], found["col"])
    assert drawn.sum() == rewiring.dropped == len(found["col"])
    assert not (drawn & kept).any()
    candidates = rewired("candidates")
    assert candidates["counts"].sum() == rewiring.layer.nnz
    drawn = dense(candidates["ptr"], candidates["col"][: candidates["ptr"][-1]])
    assert drawn.sum() == candidates["ptr"][-1] > rewiring.layer.nnz // 2
    assert not (drawn & dense(old.row_ptr, old.col)).any()


def test_what_is_kept_moves_with_its_connection(rewiring, rewired):
    old, grown, now = rewiring.old, rewiring.grown, rewiring.now
    kept = dense(old.row_ptr, old.col, torch.tensor(rewiring.kept))
    after = kept | dense(grown.row_ptr, grown.col)
    assert torch.equal(dense(now.row_ptr, rewired("merge")["col"]), after)
    stood = dense(old.row_ptr, old.col, torch.arange(len(old.col)) + 1)[after] - 1
    assert torch.equal(rewired("places")["places"], stood)
    for kind, moved in rewired("carry").items():
        before = torch.tensor(given(kind, len(old.col), 1).numbers())
        assert torch.equal(moved, torch.where(stood < 0, 0, before[stood]))


def test_every_way_is_counted():
    """But for AMX, which valgrind does not know."""
    assert {way.name for way in WAYS} >= set(calibration.WAYS) - {"amx"}


def test_every_kernel_is_counted(kernels):
    """But for those of convolutions, and for what tells how a batch is cut into blocks."""
    folder = Path(counted.__file__).parent
    source = "".join(file.read_text("utf-8") for file in folder.glob("*.py"))
    offered = {name.removesuffix("_f32") for name in dir(kernels) if name.endswith("_f32")}
    missing = {name for name in offered if f'"{name}"' not in source}
    cut = {"blocks", "has_own_blocks"}
    assert missing == {"conv_lanes", "conv_correlate", "conv_grad_values"} | cut
    for kind in (kernels.Rows16, kernels.Bitmap, kernels.RowBlocks16, kernels.Pattern32):
        methods = [name for name in vars(kind) if not name.startswith("_")]
        assert methods
        assert [name for name in methods if f".{name}" not in source] == []


def test_numbers_are_kept_exactly():
    numbers = [-0.875, 0.0, 0.5, 96.5]
    for kind in ("f32", "bf16", "f64"):
        assert Memory.of(kind, numbers).numbers() == numbers
    assert given("f32", 1000, 7).numbers() == given("bf16", 1000, 7).numbers()
    few = given("f32", 1000, 7, 13).numbers()
    assert 20 < sum(map(bool, few)) < 80
    other = Memory("bool", 3)
    other.be(Memory.of("bool", [True, False, True]))
    assert other.numbers() == [1, 0, 1]


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
