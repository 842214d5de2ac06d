"""The three products on one device: allocate what comes out, choose a tile, launch.

Activations are feature-major, (features, batch) and contiguous. Nothing here synchronises or
copies to the host, and memory comes from PyTorch's caching allocator alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from sparselayers import accelerator
from sparselayers.backends.kernels import multiply as multiplying
from sparselayers.backends.kernels import sample as sampling
from sparselayers.backends.kernels.partition import Partition
from sparselayers.backends.kernels.tiles import Tile, candidates, power_of_two
from sparselayers.backends.kernels.tuning import TUNER

_INT32_MAX = 2**31 - 1
INTERPRETED = not isinstance(multiplying.multiply, triton.JITFunction)


class Matrix(NamedTuple):
    """Connections in the order of their rows: of W, or of Wᵀ.

    `permutation` says where the values of Wᵀ are among those of W; None for W itself.
    """

    ptr: Tensor
    columns: Tensor
    permutation: Tensor | None
    partition: Partition


def multiply(x: Tensor, values: Tensor, bias: Tensor | None, matrix: Matrix) -> Tensor:
    """Return the product (rows, batch) of `matrix` and `x` (features, batch), plus `bias`."""
    batch, split = x.shape[1], matrix.partition
    y = x.new_empty(split.rows, batch, dtype=values.dtype)
    if y.numel() == 0:
        return y
    wide = _wide(values.dtype)
    partial = x.new_empty(split.pieces, batch, dtype=wide)
    common = {
        "HAS_BIAS": bias is not None,
        "OFFSET": _offset(max(x.numel(), y.numel(), partial.numel())),
        "WIDE": _TYPES[wide],
    }

    def run(tile: Tile) -> None:
        blocks, samples = triton.cdiv(split.tasks, tile.rows), triton.cdiv(batch, tile.batch)
        multiplying.multiply[(blocks * samples,)](
            x,
            values,
            bias,
            y,
            partial,
            matrix.ptr,
            matrix.columns,
            matrix.permutation,
            *_cut(split),
            batch,
            split.cut,
            blocks,
            PERMUTED=matrix.permutation is not None,
            **_flags(split),
            **common,
            **_constants(tile),
        )
        if split.long_rows:
            block = min(128, power_of_two(batch))
            multiplying.combine[(split.long_rows * triton.cdiv(batch, block),)](
                partial,
                bias,
                y,
                split.order,
                split.piece_ptr,
                batch,
                split.long_rows,
                BATCH=block,
                **common,
            )

    name = "multiply" if matrix.permutation is None else "multiply-transposed"
    _launch(name, run, x, values.dtype, matrix)
    return y


def sample(dy: Tensor, x: Tensor, matrix: Matrix) -> Tensor:
    """Return Σ_b dy[row p, b] · x[index p, b], (nnz,), of (rows, batch) and (features, batch)."""
    batch, split = x.shape[1], matrix.partition
    if batch == 0:
        return x.new_zeros(matrix.columns.numel())
    result = x.new_empty(matrix.columns.numel())
    if result.numel() == 0:
        return result

    def run(tile: Tile) -> None:
        blocks = triton.cdiv(split.tasks, tile.rows)
        sampling.sample[(blocks,)](
            dy,
            x,
            result,
            matrix.ptr,
            matrix.columns,
            *_cut(split),
            batch,
            split.cut,
            blocks,
            OFFSET=_offset(max(x.numel(), dy.numel())),
            WIDE=_TYPES[_wide(x.dtype)],
            **_flags(split),
            **_constants(tile),
        )

    _launch("sample", run, x, x.dtype, matrix)
    return result


def _launch(name: str, run: Any, x: Tensor, dtype: torch.dtype, matrix: Matrix) -> None:
    """Run with the best tile for the class of shapes; the kernel is compiled where it is new."""
    kept, degree = matrix.partition.tiles, matrix.columns.numel() / matrix.partition.rows
    if INTERPRETED:
        run(candidates(x.shape[1], degree)[0])
        return
    with torch.cuda.device(x.device):  # Triton launches on the current device and stream
        kind = name, dtype, x.shape
        if (tile := kept.get(kind)) is None:
            tiles, key = candidates(x.shape[1], degree), _key(name, x, dtype, matrix)
            tile = TUNER.choose(key, tiles, run, accelerator.of(x.device))
            if tile is None:
                tile = tiles[0]
            else:
                kept[kind] = tile
        run(tile)


def _key(name: str, x: Tensor, dtype: torch.dtype, matrix: Matrix) -> str:
    """Name a class of shapes: sizes count by their powers of two."""
    rows, features, batch = matrix.partition.rows, *x.shape
    sizes = (power_of_two(size) for size in (batch, matrix.columns.numel() / rows, rows, features))
    types = f"{dtype} {matrix.columns.dtype}".replace("torch.", "")
    return (
        f"{name} {types} {' '.join(map(str, sizes))}{' split' if matrix.partition.pieces else ''}"
    )


def _cut(split: Partition) -> tuple[Any, ...]:
    return (
        split.order,
        split.piece_row,
        split.piece_begin,
        split.pieces,
        split.long_rows,
        split.rows,
    )


def _flags(split: Partition) -> dict[str, bool]:
    return {"ORDERED": split.order is not None, "SPLIT": split.pieces > 0}


def _constants(tile: Tile) -> dict[str, int]:
    return {
        "ROWS": tile.rows,
        "CONNECTIONS": tile.connections,
        "BATCH": tile.batch,
        "num_warps": tile.warps,
    }


def _offset(largest: int) -> Any:
    """The type that counts the numbers of the largest matrix."""
    return tl.int32 if largest <= _INT32_MAX else tl.int64


def _wide(dtype: torch.dtype) -> torch.dtype:
    """The type to accumulate in: float32 for the 16-bit types."""
    return torch.promote_types(dtype, torch.float32)


_TYPES = {torch.float32: tl.float32, torch.float64: tl.float64}
