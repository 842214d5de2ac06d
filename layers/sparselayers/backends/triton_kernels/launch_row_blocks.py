"""The three products of row blocks on one device, as `launch_gather` has others.

Two kernels make dx: `spread` writes what each column of each group adds, HEIGHT products at a time
on tensor cores, `gather` adds that up for each input. So nothing needs atomics, at the price of a
number for each column of a group and sample, of which no more than `_MOST` bytes exist at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from sparselayers.accumulation import wide_type
from sparselayers.backends.triton_kernels import row_blocks
from sparselayers.backends.triton_kernels.launcher import Launch
from sparselayers.backends.triton_kernels.plans import Multiply, Plan, Product, Sample
from sparselayers.backends.triton_kernels.precision import precision_of
from sparselayers.backends.triton_kernels.tiles import Tile, power_of_two
from sparselayers.backends.triton_kernels.types import offset_type, wide_of
from sparselayers.connectivity import Connectivity
from sparselayers.structures.row_blocks import row_block

_CORES = 16  # rows that tensor cores take at least
_MOST = 1 << 28  # bytes


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of `height` rows with the same columns, and the same by column.

    `ptr` (groups + 1,) delimits the columns `index` of each group, `col_ptr` (in + 1,) the places
    `place_of` in `index` of each column. `longest` is the most columns of a group.
    """

    height: int
    ptr: Tensor
    index: Tensor
    col_ptr: Tensor
    place_of: Tensor
    longest: int
    shape: tuple[int, int]
    plans: dict[tuple[Any, ...], Plan] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """The number of groups."""
        return self.ptr.numel() - 1


class _Key(NamedTuple):
    """What decides how a product is computed."""

    product: str
    batch: int
    dtype: torch.dtype
    bias: bool
    precision: str


def groups_of(connectivity: Connectivity) -> Groups | None:
    """Return the groups of rows with the same columns, if all rows are in such; made once."""
    height = row_block(connectivity)
    if height == 1:
        return None
    return connectivity.derive("row groups", lambda: _groups(connectivity, height))


def _groups(connectivity: Connectivity, height: int) -> Groups:
    row_ptr = connectivity.row_ptr
    ptr = torch.div(row_ptr[::height], height, rounding_mode="floor")
    lengths = row_ptr.diff()
    first_of_group = torch.arange(lengths.numel(), device=lengths.device) % height == 0
    index = connectivity.col[
        first_of_group.repeat_interleave(lengths, output_size=connectivity.nnz)
    ]
    inputs = connectivity.shape[1]
    col_ptr = torch.zeros(inputs + 1, dtype=torch.int64, device=index.device)
    torch.cumsum(torch.bincount(index, minlength=inputs), 0, out=col_ptr[1:])
    place_of = torch.argsort(index, stable=True)
    kind = ptr.dtype
    longest = int(lengths.max())
    shape = connectivity.shape
    return Groups(height, ptr, index, col_ptr.to(kind), place_of.to(kind), longest, shape)


class _Spread:
    """dx, section by section of the batch: what each column of each group adds, and its sum."""

    def __init__(self, launches: tuple[Launch, ...], key: _Key, groups: Groups) -> None:
        self._pairs = tuple(zip(launches[::2], launches[1::2], strict=True))
        self._shape, self._strides = (key.batch, groups.shape[1]), (1, key.batch)
        self._added = groups.index.numel(), _section(key.batch, key.dtype, groups)

    def __call__(self, dy: Tensor, values: Tensor) -> Tensor:
        """Return the product."""
        dx = values.new_empty_strided(self._shape, self._strides)
        added = dy.new_empty(self._added, dtype=wide_type(values.dtype))
        for spread, gather in self._pairs:
            spread(dy, values, added)
            gather(added, dx)
        return dx


def y_of(x: Tensor, values: Tensor, bias: Tensor | None, groups: Groups) -> Product:
    """Return y = x Wᵀ + bias, (batch, out), of feature-major `x` (batch, in)."""
    return _product(_key("multiply", x.shape[0], values.dtype, bias is not None), groups)


def dx_of(dy: Tensor, values: Tensor, groups: Groups) -> Product:
    """Return dx = dy W, (batch, in), of feature-major `dy` (batch, out)."""
    return _product(_key("spread", dy.shape[0], values.dtype, False), groups)


