"""Products on CPUs, by several ways; `choice.py` says which, for a shape, density, batch and type.

`lanes` goes from connection to connection, `bitmaps` from tile to tile of the weight, `panels`
leaves larger parts of it to PyTorch's dense product, `amx` has tiles of it multiplied by the units
that some CPUs have for matrices, `row_blocks` takes outputs together that share
their inputs, `n_of_4` and `n_of_8` select some of every four or eight inputs, for small batches.
Each is a backend by itself, so that its name can be asked for in place of a choice; the compiled
kernels are in `csrc`, each way's in its room. A few inputs that are mostly zeros go from those that
are not (`nonzero.py`) in place of the lanes. What is asked before a small call is kept
(`short.py`): before one of a few rows, by the lanes (`few.py`) or by bitmaps (`few_bitmaps.py`),
and before one of a single block (`one_block.py`). Kernels are told of a layer's connections once
(`told.py`): as rows (`rows.py`), or as bits (`bits.py`), the lanes as either (`lane_bits.py`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from sparselayers.backends.base import Backend, Gradients
from sparselayers.backends.native import calibration, library, nonzero, short_choice
from sparselayers.backends.native.amx import Amx
from sparselayers.backends.native.bitmaps import Bitmaps
from sparselayers.backends.native.calibration import WAYS
from sparselayers.backends.native.choice import choose, choose_laid_out
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import isa
from sparselayers.backends.native.n_of_m import NOfEight, NOfFour
from sparselayers.backends.native.panels import Panels
from sparselayers.backends.native.row_blocks import RowBlocks
from sparselayers.backends.plan import Plan
from sparselayers.connectivity import Connectivity

__all__ = [
    "Amx",
    "Bitmaps",
    "Lanes",
    "NOfEight",
    "NOfFour",
    "Native",
    "Panels",
    "RowBlocks",
    "isa",
    "settle",
]


def settle(dtype: torch.dtype) -> None:
    """Have what the ways cost for `dtype` measured now, before a layer has to do it."""
    if library.kernels is not None and WAYS["bitmaps"].supports(torch.device("cpu"), dtype):
        calibration.costs(dtype)


_KEPT = 32  # of sizes of batches, types and numbers of threads


class Native(Backend):
    """The compiled kernels for CPUs, each product by the way that is estimated to be fastest.

    Serves float32 and float64; bfloat16, which is kept as it is and multiplied and added up in
    float32; and float16 by way of float32 copies. Results are the same for every run with the
    same number of threads (`torch.set_num_threads`) and the same costs (see calibration.py).
    """

    name = "native"

    def unavailable(self) -> str | None:
        """Say how to get the kernels where they were not built."""
        return library.unavailable()

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve floating point types on CPUs."""
        return WAYS["lanes"].supports(device, dtype)

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` as the way of the forward pass takes it."""
        way = choose("y", x.shape[0], connectivity, x.dtype).way
        return WAYS[way].arrange(x, connectivity)

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        way = choose("y", x.shape[0], connectivity, values.dtype).way
        if way == Lanes.name and nonzero.gains(x, connectivity):
            return nonzero.forward(x, values, bias, connectivity)
        return WAYS[way].forward(x, values, bias, connectivity)

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ, laid out feature by feature."""
        way = choose_laid_out(x.shape[0], connectivity, values.dtype)
        return WAYS[way].product(x, values, connectivity)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        way = choose("dx", dy.shape[0], connectivity, values.dtype).way
        return WAYS[way].grad_input(dy, values, connectivity)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        way = choose("dweights", dy.shape[0], connectivity, x.dtype).way
        return WAYS[way].grad_values(dy, x, connectivity)

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, both by one way where that is faster."""
        batch, dtype = dy.shape[0], values.dtype
        needs_input, needs_weights, needs_bias = needs
        if needs_input and needs_weights:
            dx, dweights = choose("backward", batch, connectivity, dtype).ways
        else:
            dx = dweights = choose(
                "dx" if needs_input else "dweights", batch, connectivity, dtype
            ).way
        if dx == dweights:
            return WAYS[dx].backward(dy, x, values, connectivity, needs=needs)
        found = WAYS[dweights].backward(
            dy, x, values, connectivity, needs=(False, True, needs_bias)
        )
        return found._replace(input=WAYS[dx].grad_input(dy, values, connectivity))

    def shortly(self, x: Tensor, connectivity: Connectivity) -> Backend:
        """Return the products of a few rows, or of one block, without what precedes them."""
        batch = x.shape[0]
        if batch > short_choice.MOST:
            return self
        key = "shortly", batch, x.dtype, torch.get_num_threads()
        return connectivity.derive(key, self._shortly, batch, connectivity, x.dtype, at_most=_KEPT)

    def _shortly(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Backend:
        return short_choice.short_of(batch, connectivity, dtype) or self

    def plan(self, batch: int, connectivity: Connectivity, dtype: torch.dtype) -> Plan:
        """Return by which ways a batch is computed, and what each was estimated to take."""
        forward = choose("y", batch, connectivity, dtype)
        return Plan(self.name, batch, forward, choose("backward", batch, connectivity, dtype))
