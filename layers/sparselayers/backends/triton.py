"""The Triton kernels for GPUs."""

from __future__ import annotations

import os
import subprocess
import warnings
from collections.abc import Callable
from functools import cache, partial
from importlib.util import find_spec
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from sparselayers import accelerator
from sparselayers.backends.base import Backend, Gradients
from sparselayers.backends.csr import Csr
from sparselayers.backends.plan import Choice, Plan
from sparselayers.backends.triton_kernels import choice, ways
from sparselayers.backends.triton_kernels.choice import Product
from sparselayers.backends.triton_kernels.precision import precision_of
from sparselayers.backends.triton_kernels.prepared import Prepared
from sparselayers.connectivity import Connectivity
from sparselayers.structures.row_blocks import row_block

T = TypeVar("T")

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
# What tensor cores multiply; and with fewer samples than they take, memory sets the pace anyway.
_SHORT = (torch.float32, torch.float16, torch.bfloat16)
_LEAST_BATCH = 16
_KEPT = 64  # choices of one layer: models that see batches of every size ask for many
_OLDEST = (8, 0)  # the oldest compute capability that Triton still tests

_PRODUCTS: tuple[Product, ...] = ("y", "dx", "dweights")
_BROKEN = Choice(("csr",), "a kernel does not compile")
_INTERPRETED = Choice(("gather",), "in Triton's interpreter nothing is timed")
_PASSING = (choice.OFF, choice.CAPTURED, _INTERPRETED)  # another time it may be another


