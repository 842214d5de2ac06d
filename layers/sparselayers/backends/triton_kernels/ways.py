"""The products by each way, and what each way derives from the connections.

Triton is imported where it is needed first: a machine may have none.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from sparselayers import accelerator
from sparselayers.connectivity import Connectivity

# Under which the matrix is kept, and whether it is that of Wᵀ.
FORWARD, TRANSPOSED = ("triton", False), ("triton", True)

# Connections times samples up to which numbers are gathered from where they lie. Where each is read
# in 32 bytes of its own, that is 8 MB from a cache: at some TB/s less than it takes to launch a
# kernel that copies. A count, and not measured on a GPU.
_LITTLE = 1 << 18


def arranged(way: str, x: Tensor, connectivity: Connectivity) -> Tensor:
    """Return the matrix `x` as a way reads it, perhaps a copy.

    Feature by feature, so that a connection's samples are read in one go; bitmaps read either way,
    and so does gathering where there is little to gather.
    """
    if x.stride() == (1, x.shape[0]):  # what gathering returns
        return x
    turned = x.t()
    if turned.is_contiguous():
        return x
    if way == "bitmaps":
        return x.contiguous()
    if way == "gather" and connectivity.nnz * x.shape[0] <= _LITTLE and x.is_contiguous():
        return x
    return copied(x, (1, x.shape[0]))


def copied(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    """Return a copy of the matrix `x` that lies with these strides."""
    return x.new_empty_strided(x.shape, strides).copy_(x)


def forward(
    way: str, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
) -> Tensor:
    """Return y = x Wᵀ + bias, (batch, out)."""
    if not len(x):
        return values.new_empty(0, connectivity.shape[0])
    y: Tensor = y_of(way, x, values, bias, connectivity).of(x, values, bias)
    return y


def grad_input(way: str, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
    """Return dx = dy W, (batch, in)."""
    if not len(dy):
        return values.new_empty(0, connectivity.shape[1])
    dx: Tensor = dx_of(way, dy, values, connectivity).of(dy, values)
    return dx


def grad_values(way: str, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
    """Return the gradient of the values, (nnz,)."""
    result: Tensor = _sample(way, dy, x, connectivity, bias=False)[0]
    return result


def grad_values_and_bias(
    way: str, dy: Tensor, x: Tensor, connectivity: Connectivity
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the values, (nnz,), and of the bias, (out,)."""
    both: tuple[Tensor, Tensor] = _sample(way, dy, x, connectivity, bias=True)
    return both


def _sample(way: str, dy: Tensor, x: Tensor, connectivity: Connectivity, *, bias: bool) -> Any:
    if not len(x) or not connectivity.nnz:
        return x.new_zeros(connectivity.nnz), dy.sum(0) if bias else None
    return dweights_of(way, dy, x, connectivity, bias=bias).of(dy, x)


# How each is computed: a Product (plans.py), which keeps that for the shapes and strides of these.


def y_of(
    way: str, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
) -> Any:
    """Return how y is computed of x that is arranged."""
    if way == "row_blocks":
        groups = _launch_row_blocks().groups_of(connectivity)
        return _launch_row_blocks().y_of(x, values, bias, groups)
    if way == "bitmaps":
        return _launch_bitmaps().y_of(x, values, bias, _bitmap(connectivity))
    return _launch_gather().y_of(x, values, bias, matrix(connectivity, FORWARD))


def dx_of(way: str, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Any:
    """Return how dx is computed of dy that is arranged."""
    if way == "row_blocks":
        groups = _launch_row_blocks().groups_of(connectivity)
        return _launch_row_blocks().dx_of(dy, values, groups)
    if way == "bitmaps":
        return _launch_bitmaps().dx_of(dy, values, _bitmap(connectivity))
    return _launch_gather().dx_of(dy, values, matrix(connectivity, TRANSPOSED))


def dweights_of(way: str, dy: Tensor, x: Tensor, connectivity: Connectivity, *, bias: bool) -> Any:
    """Return how the gradients of values and, if asked for, of the bias are computed."""
    if way == "row_blocks":
        groups = _launch_row_blocks().groups_of(connectivity)
        return _launch_row_blocks().dweights_of(dy, x, groups, bias=bias)
    if way == "bitmaps":
        bits, nnz = _bitmap(connectivity), connectivity.nnz
        return _launch_bitmaps().dweights_of(dy, x, bits, nnz, bias=bias)
    return _launch_gather().dweights_of(dy, x, matrix(connectivity, FORWARD), bias=bias)


def _bitmap(connectivity: Connectivity) -> Any:
    if not connectivity.has_derived("triton bitmap"):
        not_while_capturing(connectivity.device)
    return _launch_bitmaps().bitmap_of(connectivity)


def matrix(connectivity: Connectivity, key: tuple[str, bool]) -> Any:
    """Return the connections as the kernels take them; made once, and kept with them.

    Raises RuntimeError where they would have to be shared out while a CUDA graph is captured.
    """
    return connectivity.derive(key, lambda: _made(connectivity, transposed=key[1]))


def _made(connectivity: Connectivity, *, transposed: bool) -> Any:
    not_while_capturing(connectivity.device)
    partition = import_module("sparselayers.backends.triton_kernels.partition").partition
    split = partition(connectivity, transposed=transposed)
    out_features, in_features = connectivity.shape
    if transposed:
        turned = connectivity.transposed
        return _launch_gather().Matrix(
            turned.col_ptr, turned.row, turned.permutation, split, out_features
        )
    return _launch_gather().Matrix(connectivity.row_ptr, connectivity.col, None, split, in_features)


def not_while_capturing(device: torch.device) -> None:
    """Raise RuntimeError where a CUDA graph is captured on `device`: nothing can be made then."""
    if device.type == "cuda" and accelerator.of(device).capturing():
        raise RuntimeError(
            "a CUDA graph is being captured before the layer was ever run with these connections: "
            "run it forward and backward once before, and again after rewiring"
        )


@cache
def _launch_gather() -> Any:
    """What needs Triton, imported when it is needed first."""
    return import_module("sparselayers.backends.triton_kernels.launch_gather")


@cache
def _launch_row_blocks() -> Any:
    return import_module("sparselayers.backends.triton_kernels.launch_row_blocks")


@cache
def _launch_bitmaps() -> Any:
    return import_module("sparselayers.backends.triton_kernels.launch_bitmaps")
