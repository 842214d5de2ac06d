"""The three products of a convolution as registered operators.

As those of a linear layer (sparselayers/operators.py) they are the partial derivatives of one
trilinear form, so that the gradients of each are the other two. The
geometry travels as a list of integers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers import handles
from sparselayers.connectivity import Connectivity
from sparselayers.convolution import products
from sparselayers.convolution.geometry import Geometry
from sparselayers.tracing import differentiable


@torch.library.custom_op("sparsebench::conv2d", mutates_args=())
def conv2d(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    row_ptr: Tensor,
    col: Tensor,
    geometry: list[int],
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    """Return the convolution (N, out, H', W') of x (N, channels, H, W) with values (nnz,)."""
    image = list(x.shape[1:])
    connectivity = handles.now(handle, row_ptr, col, _columns(row_ptr, image, geometry))
    where = _fitting(connectivity, image, geometry, x=x, values=values, bias=bias)
    return products.forward(x, values.contiguous(), bias, connectivity, where, backend)


@torch.library.custom_op("sparsebench::conv2d_grad_input", mutates_args=())
def grad_input(
    dy: Tensor,
    values: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    image: list[int],
    geometry: list[int],
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    """Return the gradient of an input of size `image` (channels, H, W)."""
    connectivity = handles.then(handle, row_ptr, col, _columns(row_ptr, image, geometry))
    where = _fitting(connectivity, image, geometry, dy=dy, values=values)
    size = image[1], image[2]
    return products.grad_input(dy, values.contiguous(), connectivity, where, size, backend)


@torch.library.custom_op("sparsebench::conv2d_grad_values", mutates_args=())
def grad_values(
    dy: Tensor,
    x: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    geometry: list[int],
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    """Return the gradient of the values (nnz,)."""
    image = list(x.shape[1:])
    connectivity = handles.then(handle, row_ptr, col, _columns(row_ptr, image, geometry))
    where = _fitting(connectivity, image, geometry, dy=dy, x=x)
    return products.grad_values(dy, x, connectivity, where, backend)


def _columns(row_ptr: Tensor, image: list[int], geometry: list[int]) -> int:
    """Return how many columns the weight matrix has, or raise RuntimeError: anybody may call."""
    if len(image) != 3:
        raise RuntimeError(f"expected images (N, channels, H, W), got (N, *{tuple(image)})")
    where = Geometry.from_flat(geometry)
    out, channels = row_ptr.numel() - 1, image[0]
    if channels % where.groups or out % where.groups:
        raise RuntimeError(f"{channels} channels and {out} outputs are not {where.groups} groups")
    return where.columns(channels)


def _fitting(
    connectivity: Connectivity, image: list[int], geometry: list[int], **given: Tensor | None
) -> Geometry:
    """Return what the numbers mean, or raise RuntimeError naming a tensor that does not fit."""
    where, out = Geometry.from_flat(geometry), connectivity.shape[0]
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    first = next(iter(tensors.values()))
    images = first.shape[0] if first.dim() else 0
    expected = {
        "x": (images, *image),
        "dy": (images, out, *where.output_size(image[1], image[2])),
        "values": (connectivity.nnz,),
        "bias": (out,),
    }
    for name, tensor in tensors.items():
        fits = tensor.shape == expected[name] and tensor.dtype == first.dtype
        if not fits or tensor.device != connectivity.device:
            raise RuntimeError(
                f"expected {name} of shape {expected[name]} and {first.dtype} on "
                f"{connectivity.device}, got {tuple(tensor.shape)}, {tensor.dtype}, {tensor.device}"
            )
    return where


@conv2d.register_fake
def _(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    row_ptr: Tensor,
    col: Tensor,
    geometry: list[int],
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    size = Geometry.from_flat(geometry).output_size(x.shape[2], x.shape[3])
    return x.new_empty(x.shape[0], row_ptr.shape[0] - 1, *size)


@grad_input.register_fake
def _(
    dy: Tensor,
    values: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    image: list[int],
    geometry: list[int],
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    return dy.new_empty(dy.shape[0], *image)


@grad_values.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    geometry: list[int],
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    return x.new_empty(col.shape[0])


def _save_conv2d(ctx: Any, inputs: tuple[Any, ...]) -> None:
    x, values, _, row_ptr, col, ctx.geometry, ctx.backend, handle = inputs
    ctx.image = list(x.shape[1:])
    # The values are needed for the gradient of the input only; but where the connections change,
    # they count it, and so no gradient is taken for that of other connections.
    ctx.save_for_backward(x if ctx.needs_input_grad[1] else None, values, row_ptr, col, handle)


def _conv2d_backward(ctx: Any, dy: Tensor) -> Any:
    x, values, *arrays, handle = ctx.saved_tensors
    needs, rest = ctx.needs_input_grad, (ctx.geometry, ctx.backend, handle)
    return (
        differentiable_grad_input(dy, values, *arrays, ctx.image, *rest) if needs[0] else None,
        differentiable_grad_values(dy, x, *arrays, *rest) if needs[1] else None,
        dy.sum((0, 2, 3)) if needs[2] else None,
        *(None,) * 5,
    )


def _save_grad_input(ctx: Any, inputs: tuple[Any, ...]) -> None:
    *tensors, ctx.image, ctx.geometry, ctx.backend, handle = inputs
    ctx.save_for_backward(*tensors, handle)


def _grad_input_backward(ctx: Any, g: Tensor) -> Any:
    dy, values, *arrays, handle = ctx.saved_tensors
    needs, rest = ctx.needs_input_grad, (ctx.geometry, ctx.backend, handle)
    return (
        differentiable_conv2d(g, values, None, *arrays, *rest) if needs[0] else None,
        differentiable_grad_values(dy, g, *arrays, *rest) if needs[1] else None,
        *(None,) * 6,
    )


def _save_grad_values(ctx: Any, inputs: tuple[Any, ...]) -> None:
    *tensors, ctx.geometry, ctx.backend, handle = inputs
    ctx.save_for_backward(*tensors, handle)


def _grad_values_backward(ctx: Any, g: Tensor) -> Any:
    dy, x, *arrays, handle = ctx.saved_tensors
    needs, rest = ctx.needs_input_grad, (ctx.geometry, ctx.backend, handle)
    return (
        differentiable_conv2d(x, g, None, *arrays, *rest) if needs[0] else None,
        differentiable_grad_input(dy, g, *arrays, list(x.shape[1:]), *rest) if needs[1] else None,
        *(None,) * 5,
    )


differentiable_conv2d = differentiable(
    conv2d, _save_conv2d, _conv2d_backward, rows_are_independent=True, has_bias=True
)
differentiable_grad_input = differentiable(
    grad_input, _save_grad_input, _grad_input_backward, rows_are_independent=True
)
differentiable_grad_values = differentiable(
    grad_values, _save_grad_values, _grad_values_backward, rows_are_independent=False
)