class Triton(Backend):
    """Products by the way that is fastest on the GPU at hand, without atomics.

    `gather` goes from connection to connection, rows balanced by them and dx by the transposed
    ones. `bitmaps` multiplies tiles of the weights, their zeros laid out, on tensor cores: it comes
    into question with 64 samples and more, in float16, bfloat16, and float32 where TF32 is allowed
    (`torch.backends.cuda.matmul`). `row_blocks` multiplies rows that have the same inputs on tensor
    cores, from 16 samples on. `triton_kernels/choice.py` says which; `plan` tells.

    Serves every floating point type on CUDA devices, or on the CPU in Triton's interpreter
    (`TRITON_INTERPRET=1`, set before the first product): slow, for tests. Results are the same
    every time, for the same tiles and ways (triton_kernels/tuning.py); sums are in float32 or
    better.

    The first product with a connectivity shares its rows out, which synchronises, and tries tiles;
    later ones do neither and can be captured into a CUDA graph. Where a kernel does not compile,
    PyTorch's CSR tensors take over for the rest of the process, with one warning.
    """

    name = "triton"
    only: ClassVar[Choice | None] = None  # the way of one that does not choose

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
        """Return `x` as the way of the forward pass reads it fastest."""
        return ways.arranged(self._way("y", x, connectivity), x, connectivity)

    def shortly(self, x: Tensor, connectivity: Connectivity) -> Backend:
        """Return the same products, with what is asked before each of them kept."""
        batch, dtype = x.shape[0], x.dtype
        # A few samples go from connection to connection, whatever tensor cores do.
        few = batch < _LEAST_BATCH and self.only is None
        precision = None if few else precision_of(dtype)
        key = "gpu calls", self.name, batch, dtype, precision
        found: Backend | None = connectivity.derived(key)
        if found is not None:
            return found
        if self.broken or not batch or not connectivity.nnz:
            return self
        made = partial(Prepared, self, connectivity, precision)
        return connectivity.derive(key, made, at_most=_KEPT)

    def settled(self, product: Product, x: Tensor, connectivity: Connectivity) -> str | None:
        """Return the way of a product of such a batch, None where it may be another next time."""
        found = self._choice(product, len(x), connectivity, x.dtype)
        return None if found in _PASSING or found is _BROKEN else found.way

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        way = self._way("y", x, connectivity)
        x = ways.arranged(way, x, connectivity)
        return self._try(ways.forward, self._instead.forward, way, x, values, bias, connectivity)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        return self._grad_input(self._way("dx", dy, connectivity), dy, values, connectivity)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the product of both ends of every connection, summed over the batch."""
        way = self._way("dweights", dy, connectivity)
        dy, x = (ways.arranged(way, each, connectivity) for each in (dy, x))
        return self._try(ways.grad_values, self._instead.grad_values, way, dy, x, connectivity)

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
        dx = None
        if needs[0]:
            way = self._way("dx", dy, connectivity)
            dy = ways.arranged(way, dy, connectivity)  # which the other product reads as well
            dx = self._grad_input(way, dy, values, connectivity)
        if x is None or not needs[1]:
            return Gradients(dx, None, dy.sum(0) if needs[2] else None)
        if not needs[2]:
            return Gradients(dx, self.grad_values(dy, x, connectivity), None)
        way = self._way("dweights", dy, connectivity)
        dy, x = (ways.arranged(way, each, connectivity) for each in (dy, x))
        instead = self._instead_of_both
        own = self._try(ways.grad_values_and_bias, instead, way, dy, x, connectivity)
        return Gradients(dx, *own)

    def plan(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Plan:
        """Return by which ways a batch is computed; those that have to be tried are, first."""
        forward, dx, dweights = (
            self._choice(product, batch, connectivity, dtype) for product in _PRODUCTS
        )
        why = dx.why if dx.why == dweights.why else f"dx: {dx.why}; weights: {dweights.why}"
        backward = Choice((dx.way, dweights.way), why)
        return Plan(self.name, batch, forward, backward)

    def _way(self, product: Product, x: Tensor, connectivity: Connectivity) -> str:
        return self._choice(product, len(x), connectivity, x.dtype).way

    def _choice(
        self, product: Product, batch: int, connectivity: Connectivity, dtype: torch.dtype
    ) -> Choice:
        """Return by which way a product of a batch is computed.

        Raises RuntimeError where row blocks would have to be found while a CUDA graph is captured.
        """
        if self.broken:
            return _BROKEN
        if self.only is not None:
            return self.only
        if batch < _LEAST_BATCH:
            return choice.FEW_SAMPLES
        key = choice.key(product, batch, dtype)
        kept: Choice | None = connectivity.derived(key)
        if kept is not None:
            return kept
        found = self._chosen(product, batch, connectivity, dtype)
        if found in _PASSING:
            return found
        return connectivity.derive(key, lambda: found, at_most=_KEPT)

    def _chosen(
        self, product: Product, batch: int, connectivity: Connectivity, dtype: torch.dtype
    ) -> Choice:
        if dtype in _SHORT and connectivity.nnz:
            if not connectivity.has_derived("row block"):
                ways.not_while_capturing(connectivity.device)
            if row_block(connectivity) != 1:
                return choice.ROW_BLOCKS
        if _interpreting():
            return _INTERPRETED
        run = self._trial(product, batch, connectivity, dtype)
        return choice.choose(product, batch, connectivity, dtype, run, is_of_the_compiler)

    def _trial(
        self, product: Product, batch: int, connectivity: Connectivity, dtype: torch.dtype
    ) -> Callable[[str], object]:
        """Return what computes a product of drawn numbers by a way, with the copies it makes."""
        saved = self._choice("y", batch, connectivity, dtype).way if product == "dweights" else ""

        @cache
        def numbers() -> tuple[Tensor, Tensor, Tensor]:
            x, dy, values = choice.drawn(batch, connectivity, dtype)
            return (ways.arranged(saved, x, connectivity) if saved else x), dy, values

        def run(way: str) -> object:
            x, dy, values = numbers()
            if product == "y":
                x = ways.arranged(way, x, connectivity)
                return ways.forward(way, x, values, None, connectivity)
            dy = ways.arranged(way, dy, connectivity)
            if product == "dx":
                return ways.grad_input(way, dy, values, connectivity)
            return ways.grad_values(way, dy, ways.arranged(way, x, connectivity), connectivity)

        return run

    def _grad_input(
        self, way: str, dy: Tensor, values: Tensor, connectivity: Connectivity
    ) -> Tensor:
        dy, instead = ways.arranged(way, dy, connectivity), self._instead.grad_input
        return self._try(ways.grad_input, instead, way, dy, values, connectivity)

    def _instead_of_both(
        self, dy: Tensor, x: Tensor, connectivity: Connectivity
    ) -> tuple[Tensor, Tensor]:
        return self._instead.grad_values(dy, x, connectivity), dy.sum(0)

    def _try(self, product: Callable[..., T], instead: Callable[..., T], way: str, *args: Any) -> T:
        """Compute a product; where its kernel does not compile, warn once and do without."""
        if not self.broken:
            try:
                return product(way, *args)
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


class Gather(Triton):
    """From connection to connection, whatever is faster."""

    name = "triton_gather"
    only = Choice(("gather",), "the only way of this backend")


class Bitmaps(Triton):
    """Tiles with their zeros on tensor cores, whatever is faster.

    In float32 with the precision that PyTorch's own products have: on tensor cores where that is
    TF32. It needs no transposed connections: a quarter of a byte for each place, zero or not.
    """

    name = "triton_bitmaps"
    only = Choice(("bitmaps",), "the only way of this backend")

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve the types of tensor cores."""
        return dtype in _SHORT and super().supports(device, dtype)


@cache
def _missing() -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed; it comes with PyTorch's CUDA build for Linux"
    return None if _interpreting() else accelerator.problem()


@cache
def _interpreting() -> bool:
    """Whether Triton runs kernels in Python, on the CPU; it looks once, when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in ("1", "true", "yes", "on", "y")
