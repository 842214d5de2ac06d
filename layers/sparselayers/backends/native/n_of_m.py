"""N of every M inputs, selected in registers: the ways for 2:4, 1:4, 2:8 and 4:8 (csrc/n_of_m)."""

from __future__ import annotations

from functools import cache, partial
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from sparselayers.backends.base import Gradients, OneBackward
from sparselayers.backends.native import library
from sparselayers.backends.native.bitmaps import all_finite, rows_of
from sparselayers.backends.native.compiled import Compiled
from sparselayers.backends.native.lanes import Lanes
from sparselayers.backends.native.library import address, ready, threads, threads_of_product
from sparselayers.backends.native.told import Told, tensor_of
from sparselayers.connectivity import Connectivity
from sparselayers.structures.groups import of_every

MOST = 4  # rows of a batch: of eight and more the lanes had better hold the batch
_LANES = Lanes()
# Connections of a row that are taken at a time, and rows of a batch: see n_of_m.h.
_AT_ONCE, _SAMPLES = 8, 4


class NOfM(Compiled, OneBackward):
    """Multiplies the connections of rows with the inputs that they select of every `m`.

    Eight connections come by one load, and half a byte for each says which input is theirs: what
    they meet is permuted within registers, and nothing is gathered. Numbers of dy that are not
    finite are left to the lanes: a zero of the weight would pass them on. Serves float32 and
    bfloat16, which is added up in float32.
    """

    m: ClassVar[int]
    n: ClassVar[tuple[int, ...]]

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        x, layer, (outputs, _) = rows_of(x), self._layer(connectivity), connectivity.shape
        y = values.new_empty(x.shape[0], outputs)
        _of(values.dtype).n_of_m_multiply(
            layer.kernel,
            values.data_ptr(),
            address(bias),
            x.data_ptr(),
            x.stride(0),
            x.shape[0],
            y.data_ptr(),
            outputs,
            threads_of_product(x.shape[0], values.numel(), values.dtype),
        )
        return y

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, all from one pass over the connections."""
        needs_input, needs_values, needs_bias = needs
        dy, batch, (outputs, inputs) = rows_of(dy), dy.shape[0], connectivity.shape
        if needs_input and not all_finite(dy):
            return _LANES.backward(dy, x, values, connectivity, needs=needs)
        if values.dtype == torch.bfloat16 and needs_values and batch > _SAMPLES:
            return self._rounded_once(dy, x, values, connectivity, needs)
        layer, x = self._layer(connectivity), rows_of(x) if needs_values and x is not None else None
        found = Gradients(
            values.new_empty(batch, inputs) if needs_input else None,
            values.new_empty(connectivity.nnz) if x is not None else None,
            dy.sum(0) if needs_bias else None,
        )
        _of(values.dtype).n_of_m_backward(
            layer.kernel,
            values.data_ptr(),
            address(self._sources(connectivity) if needs_input else None),
            dy.data_ptr(),
            dy.stride(0),
            address(x),
            0 if x is None else x.stride(0),
            batch,
            address(found.input),
            inputs,
            address(found.values),
            # Each adds up a dx of its own: all of them are less work than the connections.
            min(
                threads_of_product(batch, connectivity.nnz, values.dtype),
                1 + outputs // (4 * max(1, batch)),
            ),
        )
        return found

    def serves(self, batch: int, connectivity: Connectivity) -> bool:
        """Return whether each output has `n` of every `m` inputs, and the batch is a small one."""
        return batch <= MOST and self._of_every(connectivity) > 0

    def _of_every(self, connectivity: Connectivity) -> int:
        if connectivity.dtype != torch.int32:
            return 0
        found = of_every(self.m, connectivity)
        return found if found in self.n else 0

    def _layer(self, connectivity: Connectivity) -> Told:
        """Return what the kernels know of the connections, made once.

        Raises ValueError for layers that have others.
        """
        return connectivity.derive(self.name, lambda: self._make(connectivity))

    def _sources(self, connectivity: Connectivity) -> Tensor:
        """Return what the gradient of the input wants to know as well, made once."""

        def make() -> Tensor:
            layer = self._layer(connectivity)
            sources = torch.empty_like(layer.arrays[0])
            _fill(layer.kernel, connectivity, sources=sources)
            return sources

        return connectivity.derive(f"{self.name} sources", make)

    def _make(self, connectivity: Connectivity) -> Told:
        n, (outputs, inputs) = self._of_every(connectivity), connectivity.shape
        if not n:
            served = " or ".join(f"{n}:{self.m}" for n in self.n)
            raise ValueError(
                f"{self.name} computes layers that are {served} and have fewer than 2³¹ "
                f"connections; this one of shape {connectivity.shape} is not: choose backend "
                "'native'"
            )
        turns = -(-inputs // self.m * n // _AT_ONCE)
        places = torch.empty(outputs, turns, dtype=torch.int32)
        kernel = ready().NofM(outputs, inputs, n, self.m, places.data_ptr())
        _fill(kernel, connectivity, places=places)
        columns = partial(_columns, places.numpy().view(np.uint32), n, self.m, inputs)
        connectivity.keep_in((places,), columns)
        return Told(kernel, (places,))


class NOfFour(NOfM):
    """1:4 and 2:4, of which 1:2 is one: a group of inputs is half a register."""

    name = "n_of_4"
    m = 4
    n = (1, 2)


class NOfEight(NOfM):
    """2:8 and 4:8: a group of inputs is a register."""

    name = "n_of_8"
    m = 8
    n = (2, 4)


def _fill(
    kernel: Any,
    connectivity: Connectivity,
    *,
    places: Tensor | None = None,
    sources: Tensor | None = None,
) -> None:
    col = connectivity.col.contiguous()
    kernel.fill(col.data_ptr(), address(places), address(sources), threads(connectivity.nnz))


def _columns(places: Any, n: int, m: int, inputs: int, rows: slice, connections: slice) -> Tensor:
    """Return the columns of some rows: the first of its group and the place in it, of each."""
    del connections
    first = np.arange(0, inputs, m, dtype=np.int32).repeat(n)
    place = places[rows, :, None] >> np.arange(0, 4 * _AT_ONCE, 4, dtype=np.uint32) & 0xF
    place = place.reshape(len(place), -1)[:, : len(first)].astype(np.int32)
    return tensor_of((place + first).reshape(-1))


@cache
def _of(dtype: torch.dtype) -> SimpleNamespace:
    """The kernels for one type of values."""
    return library.loops(dtype, "n_of_m_multiply", "n_of_m_backward")
