"""The Triton kernels for GPUs."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

import torch
from torch import Tensor

from sparselayers import accelerator
from sparselayers.backends.base import Backend, Gradients
from sparselayers.backends.csr import Csr
from sparselayers.connectivity import Connectivity
from sparselayers.structures.row_blocks import row_block

T = TypeVar("T")

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# What tensor cores multiply; and with fewer samples than they take, memory sets the pace anyway.
_DTYPES_OF_BLOCKS = (torch.float32, torch.float16, torch.bfloat16)
_LEAST_BATCH = 16
_OLDEST = (8, 0)  # the oldest compute capability that Triton still tests


class Triton(Backend):
    """Rows balanced by their connections, dx by the transposed connections, and no atomics.

    Rows in blocks that have the same inputs are multiplied on tensor cores, from 16 samples on; in
    float32 with the precision that PyTorch's own products have (`torch.backends.cuda.matmul`).

    Serves every floating point type on CUDA devices, or on the CPU in Triton's interpreter
    (`TRITON_INTERPRET=1`, set before the first product): slow, for tests. Results are the same
    every time, for the same tiles (triton_kernels/tuning.py); sums are in float32 or better.

    The first product with a connectivity shares its rows out, which synchronises, and tries tiles;
    later ones do neither and can be captured into a CUDA graph. Where a kernel does not compile,
    PyTorch's CSR tensors take over for the rest of the process, with one warning.
    """

    name = "triton"

    def __init__(self) -> None:
        self.broken = ""  # which kernel did not compile, and why
        self._instead = Csr()

    def unavailable(self) -> str | None:
        """Say how to get Triton where it is missing."""
        return _missing()

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve floating point types where Triton runs."""
        return dtype in _DTYPES and not self.refusal(device)

    def refusal(self, device: torch.device) -> str | None:
        """Say why these kernels do not serve tensors on `device`; None if they do."""
        if device.type != ("cpu" if _interpreting() else "cuda"):
            return f"they run on {'the CPU' if _interpreting() else 'CUDA devices'} only"
        if reason := self.unavailable():
            return reason
        if device.type == "cuda" and accelerator.of(device).capability() < _OLDEST:
            return f"they need compute capability {_OLDEST[0]}.{_OLDEST[1]} or higher"
        return None

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` feature-major, so that a connection's samples are read in one go."""
        del connectivity
        if x.stride() == (1, x.shape[0]):  # what these kernels return
            return x
        turned = x.t()
        return x if turned.is_contiguous() else turned.contiguous().t()

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        x = self.arrange(x, connectivity)
        instead = self._instead.forward
        return self._try(_forward, instead, x, values, bias, connectivity)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W, by the transposed connections."""
        dy = self.arrange(dy, connectivity)
        return self._try(_grad_input, self._instead.grad_input, dy, values, connectivity)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the product of both ends of every connection, summed over the batch."""
        dy, x = self.arrange(dy, connectivity), self.arrange(x, connectivity)
        return self._try(_grad_values, self._instead.grad_values, dy, x, connectivity)

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients asked for; one kernel computes those of values and bias."""
        if x is None or not (needs[1] and needs[2]):
            return super().backward(dy, x, values, connectivity, needs=needs)
        dy = self.arrange(dy, connectivity)
        dx = None
        if needs[0]:
            dx = self._try(_grad_input, self._instead.grad_input, dy, values, connectivity)
        own = self._try(_grad_values_and_bias, self._instead_of_both, dy, x, connectivity)
        return Gradients(dx, *own)

    def _instead_of_both(
        self, dy: Tensor, x: Tensor, connectivity: Connectivity
    ) -> tuple[Tensor, Tensor]:
        return self._instead.grad_values(dy, x, connectivity), dy.sum(0)

    def _try(self, product: Callable[..., T], instead: Callable[..., T], *args: Any) -> T:
        """Compute a product; where its kernel does not compile, warn once and do without."""
        if not self.broken:
            try:
                return product(*args)
            except Exception as error:
                if not is_of_the_compiler(error):
                    raise
                reason = (str(error).strip().splitlines() or [""])[-1]
                self.broken = (
                    "sparse layers fall back to PyTorch's CSR tensors, which are slower: a Triton "
                    f"kernel does not compile: {type(error).__name__}: {reason}"
                )
                warnings.warn(self.broken, RuntimeWarning, stacklevel=2)
        return instead(*args)


def is_of_the_compiler(error: Exception) -> bool:
    """Whether `error` says that a kernel could not be made, and not that it failed as it ran.

    The interpreter makes nothing: its errors are mistakes in the kernel.
    """
    if _interpreting() or isinstance(error, torch.OutOfMemoryError | torch.AcceleratorError):
        return False
    if any(kind.__module__.startswith("triton.") for kind in type(error).__mro__):
        return True
    # What Triton raises where there is no C compiler, or where one of its passes fails.
    return isinstance(error, subprocess.SubprocessError) or any(
        words in str(error) for words in ("C compiler", "PassManager")
    )


def _forward(x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity) -> Tensor:
    y: Tensor
    if (groups := _groups(x, connectivity)) is not None:
        y = _launch_row_blocks().multiply(x, values, bias, groups)
        return y
    y = _launch().multiply(x, values, bias, matrix(connectivity, FORWARD))
    return y


def _grad_input(dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
    dx: Tensor
    if (groups := _groups(dy, connectivity)) is not None:
        dx = _launch_row_blocks().grad_input(dy, values, groups)
        return dx
    dx = _launch().multiply(dy, values, None, matrix(connectivity, TRANSPOSED))
    return dx


def _grad_values(dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
    result: Tensor = _sample(dy, x, connectivity, bias=False)[0]
    return result


def _grad_values_and_bias(
    dy: Tensor, x: Tensor, connectivity: Connectivity
) -> tuple[Tensor, Tensor]:
    both: tuple[Tensor, Tensor] = _sample(dy, x, connectivity, bias=True)
    return both


def _sample(dy: Tensor, x: Tensor, connectivity: Connectivity, *, bias: bool) -> Any:
    if (groups := _groups(x, connectivity)) is not None:
        return _launch_row_blocks().sample(dy, x, groups, bias=bias)
    return _launch().sample(dy, x, matrix(connectivity, FORWARD), bias=bias)


def _groups(x: Tensor, connectivity: Connectivity) -> Any:
    """Return the row blocks that are to be multiplied as such, for a batch `x`, if there are any.

    Raises RuntimeError where they would have to be found while a CUDA graph is captured.
    """
    if len(x) < _LEAST_BATCH or x.dtype not in _DTYPES_OF_BLOCKS or not connectivity.nnz:
        return None
    if not connectivity.has_derived("row block"):
        _not_while_capturing(connectivity.device)
    if row_block(connectivity) == 1:
        return None
    return _launch_row_blocks().groups_of(connectivity)


# Under which the matrix is kept, and whether it is that of Wᵀ.
FORWARD, TRANSPOSED = ("triton", False), ("triton", True)


def matrix(connectivity: Connectivity, key: tuple[str, bool]) -> Any:
    """Return the connections as the kernels take them; made once, and kept with them.

    Raises RuntimeError where they would have to be shared out while a CUDA graph is captured.
    """
    return connectivity.derive(key, lambda: _made(connectivity, transposed=key[1]))


def _made(connectivity: Connectivity, *, transposed: bool) -> Any:
    _not_while_capturing(connectivity.device)
    partition = import_module("sparselayers.backends.triton_kernels.partition").partition
    split = partition(connectivity, transposed=transposed)
    out_features, in_features = connectivity.shape
    if transposed:
        turned = connectivity.transposed
        return _launch().Matrix(turned.col_ptr, turned.row, turned.permutation, split, out_features)
    return _launch().Matrix(connectivity.row_ptr, connectivity.col, None, split, in_features)


def _not_while_capturing(device: torch.device) -> None:
    if device.type == "cuda" and accelerator.of(device).capturing():
        raise RuntimeError(
            "a CUDA graph is being captured before the layer was ever run with these connections: "
            "run it forward and backward once before, and again after rewiring"
        )


@cache
def _launch() -> Any:
    """What needs Triton, imported when it is needed first."""
    return import_module("sparselayers.backends.triton_kernels.launch")


@cache
def _launch_row_blocks() -> Any:
    return import_module("sparselayers.backends.triton_kernels.launch_row_blocks")


@cache
def _missing() -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed; it comes with PyTorch's CUDA build for Linux"
    return None if _interpreting() else accelerator.problem()


@cache
def _interpreting() -> bool:
    """Whether Triton runs kernels in Python, on the CPU; it looks once, when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")
