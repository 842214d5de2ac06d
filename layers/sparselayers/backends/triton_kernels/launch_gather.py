"""The three products from connection to connection on one device: how they are launched.

Activations are (batch, features) with the samples of a feature side by side: feature-major. Where
there is so little to compute that a copy would take longer, they are taken sample by sample too,
and results lie as what they are made of (ways.py).
Nothing here synchronises or copies to the host, and memory comes from PyTorch's caching allocator
alone. What a batch and a type decide is decided once, and kept with the connections (`Product`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import triton
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.backends.triton_kernels import multiply as multiplying
from sparselayers.backends.triton_kernels import sample as sampling
from sparselayers.backends.triton_kernels.launcher import Launch
from sparselayers.backends.triton_kernels.partition import Partition
from sparselayers.backends.triton_kernels.plans import Multiply, Plan, Product, Sample
from sparselayers.backends.triton_kernels.tiles import Tile, candidates, power_of_two
from sparselayers.backends.triton_kernels.types import offset_type, wide_of

# The product, the batch, its type, whether there is a bias, and which operands lie by sample.
_Key = tuple[str, int, torch.dtype, bool, tuple[bool, ...]]


@dataclass(frozen=True, eq=False)
class Matrix:
    """Connections in the order of their rows: of W, or of Wᵀ.

    `permutation` says where the values of Wᵀ are among those of W; None for W itself. `plans`
    keeps what was decided for a batch and a type: a launch looks no further.
    """

    ptr: Tensor
    columns: Tensor
    permutation: Tensor | None
    partition: Partition
    features: int
    plans: dict[_Key, Plan] = field(default_factory=dict)


class _OfPieces:
    """A product with rows that are cut in pieces, whose sums a second kernel adds up."""

    def __init__(
        self,
        product: Launch,
        combine: Launch,
        shape: tuple[int, int],
        strides: tuple[int, int],
        pieces: int,
    ) -> None:
        self._product, self._combine = product, combine
        self._shape, self._strides, self._pieces = shape, strides, (pieces, shape[0])

    def __call__(self, x: Tensor, values: Tensor, bias: Tensor | None = None) -> Tensor:
        """Return the product."""
        y = values.new_empty_strided(self._shape, self._strides)
        partial = x.new_empty(self._pieces, dtype=wide_type(values.dtype))
        if bias is None:
            bias = partial  # which is not read
        self._product(x, values, y, bias, partial)
        self._combine(partial, y, bias)
        return y


def y_of(x: Tensor, values: Tensor, bias: Tensor | None, matrix: Matrix) -> Product:
    """Return the product (batch, rows) of `x` (batch, features) and `matrix`ᵀ, plus `bias`."""
    key = "multiply", x.shape[0], values.dtype, bias is not None, (_lies_by_sample(x),)
    return _product(key, matrix, lambda tile: _of_multiply(tile, key, matrix))


def dx_of(dy: Tensor, values: Tensor, matrix: Matrix) -> Product:
    """Return the product of `dy` (batch, out) and W, of which `matrix` is the transpose."""
    return y_of(dy, values, None, matrix)


def dweights_of(dy: Tensor, x: Tensor, matrix: Matrix, *, bias: bool) -> Product:
    """Return Σ_b dy[b, row p] · x[b, index p], (nnz,), and Σ_b dy, (rows,), if `bias`.

    `dy` is (batch, rows) and `x` (batch, features).
    """
    key = "sample", x.shape[0], x.dtype, bias, (_lies_by_sample(dy), _lies_by_sample(x))
    return _product(key, matrix, lambda tile: _of_sample(tile, key, matrix))


def _lies_by_sample(x: Tensor) -> bool:
    """Whether `x`, which is arranged, lies so: one that can be read either way counts as not."""
    return x.shape[0] > 1 and x.stride(0) != 1


def _of_multiply(tile: Tile, key: _Key, matrix: Matrix) -> Plan:
    _, batch, dtype, has_bias, (by_sample,) = key
    split = matrix.partition
    blocks, samples = triton.cdiv(split.tasks, tile.rows), triton.cdiv(batch, tile.batch)
    common = {
        "HAS_BIAS": has_bias,
        "BY_SAMPLE": by_sample,
        "OFFSET": offset_type(batch * max(matrix.features, split.rows, split.pieces)),
        "WIDE": wide_of(dtype),
    }
    absent = () if split.pieces else (None,) if has_bias else (None, None)
    place = matrix.ptr, matrix.columns, matrix.permutation
    product = Launch(
        multiplying.multiply,
        blocks * samples,
        (*absent, *place, *_cut(split), batch, split.cut, blocks, matrix.features),
        {"PERMUTED": matrix.permutation is not None} | _flags(split) | common | _constants(tile),
    )
    shape, strides = (batch, split.rows), (split.rows, 1) if by_sample else (1, batch)
    if not split.pieces:
        return Multiply(product, shape, strides)
    block = min(128, power_of_two(batch))
    combine = Launch(
        multiplying.combine,
        split.long_rows * triton.cdiv(batch, block),
        (split.order, split.piece_ptr, batch, split.long_rows, split.rows),
        common | {"BATCH": block},
    )
    return _OfPieces(product, combine, shape, strides, split.pieces)


def _of_sample(tile: Tile, key: _Key, matrix: Matrix) -> Plan:
    _, batch, dtype, bias, (dy_by_sample, by_sample) = key
    split = matrix.partition
    blocks = triton.cdiv(split.tasks, tile.rows)
    constants = {
        "HAS_BIAS": bias,
        "BY_SAMPLE": by_sample,
        "DY_BY_SAMPLE": dy_by_sample,
        "OFFSET": offset_type(batch * max(matrix.features, split.rows)),
        "WIDE": wide_of(dtype),
    }
    absent = () if bias else (None,)
    place, sizes = (matrix.ptr, matrix.columns), (split.cut, blocks, matrix.features)
    fixed = *absent, *place, *_cut(split), batch, *sizes
    constants |= _flags(split) | _constants(tile)
    launch = Launch(sampling.sample, blocks, fixed, constants)
    return Sample(launch, matrix.columns.numel(), split.rows if bias else None)


def _product(key: _Key, matrix: Matrix, make: Callable[[Tile], Plan]) -> Product:
    return Product(
        key,
        matrix.plans,
        matrix.ptr.device,
        tiles=lambda: candidates(key[1], matrix.columns.numel() / matrix.partition.rows),
        make=make,
        words=lambda: _words(key, matrix),
    )


def _words(key: _Key, matrix: Matrix) -> str:
    """Name a class of shapes: sizes count by their powers of two."""
    product, batch, dtype, _, by_sample = key
    name = f"{product}-transposed" if matrix.permutation is not None else product
    rows, features = matrix.partition.rows, matrix.features
    sizes = (power_of_two(size) for size in (batch, matrix.columns.numel() / rows, rows, features))
    types = f"{dtype} {matrix.columns.dtype}".replace("torch.", "")
    split = " split" if matrix.partition.pieces else ""
    lies = " by sample" if any(by_sample) else ""
    return f"{name} {types} {' '.join(map(str, sizes))}{split}{lies}"


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
