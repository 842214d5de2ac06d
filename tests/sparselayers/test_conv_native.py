"""The C++ convolution of every instruction set against the dense one."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

import sparselayers as sl
from sparselayers.backends import BACKENDS
from sparselayers.convolution import Geometry, native, plan, products

pytestmark = pytest.mark.skipif(
    BACKENDS["native"].unavailable() is not None, reason="the kernels were not built"
)


def problem(geometry, out, channels, batch, size, dtype=torch.float64, density=0.3, height=1):
    """A layer in which so many output channels after one another have the same connections."""
    generator = torch.Generator().manual_seed(0)
    shape = out, channels // geometry.groups, *geometry.kernel
    mask = torch.rand(out // height, *shape[1:], generator=generator) < density
    mask[::5], mask[:, 3::4] = False, False
    mask[-1, 0, 0, 0] = True
    mask = mask.repeat_interleave(height, 0)
    weight = torch.randn(shape, generator=generator, dtype=dtype) * mask
    x = torch.randn(batch, channels, *size, generator=generator, dtype=dtype)
    return sl.from_mask(mask.flatten(1)), mask, weight, x


def dense(x, weight, bias, geometry):
    top, bottom, left, right = geometry.padding
    x = F.pad(x, (left, right, top, bottom))
    return F.conv2d(x, weight, bias, geometry.stride, 0, geometry.dilation, geometry.groups)


def check(geometry, connectivity, mask, weight, x, tolerance=None):
    """Compare the three products with those of the dense convolution."""
    x, weight = x.requires_grad_(), weight.requires_grad_()
    bias = torch.randn(len(weight), dtype=x.dtype, generator=torch.Generator().manual_seed(1))
    expected = dense(x, weight, bias, geometry)
    dy = torch.randn(expected.shape, dtype=x.dtype, generator=torch.Generator().manual_seed(2))
    dx, dw = torch.autograd.grad(expected, (x, weight), dy)
    x, values = x.detach(), weight.detach()[mask]
    y = native.forward(x, values, bias, connectivity, geometry)
    torch.testing.assert_close(y, expected.detach(), **(tolerance or {}))
    found = native.grad_values(dy, x, connectivity, geometry)
    torch.testing.assert_close(found, dw[mask], **(tolerance or {}))
    found = products.grad_input(dy, values, connectivity, geometry, tuple(x.shape[2:]), None)
    torch.testing.assert_close(found, dx, **(tolerance or {}))


@pytest.fixture(params=["scalar", "avx2", "avx512"])
def instruction_set(request):
    kernels = native._kernels()
    if request.param not in kernels.supported():
        pytest.skip(f"this CPU has no {request.param}")
    kernels.use(request.param)
    yield request.param
    kernels.use(kernels.supported()[-1])


GEOMETRIES = {
    "3x3": Geometry((3, 3), padding=(1, 1, 1, 1)),
    "stride": Geometry((3, 3), (2, 2), (1, 1, 1, 1)),
    "1x1": Geometry((1, 1)),
    "1x1 stride": Geometry((1, 1), (2, 2)),
    "1x1 padded": Geometry((1, 1), padding=(1, 0, 2, 0)),
    "1x1 groups": Geometry((1, 1), groups=4),
    "groups": Geometry((3, 2), (1, 3), (0, 2, 1, 0), (2, 1), groups=2),
    "sparse stride": Geometry((2, 2), (5, 3), (0, 0, 4, 1), (2, 4)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_every_instruction_set(instruction_set, geometry, dtype):
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else None
    for batch, size in ((1, (9, 23)), (7, (8, 8)), (17, (11, 5)), (33, (6, 9))):
        check(geometry, *problem(geometry, 12, 8, batch, size, dtype), tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES.values(), ids=GEOMETRIES)
def test_blocks_of_output_channels(instruction_set, geometry, dtype):
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else None
    for batch, size in ((1, (9, 23)), (7, (8, 8)), (17, (11, 5))):
        given = problem(geometry, 32, 8, batch, size, dtype, height=4)
        task = plan.Task(geometry, *native._sizes(given[-1]), native._machine(dtype))
        assert plan.forward_plan(given[0], task).together == 4
        check(geometry, *given, tolerance)


def test_blocks_of_two_groups_are_none():
    """Output channels of different groups have other input channels, if the same columns."""
    geometry = Geometry((3, 3), padding=(1, 1, 1, 1), groups=4)
    given = problem(geometry, 8, 8, 2, (6, 7), height=8)
    task = plan.Task(geometry, *native._sizes(given[-1]), native._machine(torch.float64))
    assert plan.forward_plan(given[0], task).together == 1
    check(geometry, *given)


@pytest.mark.parametrize("name", [name for name in GEOMETRIES if name.startswith("1x1")])
def test_planes_are_used_as_they_are_where_nothing_has_to_be_moved(name):
    geometry = GEOMETRIES[name]
    connectivity, *_, x = problem(geometry, 12, 8, 2, (9, 23))
    for make in (plan.forward_plan, plan.grad_input_plan):
        found = make(connectivity, plan.Task(geometry, *native._sizes(x), native._machine(x.dtype)))
        assert found is not None
        pitch = found.blocking[-1]
        assert (pitch == 0) == (name in ("1x1", "1x1 groups"))


def test_large_results(instruction_set):
    geometry = GEOMETRIES["3x3"]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 8, 300, 299, generator=generator)  # 5.7 MB: more than two large pages
    connectivity, mask, weight, _ = problem(geometry, 8, 8, 1, (3, 3), torch.float32)
    # Gradients of weights are sums of 179,400 products in float32, on both sides.
    check(geometry, connectivity, mask, weight, x, {"rtol": 1e-4, "atol": 2e-2})


@pytest.mark.parametrize("inner", [1, None])
@pytest.mark.parametrize("band", [1, 3, 4])
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_way_to_block(monkeypatch, inner, band, threads):
    original = plan._blocking

    def blocking(*arguments):
        images, _, rows, cols, _, extra, pitch = original(*arguments)
        inner_ = 1 if pitch == 0 else inner or arguments[-1].lanes  # 0: images are planes
        return images, inner_, rows, cols, min(band, rows), extra, pitch

    monkeypatch.setattr(plan, "_blocking", blocking)
    monkeypatch.setattr(native, "_threads", lambda _: threads)
    for geometry in GEOMETRIES.values():
        check(geometry, *problem(geometry, 12, 8, 5, (10, 13)))
    for name in "3x3", "1x1":
        check(GEOMETRIES[name], *problem(GEOMETRIES[name], 24, 8, 5, (10, 13), height=4))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_geometry(data):
    pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))
    sides = st.integers(0, 5)
    geometry = Geometry(
        data.draw(pairs),
        data.draw(pairs),
        data.draw(st.tuples(sides, sides, sides, sides)),
        data.draw(pairs),
        data.draw(st.integers(1, 2)),
    )
    size = tuple(
        data.draw(st.integers(max(1, reach - sum(geometry.padding[2 * axis : 2 * axis + 2])), 18))
        for axis, reach in enumerate(geometry.reach)
        if reach - sum(geometry.padding[2 * axis : 2 * axis + 2]) <= 18
    )
    check(geometry, *problem(geometry, 6, 4, data.draw(st.integers(1, 20)), size))


def test_threads_change_nothing_but_rounding(monkeypatch):
    geometry = GEOMETRIES["3x3"]
    connectivity, mask, weight, x = problem(geometry, 16, 16, 6, (9, 9), torch.float32)
    values, dy = weight[mask], torch.randn(6, 16, 9, 9)
    results = []
    for threads in (1, 2, 2):
        monkeypatch.setattr(native, "_threads", lambda _, threads=threads: threads)
        results.append(
            (
                native.forward(x, values, None, connectivity, geometry),
                native.grad_input(dy, values, connectivity, geometry, (9, 9)),
                native.grad_values(dy, x, connectivity, geometry),
            )
        )
    for one, two, again in zip(*results, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
        assert torch.equal(two, again)


@pytest.mark.parametrize("height", [1, 4])
@pytest.mark.parametrize("name", ["3x3", "1x1"])
def test_nan_stays_in_its_channel_and_image(instruction_set, name, height):
    geometry = GEOMETRIES[name]
    kernel = geometry.kernel[0] * geometry.kernel[1]
    connectivity, mask, weight, x = problem(geometry, 6 * height, 4, 3, (7, 9), height=height)
    x[1, 2, 3, 4] = float("nan")
    y = native.forward(x, weight[mask], None, connectivity, geometry)
    assert torch.equal(y.isnan(), dense(x, weight, None, geometry).isnan() & y.isnan())
    assert not y[0].isnan().any()
    assert y[1].isnan().any()
    gradient = native.grad_values(torch.randn_like(y), x, connectivity, geometry)
    channel = connectivity.col // kernel
    assert gradient[channel == 2].isnan().any()
    assert not gradient[channel != 2].isnan().any()
