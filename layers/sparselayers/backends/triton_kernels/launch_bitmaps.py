"""The three products by bitmaps on one device, as `launch_gather` has others.

Activations are taken as they lie, feature by feature or sample by sample, and results lie as what
they are made of: nothing is transposed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sparselayers.backends.triton_kernels import bitmaps
from sparselayers.backends.triton_kernels.launcher import Launch
from sparselayers.backends.triton_kernels.plans import Multiply, Plan, Product, Sample
from sparselayers.backends.triton_kernels.precision import precision_of
from sparselayers.backends.triton_kernels.tiles import Tile, power_of_two
from sparselayers.backends.triton_kernels.types import offset_type, wide_of
from sparselayers.connectivity import Connectivity

WORD = 32  # places of a word
_LEAST = 16  # samples that tensor cores take at least
_MOST_WORDS = 1 << 31
_PART = 1 << 24  # connections whose words are found at a time

# Rows × columns × samples, warps. The first is the one to take untried. Few rows, or columns, make
# programs for small layers; many samples lay a tile of weights out once for all of them.
_SHAPES = {
    "multiply": (
        (64, 64, 64, 4), (64, 128, 64, 8), (32, 128, 64, 4), (32, 64, 128, 4), (64, 64, 128, 8),
        (128, 64, 128, 8),
    ),
    "grad_input": (
        (32, 64, 64, 4), (128, 64, 64, 8), (64, 32, 64, 4), (64, 32, 128, 4), (64, 64, 128, 8),
        (32, 128, 128, 8),
    ),
    "sample": (
        (64, 64, 32, 4), (64, 64, 64, 4), (32, 64, 64, 4), (128, 64, 32, 4), (128, 64, 64, 8),
        (128, 128, 32, 8),
    ),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bitmap:
    """Which places of W have a weight: `bits` and `starts` (out, words), as bitmaps.py says."""

    bits: Tensor
    starts: Tensor
    shape: tuple[int, int]
    plans: dict[_Key, Plan] = field(default_factory=dict)

    @property
    def words(self) -> int:
        """The words of a row."""
        return self.bits.shape[1]


class _Key(NamedTuple):
    """What decides how a product is computed: also how its operands lie."""

    product: str
    batch: int
    dtype: torch.dtype
    bias: bool
    precision: str
    by_sample: tuple[bool, ...]


def serves(connectivity: Connectivity) -> bool:
    """Return whether the places of the matrix can be counted in words: not in the widest layers."""
    outputs, inputs = connectivity.shape
    return outputs * -(-inputs // WORD) < _MOST_WORDS


def bitmap_of(connectivity: Connectivity) -> Bitmap:
    """Return the bits, made once, in O(nnz + places / 32) time; this synchronises.

    Raises ValueError for layers of 2³⁶ places and more.
    """
    return connectivity.derive("triton bitmap", lambda: _bitmap(connectivity))


def _bitmap(connectivity: Connectivity) -> Bitmap:
    if not serves(connectivity):
        raise ValueError(
            f"bitmaps serve layers of fewer than {_MOST_WORDS} words of {WORD} places, got one of "
            f"shape {connectivity.shape}: choose backend 'triton_gather'"
        )
    outputs, inputs = connectivity.shape
    words, device = -(-inputs // WORD), connectivity.device
    bits = torch.zeros(outputs * words, dtype=torch.int32, device=device)
    counts = torch.zeros(outputs * words, dtype=torch.int32, device=device)
    # Bits of 32, the highest of which is the sign.
    bit = torch.tensor([1 << n for n in range(WORD - 1)] + [-(1 << (WORD - 1))], device=device)
    bit = bit.to(torch.int32)
    row, col = connectivity.row, connectivity.col
    for begin in range(0, connectivity.nnz, _PART):
        part = slice(begin, begin + _PART)
        place = col[part].long()
        word = row[part].long() * words + place // WORD
        bits.index_add_(0, word, bit[place % WORD])  # no bit comes twice: a sum sets them
        counts.index_add_(0, word, counts.new_ones(1).expand(len(word)))
    starts = counts.cumsum(0, dtype=torch.int64).sub_(counts).to(connectivity.row_ptr.dtype)
    return Bitmap(bits.view(outputs, words), starts.view(outputs, words), connectivity.shape)


def y_of(x: Tensor, values: Tensor, bias: Tensor | None, bitmap: Bitmap) -> Product:
    """Return y = x Wᵀ + bias, (batch, out)."""
    return _product(_key("multiply", x, bias is not None, _lies_by_sample(x)), bitmap)


def dx_of(dy: Tensor, values: Tensor, bitmap: Bitmap) -> Product:
    """Return dx = dy W, (batch, in)."""
    return _product(_key("grad_input", dy, False, _lies_by_sample(dy)), bitmap)


def dweights_of(dy: Tensor, x: Tensor, bitmap: Bitmap, nnz: int, *, bias: bool) -> Product:
    """Return the gradients of the `nnz` values, and of the bias, (out,), if asked for."""
    return _product(_key("sample", x, bias, _lies_by_sample(dy), _lies_by_sample(x)), bitmap, nnz)


def _lies_by_sample(x: Tensor) -> bool:
    return x.is_contiguous()


def _key(product: str, x: Tensor, bias: bool, *by_sample: bool) -> _Key:
    return _Key(product, x.shape[0], x.dtype, bias, precision_of(x.dtype), by_sample)


def _product(key: _Key, bitmap: Bitmap, nnz: int = 0) -> Product:
    return Product(
        key,
        bitmap.plans,
        bitmap.bits.device,
        tiles=lambda: candidates(key.product, key.batch),
        make=lambda tile: _made(key, bitmap, tile, nnz),
        words=lambda: _words(key, bitmap),
    )


def _made(key: _Key, bitmap: Bitmap, tile: Tile, nnz: int) -> Plan:
    """Return how a product is launched, of so many values where they are what is asked for."""
    outputs, inputs = bitmap.shape
    rows = triton.cdiv(outputs, tile.rows)
    columns = triton.cdiv(inputs, tile.connections)
    samples = triton.cdiv(key.batch, tile.batch)
    blocks = {
        "multiply": rows * samples,
        "grad_input": columns * samples,
        "sample": rows * columns,
    }[key.product]
    constants: dict[str, Any] = {
        "OFFSET": offset_type(key.batch * max(outputs, inputs)),
        "WIDE": wide_of(key.dtype),
        "PRECISION": key.precision,
        "ROWS": tile.rows,
        "WORDS": tile.connections // WORD,
        "BATCH": tile.batch,
        "num_warps": tile.warps,
        "BY_SAMPLE": key.by_sample[-1],
    }
    if key.product != "grad_input":
        constants["HAS_BIAS"] = key.bias
    if key.product == "sample":
        constants["DY_BY_SAMPLE"] = key.by_sample[0]
    absent = (None,) if key.product != "grad_input" and not key.bias else ()
    fixed = *absent, bitmap.bits, bitmap.starts, outputs, inputs, key.batch, bitmap.words
    launch = Launch(getattr(bitmaps, key.product), blocks, fixed, constants)
    if key.product == "sample":
        return Sample(launch, nnz, outputs if key.bias else None)
    features = outputs if key.product == "multiply" else inputs
    strides = (features, 1) if key.by_sample[0] else (1, key.batch)  # as what it is made of
    return Multiply(launch, (key.batch, features), strides)


def candidates(product: str, batch: int) -> tuple[Tile, ...]:
    """Return tiles for a product of `batch` samples; the first is the one to take untried."""
    most = max(_LEAST, power_of_two(batch))
    shapes = _SHAPES[product]
    tiles = [Tile(rows, many, min(samples, most), warps) for rows, many, samples, warps in shapes]
    return tuple(dict.fromkeys(tiles))


def _words(key: _Key, bitmap: Bitmap) -> str:
    """Name a class of shapes: sizes count by their powers of two."""
    sizes = map(power_of_two, (key.batch, *bitmap.shape))
    lies = "".join("sf"[not each] for each in key.by_sample)
    kinds = f"{key.dtype} {bitmap.starts.dtype} {key.precision}".replace("torch.", "")
    return f"bitmaps {key.product} {lies} {kinds} {' '.join(map(str, sizes))}"
