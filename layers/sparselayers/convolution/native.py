"""The products of a convolution by the C++ kernels for CPUs (csrc/convolution)."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.backends.native import isa
from sparselayers.connectivity import Connectivity
from sparselayers.convolution.geometry import Geometry, Pair
from sparselayers.convolution.plan import Machine, Plan, Task, forward_plan, grad_input_plan
from sparselayers.convolution.planes import Images

_SUFFIXES = {torch.float32: "f32", torch.float64: "f64"}
# Multiplications that are worth starting a thread for.
_WORTH_A_THREAD = 1 << 15


def forward(
    x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity, geometry: Geometry
) -> Tensor | None:
    """Return the convolution of `x` (N, channels, H, W), or None where the kernels do not serve."""
    x, values = _wide(x).contiguous(), _wide(values)
    plan = forward_plan(connectivity, Task(geometry, *_sizes(x), _machine(x.dtype)))
    if plan is None:
        return None
    y = x.new_empty(len(x), plan.target.channels, *plan.target.size)
    bias = None if bias is None else _wide(bias).contiguous()
    _correlate(plan, x, values, bias, y)
    return y


def grad_input(
    dy: Tensor, values: Tensor, connectivity: Connectivity, geometry: Geometry, image: Pair
) -> Tensor | None:
    """Return the gradient of the input, or None where the kernels do not serve."""
    dy, values = _wide(dy).contiguous(), _wide(values)
    kernel = geometry.kernel[0] * geometry.kernel[1]
    channels = connectivity.shape[1] // kernel * geometry.groups
    task = Task(geometry, len(dy), (channels, *image), _machine(dy.dtype))
    plan = grad_input_plan(connectivity, task)
    if plan is None:
        return None
    assert plan.permutation is not None
    shape = len(dy), channels, *image
    dx = dy.new_empty(shape) if plan.covers else dy.new_zeros(shape)
    _correlate(plan, dy, values.index_select(0, plan.permutation), None, dx)
    return dx


def grad_values(
    dy: Tensor, x: Tensor, connectivity: Connectivity, geometry: Geometry
) -> Tensor | None:
    """Return the gradient of the values (nnz,), or None where the kernels do not serve."""
    x, dy = _wide(x).contiguous(), _wide(dy).contiguous()
    plan = forward_plan(connectivity, Task(geometry, *_sizes(x), _machine(x.dtype)))
    if plan is None:
        return None
    result = x.new_empty(connectivity.nnz)
    _kernel("grad_values", x.dtype)(
        plan.blocking,
        x.data_ptr(),
        *_images(plan.source),
        dy.data_ptr(),
        *_images(plan.target),
        *_taps(plan),
        result.data_ptr(),
        _threads(plan),
    )
    return result


def serves(x: Tensor) -> bool:
    """Return whether the kernels, where they are, can be used for `x`."""
    return x.device.type == "cpu" and x.dtype.is_floating_point


def _correlate(plan: Plan, source: Tensor, values: Tensor, bias: Tensor | None, to: Tensor) -> None:
    _kernel("correlate", source.dtype)(
        plan.blocking,
        source.data_ptr(),
        *_images(plan.source),
        *_taps(plan),
        values.data_ptr(),
        0 if bias is None else bias.data_ptr(),
        to.data_ptr(),
        *_images(plan.target),
        _threads(plan),
    )


@cache
def _kernels() -> ModuleType:
    """The kernels, of the instruction set that the linear ones use too."""
    kernels = importlib.import_module("sparselayers._native")
    kernels.use(isa()[0])
    return kernels


def _kernel(name: str, dtype: torch.dtype) -> Any:
    return getattr(_kernels(), f"conv_{name}_{_SUFFIXES[dtype]}")


def _images(images: Images) -> tuple[Any, ...]:
    return images.numbers(), *images.phases


def _taps(plan: Plan) -> tuple[int, int, int, int, int]:
    return (
        plan.target.planes,
        plan.offset.numel(),
        plan.together,
        plan.ptr.data_ptr(),
        plan.offset.data_ptr(),
    )


def _sizes(x: Tensor) -> tuple[int, tuple[int, int, int]]:
    return x.shape[0], (x.shape[1], x.shape[2], x.shape[3])


def _machine(dtype: torch.dtype) -> Machine:
    return Machine(_kernel("lanes", dtype)(), dtype.itemsize, _kernels().cache_bytes() * 3 // 4)


def _threads(plan: Plan) -> int:
    images, _, rows, cols, *_ = plan.blocking
    work = plan.offset.numel() * images * rows * cols
    return max(1, min(torch.get_num_threads(), work // _WORTH_A_THREAD))


def _wide(tensor: Tensor) -> Tensor:
    """What the kernels compute with: float32 for the 16-bit types."""
    return tensor.to(wide_type(tensor.dtype))
