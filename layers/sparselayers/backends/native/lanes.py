"""Rows of connections, lanes of the batch: the way for few connections (csrc/lanes)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from sparselayers.backends.base import Gradients, OneBackward
from sparselayers.backends.native import library
from sparselayers.backends.native.library import (
    SUFFIXES,
    address,
    ready,
    threads,
    threads_of_product,
)
from sparselayers.connectivity import Connectivity

# Layers of no more features on either side name them in 16 bits: see layer.h.
_FEATURES_16 = 1 << 16
# In which type activations are arranged and sums made, where that is not the type of the values.
_COMPUTE = {torch.bfloat16: torch.float32}

# A batch of so many is one block, whatever the instruction set: see blocks.h.
_ONE_BLOCK = 16

# A tile of columns holds about so many connections of a row: fewer, and the start of a row costs
# more than a small tile gains. A tile has at least so many columns. Where many rows are empty, a
# pointer into a tile must still serve so many connections, or pointers would take up the memory.
_TILE_CONNECTIONS = 12
_TILE_FEATURES = 32
_POINTED_CONNECTIONS = 4


class Lanes(OneBackward):
    """Vectorised over the batch and parallel over rows; see layers/sparselayers/csrc/README.md.

    Serves float32 and float64; bfloat16, which is kept as it is and multiplied and added up in
    float32; and float16 by way of float32 copies. Results are the same for every run with the
    same number of threads (`torch.set_num_threads`).
    """

    name = "lanes"

    def unavailable(self) -> str | None:
        """Say how to get the kernels where they were not built."""
        return library.unavailable()

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve floating point types on CPUs."""
        if library.kernels is None or device.type != "cpu":
            return False
        return dtype in SUFFIXES or dtype == torch.float16

    def arrange(self, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return `x` feature-major: strides (1, pitch), with room behind the last feature.

        Of half as many bits it stays as it is: what is saved would be twice as large. So does a
        batch of several blocks, each of which is arranged when its turn comes.
        """
        del connectivity
        return _ready(x) if x.dtype in (torch.float32, torch.float64) else x

    def forward(
        self, x: Tensor, values: Tensor, bias: Tensor | None, connectivity: Connectivity
    ) -> Tensor:
        """Return y = x Wᵀ + bias."""
        if values.dtype == torch.float16:
            wide = None if bias is None else bias.float()
            return self.forward(x.float(), values.float(), wide, connectivity).to(values.dtype)
        result = values.new_empty(x.shape[0], connectivity.shape[0])
        self._multiply(x, values, bias, connectivity, result)
        return result

    def product(self, x: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return y = x Wᵀ, written feature by feature."""
        if values.dtype == torch.float16:
            return super().product(x, values, connectivity)
        result = values.new_empty(connectivity.shape[0], x.shape[0]).t()
        self._multiply(x, values, None, connectivity, result)
        return result

    def _multiply(
        self,
        x: Tensor,
        values: Tensor,
        bias: Tensor | None,
        connectivity: Connectivity,
        result: Tensor,
    ) -> None:
        x, rows, batch = _ready(x), rows_of(connectivity), x.shape[0]
        _of(values.dtype).multiply(
            rows.kernel,
            values.data_ptr(),
            address(bias),
            x.data_ptr(),
            *x.stride(),
            batch,
            result.data_ptr(),
            *result.stride(),
            threads_of_product(batch, values.numel()),
        )

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, from one arrangement of dy."""
        dtype, batch = values.dtype, dy.shape[0]
        needs_input, needs_values, needs_bias = needs
        half = dtype == torch.float16
        if half or (
            dtype in _COMPUTE and (needs_values or needs_bias) and _blocks(batch, dtype) > 1
        ):
            # Sums over several blocks would be rounded after each of them; those of dx are not.
            wide = None if x is None else x.float()
            weights = values.float() if half else values.new_empty(0, dtype=torch.float32)
            sums = (needs_input and half, needs_values, needs_bias)
            found = self.backward(dy.float(), wide, weights, connectivity, needs=sums)
            found = Gradients(*(None if g is None else g.to(dtype) for g in found))
            if needs_input and not half:
                found = found._replace(input=self.grad_input(dy, values, connectivity))
            return found
        dy = _ready(dy)
        x = _ready(x) if needs_values and x is not None else None
        gradients = Gradients(
            values.new_empty(batch, connectivity.shape[1]) if needs_input else None,
            values.new_empty(connectivity.nnz) if x is not None else None,
            values.new_empty(connectivity.shape[0]) if needs_bias else None,
        )
        if needs_input and x is not None and is_narrow(batch, dtype, connectivity):
            _backward_narrow(dy, x, values, connectivity, gradients)
            return gradients
        rows = rows_of(connectivity)
        columns = columns_of(connectivity) if needs_input else None
        _of(dtype).backward(
            rows.kernel,
            None if columns is None else columns.kernel,
            values.data_ptr(),
            dy.data_ptr(),
            *dy.stride(),
            *_place(x),
            batch,
            *_place(gradients.input),
            address(gradients.values),
            address(gradients.bias),
            threads_of_product(batch, connectivity.nnz),
        )
        return gradients


@dataclass(frozen=True, slots=True)
class _Rows:
    """What the kernels want to know of so many rows of connections, and the arrays it points to."""

    count: int
    kernel: Any
    arrays: tuple[Tensor, ...]


def rows_of(connectivity: Connectivity) -> _Rows:
    """Return what the kernels know of the connections, made once."""
    return connectivity.derive("native rows", lambda: _make_rows(connectivity))


def columns_of(connectivity: Connectivity) -> _Rows:
    """Return what the kernels know of the transpose, made once."""
    return connectivity.derive("native columns", lambda: _make_columns(connectivity))


def _make_rows(connectivity: Connectivity) -> _Rows:
    """Tell the kernels of the connections, as they are.

    The arrays are copies that nobody else has: somebody may move the memory of any tensor that he
    can get, to share it with another process for one, and kernels know addresses.
    """
    kind, ptr = _kind(connectivity), connectivity.row_ptr.clone()
    col = connectivity.col.to(kind.features, copy=True)
    (count, features), lengths = connectivity.shape, _lengths(ptr)
    kernel = kind.rows(count, features, *lengths, ptr.data_ptr(), col.data_ptr(), 0, 0)
    return _tiled(_Rows(count, kernel, (ptr, col)), lengths[0], features, connectivity.nnz)


def _make_columns(connectivity: Connectivity) -> _Rows:
    """Tell the kernels of the connections, transposed."""
    kind, (out_features, in_features) = _kind(connectivity), connectivity.shape
    rows = rows_of(connectivity)
    starts, nnz = rows.arrays[0], connectivity.nnz
    ptr = starts.new_empty(in_features + 1)
    entries = starts.new_empty(nnz, 2, dtype=kind.features)
    rows.kernel.transpose(ptr.data_ptr(), entries.data_ptr(), threads(nnz))
    lengths = _lengths(ptr)
    kernel = kind.rows(
        in_features,
        out_features,
        *lengths,
        ptr.data_ptr(),
        0,
        entries.data_ptr(),
        starts.data_ptr(),
    )
    made = _Rows(in_features, kernel, (ptr, entries, starts))
    return _tiled(made, lengths[0], out_features, nnz)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the kernels count connections and name features: see layer.h."""

    rows: Any
    features: torch.dtype


def _kind(connectivity: Connectivity) -> _Kind:
    kernels = ready()
    if connectivity.col.dtype == torch.int64:
        return _Kind(kernels.Rows64, torch.int64)
    if max(connectivity.shape) > _FEATURES_16:
        return _Kind(kernels.Rows32, torch.int32)
    return _Kind(kernels.Rows16, torch.uint16)


def _lengths(ptr: Tensor) -> tuple[int, int]:
    """How many rows have connections, and how many the longest has."""
    if len(ptr) == 1:
        return 0, 0
    lengths = ptr.diff()
    return int(lengths.count_nonzero()), int(lengths.max())


def _tiled(rows: _Rows, filled: int, features: int, nnz: int) -> _Rows:
    """Cut the columns into tiles in which a row that has any has some _TILE_CONNECTIONS."""
    tiles = min(
        nnz // (max(1, filled) * _TILE_CONNECTIONS),
        nnz // (max(1, rows.count) * _POINTED_CONNECTIONS),
        features // _TILE_FEATURES,
    )
    if tiles < 2:
        return rows
    tile_ptr = rows.arrays[0].new_empty((tiles + 1) * rows.count)
    address, width = tile_ptr.data_ptr(), -(-features // tiles)
    rows.kernel.find_tiles(tiles, width, address, threads(nnz))
    return _Rows(rows.count, rows.kernel.tiled(tiles, address), (*rows.arrays, tile_ptr))


@cache
def _of(dtype: torch.dtype) -> SimpleNamespace:
    """The kernels for one type of values."""
    names = "unit", "blocks", "pitch", "pack", "multiply", "backward", "backward_narrow"
    return library.loops(dtype, *names)


def is_narrow(batch: int, dtype: torch.dtype, connectivity: Connectivity) -> bool:
    """Whether one pass for both gradients pays: a dx for every thread must be the lesser work.

    It must also be the lesser memory: two numbers a connection, less than an index of the other
    way's.
    """
    unit = _of(dtype).unit(batch) if batch else 0
    lanes = torch.get_num_threads() * connectivity.shape[1]
    return 0 < batch <= unit and lanes * unit <= 2 * connectivity.nnz


def _backward_narrow(
    dy: Tensor, x: Tensor, values: Tensor, connectivity: Connectivity, gradients: Gradients
) -> None:
    kernels, rows, batch = _of(values.dtype), rows_of(connectivity), x.shape[0]
    kernels.backward_narrow(
        rows.kernel,
        values.data_ptr(),
        dy.data_ptr(),
        dy.stride(1),
        x.data_ptr(),
        x.stride(1),
        batch,
        *_place(gradients.input),
        address(gradients.values),
        address(gradients.bias),
        threads_of_product(batch, connectivity.nnz),
    )


def _blocks(batch: int, dtype: torch.dtype) -> int:
    """Into how many blocks the kernels cut the batch: 1 without a call for the smallest ones."""
    return 1 if batch <= _ONE_BLOCK else _of(dtype).blocks(batch)


def _ready(x: Tensor) -> Tensor:
    """`x` as kernels take it: arranged where the batch is one block, else as it is."""
    return x if _blocks(x.shape[0], x.dtype) > 1 else _arranged(x)


def _arranged(x: Tensor) -> Tensor:
    batch, features = x.shape
    kernels = _of(x.dtype)
    dtype = _COMPUTE.get(x.dtype, x.dtype)
    if dtype == x.dtype and _pitch(x, kernels) is not None:
        return x
    pitch = kernels.pitch(batch)
    if pitch == batch:  # no lanes behind the last of the batch, so none behind the last feature
        arranged = x.new_empty_strided((batch, features), (1, pitch), dtype=dtype)
    else:
        arranged = x.new_empty(features * pitch, dtype=dtype)
        arranged = arranged.as_strided((batch, features), (1, pitch))
    kernels.pack(
        x.data_ptr(),
        *x.stride(),
        batch,
        features,
        arranged.data_ptr(),
        pitch,
        threads(x.numel()),
    )
    return arranged


def _place(matrix: Tensor | None) -> tuple[int, int, int]:
    """The address and the strides of a matrix, zeros where there is none."""
    if matrix is None:
        return 0, 0, 0
    return matrix.data_ptr(), matrix.stride(0), matrix.stride(1)


def _pitch(x: Tensor, kernels: SimpleNamespace) -> int | None:
    """The pitch of `x` if kernels can read it as it is: see blocks.h."""
    batch, features = x.shape
    if batch == 0:
        return 1
    batch_stride, pitch = x.stride()
    if batch == 1:
        return pitch if pitch == 1 or features == 1 else None
    if batch_stride != 1 or (pitch < batch and features > 1):
        return None
    unit = kernels.unit(batch)
    last = x.storage_offset() + (features - 1) * pitch + -(-batch // unit) * unit
    if batch % unit and last * x.element_size() > x.untyped_storage().nbytes():
        return None
    return pitch
