"""Prepared launches give the driver what Triton's own would: seen on a GPU that does nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

SEEN = """
import json, torch, sparselayers as sl
from sparsebench.regression import launches
driver = launches.install()
from sparselayers.backends.triton_kernels import launcher

def of(call):
    driver.keeps, driver.launched = True, []
    call()
    driver.keeps = False
    # Grid, stream and function, then the arguments: tensors as their addresses.
    return [
        [*each[:5], *(a.data_ptr() if isinstance(a, torch.Tensor) else str(a) if a is not None
        and not isinstance(a, (int, bool)) else a for a in each[-1])]
        for each in driver.launched
    ]

def same(mask, batch, dtype, name="triton"):
    backend = sl.backends.BACKENDS[name]
    connectivity = sl.from_mask(mask)
    rows, features = mask.shape
    x = torch.randn(features, batch, dtype=dtype).t()
    dy = torch.randn(rows, batch, dtype=dtype).t()
    values, bias = torch.randn(connectivity.nnz, dtype=dtype), torch.randn(rows, dtype=dtype)
    kept = {}
    empties = torch.empty, torch.empty_strided

    def fixed(made):  # results lie where they lay before
        def again(*args, **kwargs):
            key = made, str(args), str(kwargs)
            return kept.setdefault(key, made(*args, **kwargs))
        return again

    torch.empty, torch.empty_strided = map(fixed, empties)
    try:
        def call():
            backend.forward(x, values, bias, connectivity)
            backend.backward(dy, x, values, connectivity, needs=(True, True, True))
        first, second = of(call), of(call)
        ready = launcher._CALLABLE
        launcher.Launch._prepare, prepare = (lambda self, made: None), launcher.Launch._prepare
        for key in (("triton", False), ("triton", True), "triton bitmap"):
            if connectivity.has_derived(key):
                connectivity.derive(key, dict).plans.clear()
        third = of(call)
        launcher.Launch._prepare = prepare
    finally:
        torch.empty, torch.empty_strided = empties
    return [first, second, third, ready]

generator = torch.Generator().manual_seed(0)
mask = torch.rand(40, 60, generator=generator) < 0.3
print(json.dumps([same(mask, batch, dtype)
                  for batch, dtype in ((1, torch.float32), (48, torch.bfloat16))]
                 + [same(mask, 48, torch.bfloat16, "triton_bitmaps")]))
"""


def test_prepared_launches_are_tritons_own():
    pytest.importorskip("triton", reason="Triton is not installed")
    done = subprocess.run([sys.executable, "-c", SEEN], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    for first, second, third, ready in json.loads(done.stdout):
        assert len(first) == 3  # y, dx, and the gradients of weights and bias in one
        assert ready  # with the Triton that the tests run with
        assert second == first == third
