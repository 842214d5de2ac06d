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


def arranged(way: str, x: Tensor) -> Tensor:
    """Return the matrix `x` as a way reads it, perhaps a copy.

    Feature by feature, so that a connection's samples are read in one go; bitmaps read either way.
    """
    if x.stride() == (1, x.shape[0]):  # what gathering returns
        return x
    turned = x.t()
    if turned.is_contiguous():
        return x
    if way == "bitmaps":
        return x.contiguous()
    return turned.contiguous().t()


def forward(
    way: str, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
) -> Tensor:
    """Return y = x Wᵀ + bias, (batch, out)."""
    y: Tensor
    if way == "row_blocks":
        groups = _launch_row_blocks().groups_of(connectivity)
        y = _launch_row_blocks().multiply(x, values, bias, groups)
    elif way == "bitmaps":
        y = _launch_bitmaps().multiply(x, values, bias, _bitmap(connectivity))
    else:
        y = _launch_gather().multiply(x, values, bias, matrix(connectivity, FORWARD))
    return y


def grad_input(way: str, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
    """Return dx = dy W, (batch, in)."""
    dx: Tensor
    if way == "row_blocks":
        groups = _launch_row_blocks().groups_of(connectivity)
        dx = _launch_row_blocks().grad_input(dy, values, groups)
    elif way == "bitmaps":
        dx = _launch_bitmaps().grad_input(dy, values, _bitmap(connectivity))
    else:
        dx = _launch_gather().multiply(dy, values, None, matrix(connectivity, TRANSPOSED))
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
    if way == "row_blocks":
        groups = _launch_row_blocks().groups_of(connectivity)
        return _launch_row_blocks().sample(dy, x, groups, bias=bias)
    if way == "bitmaps":
        bits = _bitmap(connectivity)
        return _launch_bitmaps().sample(dy, x, connectivity.nnz, bits, bias=bias)
    return _launch_gather().sample(dy, x, matrix(connectivity, FORWARD), bias=bias)


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
