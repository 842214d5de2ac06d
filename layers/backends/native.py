"""The C++ kernels for CPUs."""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass, replace
from functools import cache
from types import ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from layers.backends.base import Backend, Gradients
from layers.connectivity import Connectivity

_kernels: ModuleType | None
try:
    _kernels = importlib.import_module("layers._native")
except ImportError as error:
    _kernels, _missing = None, str(error)

INSTRUCTION_SETS = ("scalar", "avx2", "avx512")
_VARIABLE = "SPARSEBENCH_ISA"
_SUFFIXES = {torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16"}
_INDEX_SUFFIXES = {torch.int32: "i32", torch.int64: "i64"}
# In which type activations are arranged and sums made, where that is not the type of the values.
_COMPUTE = {torch.bfloat16: torch.float32}

# Starting threads takes some microseconds, and this many multiplications take about as long.
_WORTH_A_THREAD = 1 << 15

# A batch of so many is one block, whatever the instruction set: see blocks.h.
_ONE_BLOCK = 16

# A tile of columns holds about so many connections of a row: fewer, and the start of a row costs
# more than a small tile gains. A tile has at least so many columns. Where many rows are empty, a
# pointer into a tile must still serve so many connections, or pointers would take up the memory.
_TILE_CONNECTIONS = 12
_TILE_FEATURES = 32
_POINTED_CONNECTIONS = 4


class Native(Backend):
    """Vectorised over the batch and parallel over rows; see layers/csrc/README.md.

    Serves float32 and float64; bfloat16, which is kept as it is and multiplied and added up in
    float32; and float16 by way of float32 copies. Results are the same for every run with the
    same number of threads (`torch.set_num_threads`).
    """

    name = "native"

    def unavailable(self) -> str | None:
        """Say how to get the kernels where they were not built."""
        if _kernels is None:
            return f"{_missing}; install a C++ compiler, then reinstall with: pip install ."
        return None

    def supports(self, device: torch.device, dtype: torch.dtype) -> bool:
        """Serve floating point types on CPUs."""
        if _kernels is None or device.type != "cpu":
            return False
        return dtype in _SUFFIXES or dtype == torch.float16

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
        return self._multiply(_rows(connectivity), values, bias, x)

    def grad_input(self, dy: Tensor, values: Tensor, connectivity: Connectivity) -> Tensor:
        """Return dx = dy W."""
        if values.dtype == torch.float16:
            return self.grad_input(dy.float(), values.float(), connectivity).to(values.dtype)
        return self._multiply(_columns(connectivity), values, None, dy)

    def grad_values(self, dy: Tensor, x: Tensor, connectivity: Connectivity) -> Tensor:
        """Return the gradient of the values."""
        if x.dtype == torch.float16:
            return self.grad_values(dy.float(), x.float(), connectivity).to(x.dtype)
        return self._grad_values(_ready(dy), _ready(x), connectivity, x.dtype)

    def _grad_values(
        self, dy: Tensor, x: Tensor, connectivity: Connectivity, dtype: torch.dtype
    ) -> Tensor:
        """Return the gradient of values of type `dtype` from activations that are ready."""
        rows = _rows(connectivity)
        batch = x.shape[0]
        compute = _COMPUTE.get(dtype, dtype)
        if dtype != compute and _blocks(batch, dtype) > 1:
            # Sums over several blocks of the batch would be rounded after each of them.
            return self._grad_values(dy.to(compute), x.to(compute), connectivity, compute).to(dtype)
        result = x.new_empty(connectivity.nnz, dtype=dtype)
        _of(dtype).grad_values[rows.ptr.dtype](
            rows.count,
            rows.filled,
            rows.longest,
            rows.features,
            rows.ptr.data_ptr(),
            connectivity.col.data_ptr(),
            rows.tiles,
            _address(rows.tile_ptr),
            dy.data_ptr(),
            *dy.stride(),
            x.data_ptr(),
            *x.stride(),
            batch,
            result.data_ptr(),
            _threads(batch * connectivity.nnz),
        )
        return result

    def backward(
        self,
        dy: Tensor,
        x: Tensor | None,
        values: Tensor,
        connectivity: Connectivity,
        *,
        needs: tuple[bool, bool, bool],
    ) -> Gradients:
        """Return the gradients that are needed, from one arrangement of dy if it is one block."""
        if values.dtype == torch.float16:
            wide = None if x is None else x.float()
            found = self.backward(dy.float(), wide, values.float(), connectivity, needs=needs)
            return Gradients(*(None if g is None else g.to(values.dtype) for g in found))
        dtype = values.dtype
        dy = _ready(dy)
        bias = _sums(dy, dtype) if needs[2] else None
        if needs[1] and x is not None:
            x = _ready(x)
            if needs[0] and _is_narrow(dy.shape[0], dtype, connectivity):
                return Gradients(*_backward_narrow(dy, x, values, connectivity), bias)
        return Gradients(
            self._multiply(_columns(connectivity), values, None, dy) if needs[0] else None,
            self._grad_values(dy, x, connectivity, dtype) if needs[1] and x is not None else None,
            bias,
        )

    def _multiply(self, rows: _Rows, values: Tensor, bias: Tensor | None, x: Tensor) -> Tensor:
        x = _ready(x)
        batch = x.shape[0]
        result = values.new_empty(batch, rows.count)
        _of(values.dtype).multiply[rows.ptr.dtype](
            rows.count,
            rows.filled,
            rows.longest,
            rows.features,
            rows.ptr.data_ptr(),
            _address(rows.col),
            _address(rows.entries),
            rows.tiles,
            _address(rows.tile_ptr),
            values.data_ptr(),
            _address(bias),
            x.data_ptr(),
            *x.stride(),
            batch,
            result.data_ptr(),
            *result.stride(),
            _threads(batch * values.numel()),
        )
        return result


@dataclass(frozen=True, slots=True)
class _Rows:
    """The connections sorted by row, at `col`, or by column, at `entries`: see kernels.h."""

    count: int
    filled: int
    longest: int
    features: int
    ptr: Tensor
    col: Tensor | None
    entries: Tensor | None
    tiles: int = 1
    tile_ptr: Tensor | None = None


# What the kernels want to know of a connectivity beside its own arrays; made on first use.
_rows_of: WeakKeyDictionary[Connectivity, _Rows] = WeakKeyDictionary()
_columns_of: WeakKeyDictionary[Connectivity, _Rows] = WeakKeyDictionary()


def _rows(connectivity: Connectivity) -> _Rows:
    if (rows := _rows_of.get(connectivity)) is None:
        ptr, (count, features) = connectivity.row_ptr, connectivity.shape
        rows = _Rows(count, *_lengths(ptr), features, ptr, connectivity.col, None)
        rows = _rows_of[connectivity] = _tiled(rows, connectivity.nnz)
    return rows


def _columns(connectivity: Connectivity) -> _Rows:
    if (columns := _columns_of.get(connectivity)) is None:
        (out_features, in_features), nnz = connectivity.shape, connectivity.nnz
        col_ptr = connectivity.row_ptr.new_empty(in_features + 1)
        entries = connectivity.col.new_empty(nnz, 2)
        _order("transpose", connectivity.col.dtype)(
            out_features,
            in_features,
            connectivity.row_ptr.data_ptr(),
            connectivity.col.data_ptr(),
            col_ptr.data_ptr(),
            entries.data_ptr(),
            _threads(nnz),
        )
        columns = _Rows(in_features, *_lengths(col_ptr), out_features, col_ptr, None, entries)
        columns = _columns_of[connectivity] = _tiled(columns, nnz)
    return columns


def _lengths(ptr: Tensor) -> tuple[int, int]:
    """How many rows have connections, and how many the longest has."""
    if len(ptr) == 1:
        return 0, 0
    lengths = ptr.diff()
    return int(lengths.count_nonzero()), int(lengths.max())


def _tiled(rows: _Rows, nnz: int) -> _Rows:
    """Cut the columns into tiles in which a row that has any has some _TILE_CONNECTIONS."""
    tiles = min(
        nnz // (max(1, rows.filled) * _TILE_CONNECTIONS),
        nnz // (max(1, rows.count) * _POINTED_CONNECTIONS),
        rows.features // _TILE_FEATURES,
    )
    if tiles < 2:
        return rows
    tile_ptr = rows.ptr.new_empty((tiles + 1) * rows.count)
    _order("find_tiles", rows.ptr.dtype)(
        rows.count,
        rows.ptr.data_ptr(),
        _address(rows.col),
        _address(rows.entries),
        tiles,
        -(-rows.features // tiles),
        tile_ptr.data_ptr(),
        _threads(nnz),
    )
    return replace(rows, tiles=tiles, tile_ptr=tile_ptr)


def _order(name: str, index: torch.dtype) -> Any:
    return getattr(_kernels, f"{name}_{_INDEX_SUFFIXES[index]}")


def isa() -> tuple[str, str]:
    """Return the instruction set whose kernels run, and why this one.

    Raises ValueError where the environment asks for one that is unknown or that the CPU lacks,
    and ImportError where the kernels were not built.
    """
    if _kernels is None:
        raise ImportError(_missing)
    supported = _kernels.supported()
    wanted = os.environ.get(_VARIABLE)
    if not wanted:
        return supported[-1], "the widest that this CPU supports"
    if wanted not in INSTRUCTION_SETS:
        raise ValueError(f"{_VARIABLE}={wanted}: choose one of {', '.join(INSTRUCTION_SETS)}")
    if wanted not in supported:
        raise ValueError(f"{_VARIABLE}={wanted}: this CPU or build has only {', '.join(supported)}")
    return wanted, f"set by {_VARIABLE}"


class _Of:
    """The kernels for one type of values."""

    def __init__(self, kernels: Any, suffix: str) -> None:
        self.unit = getattr(kernels, f"unit_{suffix}")
        self.blocks = getattr(kernels, f"blocks_{suffix}")
        self.pitch = getattr(kernels, f"pitch_{suffix}")
        self.pack = getattr(kernels, f"pack_{suffix}")
        self.sums = getattr(kernels, f"sums_{suffix}")
        self.multiply, self.grad_values, self.backward_narrow = (
            {
                d: getattr(kernels, f"{name}_{suffix}_{index}")
                for d, index in _INDEX_SUFFIXES.items()
            }
            for name in ("multiply", "grad_values", "backward_narrow")
        )


@cache
def _of(dtype: torch.dtype) -> _Of:
    assert _kernels is not None
    _kernels.use(isa()[0])
    return _Of(_kernels, _SUFFIXES[dtype])


def _is_narrow(batch: int, dtype: torch.dtype, connectivity: Connectivity) -> bool:
    """Whether one pass for both gradients pays: a dx for every thread must be the lesser work.

    It must also be the lesser memory: two numbers a connection, less than an index of the other
    way's.
    """
    unit = _of(dtype).unit(batch) if batch else 0
    lanes = torch.get_num_threads() * connectivity.shape[1]
    return 0 < batch <= unit and lanes * unit <= 2 * connectivity.nnz


def _backward_narrow(
    dy: Tensor, x: Tensor, values: Tensor, connectivity: Connectivity
) -> tuple[Tensor, Tensor]:
    kernels = _of(values.dtype)
    batch, features = x.shape
    threads = _threads(batch * connectivity.nnz)
    workspace = x.new_empty(threads * features * kernels.unit(batch))
    dx = values.new_empty(batch, features)
    gradient = values.new_empty(connectivity.nnz)
    kernels.backward_narrow[connectivity.col.dtype](
        *connectivity.shape,
        connectivity.row_ptr.data_ptr(),
        connectivity.col.data_ptr(),
        values.data_ptr(),
        dy.data_ptr(),
        dy.stride(1),
        x.data_ptr(),
        x.stride(1),
        batch,
        workspace.data_ptr(),
        dx.data_ptr(),
        *dx.stride(),
        gradient.data_ptr(),
        threads,
    )
    return dx, gradient


def _sums(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The sums over the batch of activations that are ready."""
    batch, features = x.shape
    if _blocks(batch, dtype) > 1:
        return x.sum(0)
    sums = x.new_empty(features, dtype=dtype)
    _of(dtype).sums(
        x.data_ptr(), x.stride(1), batch, features, sums.data_ptr(), _threads(x.numel())
    )
    return sums


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
    arranged = x.new_empty(features * pitch, dtype=dtype)
    arranged = arranged.as_strided((batch, features), (1, pitch))
    kernels.pack(
        x.data_ptr(),
        *x.stride(),
        batch,
        features,
        arranged.data_ptr(),
        pitch,
        _threads(x.numel()),
    )
    return arranged


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _pitch(x: Tensor, kernels: _Of) -> int | None:
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


def _threads(work: int) -> int:
    return min(torch.get_num_threads(), max(1, work // _WORTH_A_THREAD))