def dweights_of(dy: Tensor, x: Tensor, groups: Groups, *, bias: bool) -> Product:
    """Return the gradients of the values, (nnz,), and of the bias, (out,), if asked for."""
    return _product(_key("sample", x.shape[0], x.dtype, bias), groups)


def _key(product: str, batch: int, dtype: torch.dtype, bias: bool) -> _Key:
    return _Key(product, batch, dtype, bias, precision_of(dtype))


def _section(batch: int, dtype: torch.dtype, groups: Groups) -> int:
    """Return of how many samples what is added to dx exists at a time."""
    each = max(1, groups.index.numel()) * wide_type(dtype).itemsize
    return min(batch, max(64, _MOST // each // 64 * 64))


def _made(key: _Key, groups: Groups, tile: Tile) -> Plan:
    """Return how a product is launched."""
    common = {
        "OFFSET": offset_type(key.batch * max(groups.shape)),
        "WIDE": wide_of(key.dtype),
        "BATCH": tile.batch,
        "CONNECTIONS": tile.connections,
        "num_warps": tile.warps,
    }
    dense = {"PRECISION": key.precision, "HEIGHT": groups.height, "ROWS": tile.rows}
    if key.product == "spread":
        return _Spread(_of_sections(key, groups, tile, common, dense), key, groups)
    absent = () if key.bias else (None,)
    fixed = *absent, groups.ptr, groups.index, groups.count, key.batch
    constants = {"HAS_BIAS": key.bias} | dense | common
    if key.product == "sample":
        blocks = max(1, triton.cdiv(groups.longest, tile.connections))
        launch = Launch(row_blocks.sample, groups.count * blocks, fixed, constants)
        nnz = groups.height * groups.index.numel()
        return Sample(launch, nnz, groups.shape[0] if key.bias else None)
    blocks = triton.cdiv(key.batch, tile.batch)
    launch = Launch(row_blocks.multiply, groups.count * blocks, fixed, constants)
    return Multiply(launch, (key.batch, groups.shape[0]), (1, key.batch))


def _of_sections(
    key: _Key, groups: Groups, tile: Tile, common: dict[str, Any], dense: dict[str, Any]
) -> tuple[Launch, ...]:
    """Return what spreads and gathers each section of the batch."""
    section = _section(key.batch, key.dtype, groups)
    blocks, inputs = triton.cdiv(section, tile.batch), groups.shape[1]
    common = common | {"SECTION": section}
    made = []
    for first in range(0, key.batch, section):
        made.append(
            Launch(
                row_blocks.spread,
                groups.count * blocks,
                (groups.ptr, groups.count, first, key.batch),
                common | dense,
            )
        )
        fixed = groups.col_ptr, groups.place_of, inputs, first, key.batch
        few = {"CONNECTIONS": 8}
        made.append(Launch(row_blocks.gather, inputs * blocks, fixed, common | few))
    return tuple(made)


def candidates(batch: int, height: int) -> tuple[Tile, ...]:
    """Return tiles for groups of `height` rows; the first is the one to take untried."""
    rows, most = max(_CORES, height), max(16, power_of_two(batch))
    shapes = [(32, 64, 4), (64, 64, 4), (32, 128, 4), (64, 128, 8), (16, 128, 4), (32, 32, 2)]
    tiles = [Tile(rows, many, min(samples, most), warps) for many, samples, warps in shapes]
    return tuple(dict.fromkeys(tiles))


def _product(key: _Key, groups: Groups) -> Product:
    return Product(
        key,
        groups.plans,
        groups.ptr.device,
        tiles=lambda: candidates(key.batch, groups.height),
        make=lambda tile: _made(key, groups, tile),
        words=lambda: _words(key, groups),
    )


def _words(key: _Key, groups: Groups) -> str:
    """Name a class of shapes: sizes count by their powers of two."""
    outputs, inputs = groups.shape
    degree = groups.index.numel() / groups.count
    sizes = map(power_of_two, (key.batch, degree, outputs, inputs))
    kinds = f"{key.dtype} {groups.index.dtype} {key.precision}".replace("torch.", "")
    return f"rows of {groups.height} {key.product} {kinds} {' '.join(map(str, sizes))}"
