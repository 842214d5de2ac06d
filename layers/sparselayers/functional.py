"""Stateless forms of the layers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers import backends, operators, tracing
from sparselayers.autocast import autocast
from sparselayers.connections import Connections
from sparselayers.connectivity import Connectivity
from sparselayers.convolution.functional import sparse_conv2d
from sparselayers.nested import of_rows

__all__ = ["k_winners", "keep", "sparse_conv2d", "sparse_linear", "winners"]


def sparse_linear(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity | tracing.Arrays,
    *,
    backend: str | None = None,
    owner: Connections | None = None,
) -> Tensor:
    """Return x Wᵀ + bias for the sparse W (out, in) with `values` (nnz,) at `connectivity`.

    `x` is (*, in), or nested; `bias` (out,) or None; the result is (*, out). `backend` names one of
    `sparselayers.backends.BACKENDS`; by default the fastest that serves the device and the type.
    Under autocast the floating point arguments are cast as those of nn.Linear are. `owner` is the
    layer's hold of its connections: the gradient is refused where it has others by then.

    Raises RuntimeError, as nn.Linear does, for a wrong shape, type or device, and ValueError for
    a backend that is unknown or cannot serve the tensors.
    """
    return of_layer(x, values, bias, connectivity, backend, owner)


def of_layer(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity | tracing.Arrays,
    backend: str | None,
    owner: Connections | None,
    recorded: bool | None = None,
) -> Tensor:
    """Return `sparse_linear` for who has asked `tracing.is_recorded` already, which takes 2 µs."""
    if not isinstance(x, Tensor):
        raise TypeError(f"expected the input to be a Tensor, got {type(x).__name__}")
    x, values, bias = autocast(x, values, bias)
    out_features, in_features = connectivity.shape
    dims = x.dim()
    if dims != 2 and x.is_nested:
        rest = values, bias, connectivity
        return of_rows(lambda rows: sparse_linear(rows, *rest, backend=backend, owner=owner), x)
    traced = recorded
    if traced is None:
        traced = isinstance(connectivity, tracing.Arrays) or tracing.is_traced(x, values, bias)
    if traced and isinstance(connectivity, Connectivity):
        connectivity.lay_out()  # operators get the arrays in every call
    # torch.jit.trace has tensors for sizes, which it warns not to look at: the operator does.
    if not (traced and tracing.is_jit()) and not _fit(x, values, bias, connectivity):
        raise _mismatch(x, values, bias, connectivity)
    rows = x if dims == 2 else x.reshape(-1, in_features)
    y: Tensor
    if traced:
        handle = connectivity.handle if isinstance(connectivity, tracing.Arrays) else None
        where = connectivity.row_ptr, connectivity.col, in_features, backend, handle
        y = operators.differentiable_linear(rows, values, bias, *where)
    else:
        chosen = backends.select(x.device, x.dtype, backend)
        y = _eager(rows, values, bias, connectivity, chosen, owner)  # type: ignore[arg-type]
    return y if rows is x else y.reshape(*x.shape[:-1], out_features)


def linear_of(
    connections: Connections, x: Tensor, values: Tensor, bias: Tensor | None, backend: str | None
) -> Tensor:
    """Return `sparse_linear` for what a layer is connected by now: what torch.fx draws of it."""
    owner, connectivity = connections, connections.get()
    return sparse_linear(x, values, bias, connectivity, backend=backend, owner=owner)


def k_winners(x: Tensor, k: int, *, dim: int = -1) -> Tensor:
    """Keep the `k` largest entries along `dim`, exactly k among ties too, and zero the others.

    Raises ValueError where `k` is outside [1, n], with n the size along `dim`.
    """
    return keep(x, winners(x, k, dim=dim), dim=dim)


def winners(scores: Tensor, k: int, *, dim: int = -1) -> Tensor:
    """Return the places along `dim` of the `k` largest scores, in no particular order.

    Raises ValueError where `k` is outside [1, n], with n the size along `dim`.
    """
    if not 1 <= k <= scores.shape[dim]:
        raise ValueError(f"k must be in [1, {scores.shape[dim]}], got {k}")
    return scores.detach().topk(k, dim=dim, sorted=False).indices


def keep(x: Tensor, indices: Tensor, *, dim: int = -1) -> Tensor:
    """Return `x` at the distinct `indices` along `dim` and 0 elsewhere; so flows the gradient."""
    return torch.zeros_like(x).scatter(dim, indices, x.gather(dim, indices))


def _eager(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity,
    backend: backends.Backend,
    owner: Connections | None,
) -> Tensor:
    """Return x Wᵀ + bias of plain tensors: what backends read by address has plain memory."""
    values = values.contiguous()
    bias = None if bias is None else bias.contiguous()
    # Views whose sign is kept beside their memory.
    if x.is_neg() or values.is_neg() or (bias is not None and bias.is_neg()):
        x, values = x.resolve_neg(), values.resolve_neg()
        bias = None if bias is None else bias.resolve_neg()
    backend = backend.shortly(x, connectivity)
    if torch.is_grad_enabled() and (
        x.requires_grad or values.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return differentiable(x, values, bias, connectivity, backend, owner)
    return backend.forward(x, values, bias, connectivity)


def differentiable(
    x: Tensor,
    values: Tensor,
    bias: Tensor | None,
    connectivity: Connectivity,
    backend: backends.Backend,
    owner: Connections | None,
) -> Tensor:
    """Return x Wᵀ + bias of plain memory, some of which wants a gradient."""
    output: Tensor | tuple[Tensor, Tensor]
    output = _SparseLinear.apply(x, values, bias, connectivity, backend, owner)
    return output if isinstance(output, Tensor) else output[0]


class _SparseLinear(torch.autograd.Function):
    """The three products of a backend; the input is arranged once, for both directions."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        connectivity: Connectivity,
        backend: backends.Backend,
        owner: Connections | None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        needs_values = ctx.needs_input_grad[1]
        arranged = backend.arrange(x, connectivity)
        ctx.where = connectivity, backend, owner
        # The input itself too, whether or not an arranged copy is what is computed with: one that
        # is changed in place before the backward pass is refused for every size of the batch.
        if not needs_values:
            ctx.save_for_backward(values, None)
        elif arranged is x:
            ctx.save_for_backward(values, x)
        else:
            ctx.save_for_backward(values, arranged, x)
        y = backend.forward(arranged, values, bias, connectivity)
        if arranged is x or not needs_values:
            return y
        # What is saved must be an input or an output, or a second derivative would not find its
        # way from it to x.
        ctx.set_materialize_grads(False)
        return y, arranged

    @staticmethod
    def backward(ctx: Any, dy: Tensor | None, d_arranged: Tensor | None = None) -> Any:
        values, x = ctx.saved_tensors[:2]
        connectivity, backend, owner = ctx.where
        if owner is not None and owner.get() is not connectivity:
            owner.require(connectivity)
        if dy is None:
            return d_arranged, None, None, None, None, None
        needs = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or tracing.is_watched(dy):
            dx, *others = _differentiable(ctx, dy, x, values, needs)
        else:
            if dy.is_neg():
                dy = dy.resolve_neg()
            dx, *others = backend.backward(dy, x, values, connectivity, needs=needs)
        if d_arranged is not None:
            dx = d_arranged if dx is None else dx + d_arranged
        return dx, *others, None, None, None


