"""What a small call asks before it computes, kept: how many rows, on how many threads, for whom.

The kernels take a few microseconds for such a call, less than what has to be found out before they
are called. None of that changes from one call to the next.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients, OneBackward
from sparselayers.backends.native.told import Told
from sparselayers.connectivity import Connectivity


class Short(OneBackward):
    """The products of so many rows by one layer, on so many threads as there are when it is made.

    `connectivity` is always that which it was made for, of which kernels have been `told`.
    """

    name = "native"

    def __init__(
        self, batch: int, connectivity: Connectivity, dtype: torch.dtype, told: Told, threads: int
    ) -> None:
        self._batch = batch
        self._outputs, self._inputs = connectivity.shape
        self._connections = connectivity.nnz
        self._dtype = dtype
        self._told = told  # whose arrays the kernels read
        self._layer: Any = told.kernel
        self._threads = threads

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve the type that it was made for, on CPUs."""
        return device.type == "cpu" and dtype == self._dtype

    def _gradients(self, values: Tensor, needs: tuple[bool, bool, bool]) -> Gradients:
        """Return memory for the gradients that are needed."""
        return Gradients(
            values.new_empty(self._batch, self._inputs) if needs[0] else None,
            values.new_empty(self._connections) if needs[1] else None,
            values.new_empty(self._outputs) if needs[2] else None,
        )
