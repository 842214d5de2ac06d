"""Prepared launches give the driver what Triton's own would: seen on a GPU that does nothing."""

import json

import pytest

from tests import fresh

SEEN = """
import json, sys, torch, sparselayers as sl
from sparsebench.regression import launches
driver = launches.install()
import triton
from sparselayers.backends.triton_kernels import launcher, shortcut

HOOKS = range(8, 11)  # what is said to hooks, and they

def of(call):
    driver.keeps, driver.launched = True, []
    call()
    driver.keeps = False
    # Grid, stream, function and what is said of it, then the arguments: tensors as addresses.
    return [
        [[str(a) for n, a in enumerate(each[:-1]) if n not in HOOKS],
         [a.data_ptr() if isinstance(a, torch.Tensor) else str(a) if a is not None
          and not isinstance(a, (int, bool)) else a for a in each[-1]]]
        for each in driver.launched
    ]

def same(mask, batch, dtype, name="triton", bias=True):
    backend = sl.backends.BACKENDS[name]
    connectivity = sl.from_mask(mask)
    rows, features = mask.shape
    x = torch.randn(features, batch, dtype=dtype).t()
    dy = torch.randn(rows, batch, dtype=dtype).t()
    values = torch.randn(connectivity.nnz, dtype=dtype)
    bias = torch.randn(rows, dtype=dtype) if bias else None
    kept = {}
    names = "new_empty", "new_empty_strided"
    empties = [getattr(torch.Tensor, each) for each in names]

    def fixed(made):  # results lie where they lay before
        def again(tensor, *args, **kwargs):
            key = made, str(args), str(kwargs)
            if key not in kept:
                kept[key] = made(tensor, *args, **kwargs)
            return kept[key]
        return again

    for each, made in zip(names, empties):
        setattr(torch.Tensor, each, fixed(made))
    try:
        def call(by=backend):
            by.forward(x, values, bias, connectivity)
            by.backward(dy, x, values, connectivity, needs=(True, True, bias is not None))

        def shortly():
            call(backend.shortly(x, connectivity))

        first, second = of(call), of(call)
        of(shortly)
        third = of(shortly)
        seen = []
        hook = seen.append
        triton.knobs.runtime.launch_enter_hook.add(hook)
        watched = of(shortly)
        hooked = [each[9] for each in driver.launched]
        triton.knobs.runtime.launch_enter_hook.remove(hook)
        unwatched = of(shortly)
        unhooked = [each[9] for each in driver.launched]
        prepare, launcher.Launch._prepare = launcher.Launch._prepare, lambda *_: None
        for key in (("triton", False), ("triton", True), "triton bitmap"):
            if connectivity.has_derived(key):
                connectivity.derive(key, dict).plans.clear()
        fourth = of(call)
        launcher.Launch._prepare = prepare
    finally:
        for each, made in zip(names, empties):
            setattr(torch.Tensor, each, made)
    calls = all(each is not None for each in hooked) and all(each is None for each in unhooked)
    return [first, second, third, fourth, watched, unwatched, calls]

def calls_of(layer, x, dy):
    "Functions of the library that are called for a forward and a backward pass."
    for leaf in (x, *layer.parameters()):
        leaf.grad = None
    count = 0
    def see(frame, event, argument):
        nonlocal count
        count += event == "call" and "sparselayers" in frame.f_code.co_filename
    sys.setprofile(see)
    layer(x).backward(dy)
    sys.setprofile(None)
    return count

def step(batch):
    layer = sl.SparseLinear(16, 16, sparsity=0.9, backend="triton")
    x, dy = torch.randn(batch, 16, requires_grad=True), torch.randn(batch, 16)
    return [calls_of(layer, x, dy) for _ in range(4)][-1]

generator = torch.Generator().manual_seed(0)
mask = torch.rand(40, 60, generator=generator) < 0.3
print(json.dumps({
    "launches": [same(mask, batch, dtype)
                 for batch, dtype in ((1, torch.float32), (48, torch.bfloat16))]
                + [same(mask, 48, torch.bfloat16, "triton_bitmaps"),
                   same(mask, 2, torch.float32, bias=False)],
    "known": shortcut._KNOWN,
    "calls": [step(1), step(16)],
}))
"""


@pytest.fixture(scope="module")
def seen():
    pytest.importorskip("triton", reason="Triton is not installed")
    return json.loads(fresh.one(SEEN))


def test_prepared_launches_are_tritons_own(seen):
    """As they were at first, from then on, where everything is prepared, and where nothing is."""
    assert seen["known"]  # with the Triton that the tests run with
    for first, *others, _ in seen["launches"]:
        assert len(first) == 3  # y, dx, and the gradients of weights and bias in one
        assert all(other == first for other in others)


def test_whoever_watches_launches_sees_them(seen):
    assert all(calls for *_, calls in seen["launches"])


def test_a_step_is_a_few_calls(seen):
    """What the host does for a layer on a GPU, counted: no time, and the same on every machine."""
    assert 20 < max(seen["calls"]) <= 40
