"""The three products as registered operators: what compilers, exporters and transforms see.

`torch.compile`, `torch.export`, `vmap`, `torch.func` and tensor subclasses need operators with a
schema, shapes without data ("fakes") and rules for differentiation and batching. A call through
such an operator costs about 15 µs more than a plain function, so eager code does not come here
(see layers/sparselayers/functional.py), except to differentiate twice.

The products are the three partial derivatives of one trilinear form,
T(x, values, dy) = Σ_b Σ_p values[p] · x[b, col p] · dy[b, row p]. So the gradients of each product
are the other two, and they can be differentiated any number of times.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers import backends, handles
from sparselayers.connectivity import Connectivity
from sparselayers.tracing import differentiable


@torch.library.custom_op("sparsebench::linear", mutates_args=())
def linear(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    row_ptr: Tensor,
    col: Tensor,
    in_features: int,
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    """Return y = x Wᵀ + bias, (batch, out), of x (batch, in) and values (nnz,)."""
    connectivity = handles.now(handle, row_ptr, col, in_features)
    _check(connectivity, x=x, values=values, bias=bias)
    chosen = backends.select(x.device, values.dtype, backend)
    bias = None if bias is None else bias.contiguous()
    x, values = chosen.arrange(x, connectivity), values.contiguous()
    return chosen.forward(x, values, bias, connectivity).contiguous()


@torch.library.custom_op("sparsebench::linear_grad_input", mutates_args=())
def grad_input(
    dy: Tensor,
    values: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    in_features: int,
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    """Return dx = dy W, (batch, in), of dy (batch, out) and values (nnz,)."""
    connectivity = handles.then(handle, row_ptr, col, in_features)
    _check(connectivity, dy=dy, values=values)
    chosen = backends.select(dy.device, values.dtype, backend)
    needs = (True, False, False)
    gradients = chosen.backward(dy, None, values.contiguous(), connectivity, needs=needs)
    assert gradients.input is not None
    return gradients.input.contiguous()


@torch.library.custom_op("sparsebench::linear_grad_values", mutates_args=())
def grad_values(
    dy: Tensor,
    x: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    in_features: int,
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    """Return dvalues[p] = Σ_batch dy[b, row p] · x[b, col p], (nnz,)."""
    connectivity = handles.then(handle, row_ptr, col, in_features)
    _check(connectivity, dy=dy, x=x)
    chosen = backends.select(dy.device, x.dtype, backend)
    x, dy = chosen.arrange(x, connectivity), chosen.arrange(dy, connectivity)
    return chosen.grad_values(dy, x, connectivity)


def _check(connectivity: Connectivity, **given: Tensor | None) -> None:
    """Raise RuntimeError for tensors that do not fit: operators can be called by anybody."""
    tensors = {name: tensor for name, tensor in given.items() if tensor is not None}
    first = next(iter(tensors.values()))
    batch = first.shape[0] if first.dim() else 0
    out_features, in_features = connectivity.shape
    expected = {
        "x": (batch, in_features),
        "dy": (batch, out_features),
        "values": (connectivity.nnz,),
        "bias": (out_features,),
    }
    for name, tensor in tensors.items():
        if tensor.shape != expected[name] or tensor.dtype != first.dtype:
            raise RuntimeError(
                f"expected {name} of shape {expected[name]} and type {first.dtype}, "
                f"got {tuple(tensor.shape)} and {tensor.dtype}"
            )
        if tensor.device != connectivity.device:
            raise RuntimeError(
                f"expected {name} on {connectivity.device}, where the connections are, "
                f"got {tensor.device}"
            )


# What shape and type come out, for tensors without data.


@linear.register_fake
def _(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    row_ptr: Tensor,
    col: Tensor,
    in_features: int,
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    return x.new_empty(x.shape[0], row_ptr.shape[0] - 1)


@grad_input.register_fake
def _(
    dy: Tensor,
    values: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    in_features: int,
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    return dy.new_empty(dy.shape[0], in_features)


@grad_values.register_fake
def _(
    dy: Tensor,
    x: Tensor,
    row_ptr: Tensor,
    col: Tensor,
    in_features: int,
    backend: str | None,
    handle: Tensor | None = None,
) -> Tensor:
    return x.new_empty(col.shape[0])


# Gradients: each product's are the other two.


def _save(ctx: Any, inputs: tuple[Any, ...]) -> None:
    *tensors, ctx.in_features, ctx.backend, handle = inputs
    ctx.save_for_backward(*tensors, handle)


def _linear_backward(ctx: Any, dy: Tensor) -> Any:
    x, values, _, *arrays, handle = ctx.saved_tensors
    where = *arrays, ctx.in_features, ctx.backend, handle
    needs = ctx.needs_input_grad
    return (
        differentiable_grad_input(dy, values, *where) if needs[0] else None,
        differentiable_grad_values(dy, x, *where) if needs[1] else None,
        dy.sum(0) if needs[2] else None,
        *(None,) * 5,
    )


def _grad_input_backward(ctx: Any, g: Tensor) -> Any:
    dy, values, *arrays, handle = ctx.saved_tensors
    where = *arrays, ctx.in_features, ctx.backend, handle
    needs = ctx.needs_input_grad
    return (
        differentiable_linear(g, values, None, *where) if needs[0] else None,
        differentiable_grad_values(dy, g, *where) if needs[1] else None,
        *(None,) * 5,
    )


def _grad_values_backward(ctx: Any, g: Tensor) -> Any:
    dy, x, *arrays, handle = ctx.saved_tensors
    where = *arrays, ctx.in_features, ctx.backend, handle
    needs = ctx.needs_input_grad
    return (
        differentiable_linear(x, g, None, *where) if needs[0] else None,
        differentiable_grad_input(dy, g, *where) if needs[1] else None,
        *(None,) * 5,
    )


differentiable_linear = differentiable(
    linear, _save, _linear_backward, rows_are_independent=True, has_bias=True
)
differentiable_grad_input = differentiable(
    grad_input, _save, _grad_input_backward, rows_are_independent=True
)
differentiable_grad_values = differentiable(
    grad_values, _save, _grad_values_backward, rows_are_independent=False
)