def _differentiable(
    ctx: Any,
    dy: Tensor,
    x: Tensor | None,
    values: Tensor,
    needs: tuple[bool, bool, bool],
) -> backends.Gradients:
    """Return the gradients as functions that can be differentiated again."""
    connectivity, backend, _ = ctx.where
    # Without a handle: that the connections are still the same has been asked.
    arrays = connectivity.row_ptr, connectivity.col
    where = *arrays, connectivity.shape[1], backend.name, None
    return backends.Gradients(
        operators.differentiable_grad_input(dy, values, *where) if needs[0] else None,
        operators.differentiable_grad_values(dy, x, *where) if needs[1] and x is not None else None,
        dy.sum(0) if needs[2] else None,
    )


def _fit(
    x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity | tracing.Arrays
) -> bool:
    """Whether these are tensors of one type and device, and of the sizes of the connections."""
    out_features, in_features = connectivity.shape
    if isinstance(connectivity, Connectivity):  # which has no `col` to be asked
        nnz, device = connectivity.nnz, connectivity.device
    else:
        nnz, device = connectivity.col.shape[0], connectivity.col.device
    shape = x.shape
    return (
        len(shape) > 0
        and shape[-1] == in_features
        and x.dtype == values.dtype
        and x.device == values.device
        and (x.device == device or x.is_meta)
        and values.shape == (nnz,)
        and (
            bias is None
            or (bias.dtype == x.dtype and bias.shape == (out_features,) and bias.device == x.device)
        )
    )


def _mismatch(
    x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity | tracing.Arrays
) -> RuntimeError:
    """Say which argument does not fit, what was expected and what was given."""
    out_features, in_features = connectivity.shape
    nnz, place = connectivity.col.shape[0], connectivity.col.device
    if x.dim() == 0 or x.shape[-1] != in_features:
        return RuntimeError(
            f"expected an input of shape (*, {in_features}), got {tuple(x.shape)}: "
            f"the layer has in_features={in_features}"
        )
    if x.dtype != values.dtype:
        return RuntimeError(
            f"expected an input of type {values.dtype}, that of the layer's weights, got {x.dtype}"
        )
    for name, device in (("weights", values.device), ("connections", place)):
        if x.device != device and not (x.is_meta and name == "connections"):
            return RuntimeError(
                f"expected an input on {device}, where the layer's {name} are, got {x.device}"
            )
    if values.shape != (nnz,):
        return RuntimeError(
            f"expected weights of shape ({nnz},), one for each connection, "
            f"got {tuple(values.shape)}"
        )
    assert bias is not None
    return RuntimeError(
        f"expected a bias of type {values.dtype} and shape ({out_features},) on {x.device}, "
        f"got {bias.dtype} {tuple(bias.shape)} on {bias.device}"
    )
