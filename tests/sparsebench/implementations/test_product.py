"""The product alone: right, laid out as it was asked, and without what a layer adds."""

from dataclasses import replace

import pytest
import torch

from sparsebench.cases import problem
from sparsebench.implementations import IMPLEMENTATIONS
from sparsebench.measuring import worker
from sparselayers import backends
from tests.sparsebench.cases.test_case import PRODUCT

NAMES = [name for name, i in IMPLEMENTATIONS.items() if "product" in i.operations]


def test_who_has_one():
    assert {"dense", "torch_csr", "scipy_csr", "sparse_dot_mkl", "ours", "reference"} == {*NAMES}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("batch", [1, 5, 64])
@pytest.mark.parametrize("name", NAMES)
def test_a_product_is_the_oracles(name, batch, dtype, tmp_path):
    case = replace(
        PRODUCT,
        implementation=name,
        batch=batch,
        dtype=dtype,
        sparsity=0.95,
        threads=torch.get_num_threads(),
    )
    implementation = IMPLEMENTATIONS[name]
    if reason := implementation.unavailable() or implementation.unsupported(case):
        pytest.skip(reason)
    worker.prepare(case, tmp_path)
    given = problem.load(tmp_path / "problem.pt", "cpu", "inference")
    assert given.x.t().is_contiguous()
    assert not given.bias.any()
    implementation.load()
    y = implementation.of(case).build(given)(given.x)
    assert y.shape == (batch, 20)
    assert y.t().is_contiguous()
    weight = torch.zeros(20, 30, dtype=torch.float64)
    connectivity = given.connectivity
    weight[connectivity.row.long(), connectivity.col.long()] = given.values.double()
    tolerance = {"float32": 1e-5, "bfloat16": 4e-2, "float64": 1e-12}[dtype]
    expected = given.x.double() @ weight.T
    torch.testing.assert_close(y.double(), expected, rtol=tolerance, atol=tolerance)
    outcome = worker.measure(case, tmp_path, 1e-4, None)
    assert outcome.status == "ok", outcome.message
    assert outcome.errors.keys() == {"output"}
    assert outcome.memory.training_peak is None


@pytest.mark.parametrize("name", ["native", "lanes", "bitmaps", "panels", "reference"])
@pytest.mark.parametrize("batch", [1, 3, 128, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_backends_product_is_its_forward_without_a_bias(name, batch, dtype):
    backend = backends.BACKENDS[name]
    if reason := backend.unavailable():
        pytest.skip(reason)
    if not backend.supports(torch.device("cpu"), dtype):
        pytest.skip(f"{name} does not serve {dtype}")
    made = problem.make(replace(PRODUCT, batch=batch))
    x, values = made.x.to(dtype), made.values.to(dtype)
    y = backend.product(x, values, made.connectivity)
    assert y.t().is_contiguous()
    torch.testing.assert_close(y, backend.forward(x, values, None, made.connectivity))


def test_what_a_product_must_move_has_no_bias():
    from sparsebench.cases import arithmetic

    layer = replace(PRODUCT, operation="linear")
    assert arithmetic.traffic(layer) - arithmetic.traffic(PRODUCT) == 4 * PRODUCT.out_features
    assert arithmetic.flops(layer) == arithmetic.flops(PRODUCT)
