"""How the native kernels go through a convolution: offsets into planes, and blocks of both.

See layers/sparselayers/csrc/convolution/convolution.h for what the numbers mean there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity
from sparselayers.convolution.geometry import Geometry, Pair
from sparselayers.convolution.planes import Axis, Images, axes_of, places
from sparselayers.structures.row_blocks import row_block

_INT32_MAX = 2**31 - 1
_BLOCK = 4  # output channels, the least height of row blocks: see convolution.h
_KEPT = 20  # plans of a connectivity: ten sizes of batches and images, two products


class Machine(NamedTuple):
    """What the kernels say of the machine, for one type of numbers."""

    lanes: int  # of a register
    itemsize: int  # bytes of a number
    cache: int  # bytes in which a block should fit

    @property
    def max_tile(self) -> int:
        """Registers of sums, as in layers/sparselayers/csrc/convolution/correlate.h."""
        return 16 if self.lanes * self.itemsize == 64 else 12


class Task(NamedTuple):
    """What a plan is made for, beside the connections."""

    geometry: Geometry
    images: int
    image: tuple[int, int, int]  # channels, H, W of the convolution's input
    machine: Machine


@dataclass(frozen=True)
class Plan:
    """One product, ready to run: where images come from and go to, taps, and blocks of work."""

    source: Images
    target: Images
    covers: bool  # whether every pixel of the target is written
    ptr: Tensor  # (target planes + 1,) int64
    offset: Tensor  # (nnz,) int32
    permutation: Tensor | None  # of the values, into the order of the offsets
    blocking: tuple[int, ...]
    together: int = 1  # planes of the target after one another that have the same taps


def forward_plan(connectivity: Connectivity, task: Task) -> Plan | None:
    """Return the plan of a convolution, or None; made once for a task, and kept.

    There is no plan where offsets overflow, or where no window sees a pixel.
    """
    return _kept(connectivity, "forward", task, lambda: _forward(connectivity, task))


def grad_input_plan(connectivity: Connectivity, task: Task) -> Plan | None:
    """Return the plan of the gradient of the input; see `forward_plan`."""
    return _kept(connectivity, "grad_input", task, lambda: _grad_input(connectivity, task))


def _kept(
    connectivity: Connectivity, product: str, task: Task, make: Callable[[], Plan | None]
) -> Plan | None:
    return connectivity.derive(("convolution", product, task), make, at_most=_KEPT)


def _forward(connectivity: Connectivity, task: Task) -> Plan | None:
    geometry, images, (channels, *size), machine = task
    high, wide = axes_of(geometry)
    rows, cols = geometry.output_size(*size)
    top, _, left, _ = geometry.padding
    source = Images(
        channels, (size[0], size[1]), geometry.stride, (top, left), (high.phases, wide.phases)
    )
    target = Images(connectivity.shape[0], (rows, cols))
    plane, down, right = places(connectivity, geometry, source)
    blocking = _blocking(
        source, target, images, (rows, cols), connectivity.nnz, (high, wide), machine
    )
    offset = _offsets(plane, down, right, source.planes, blocking)
    if offset is None:
        return None
    ptr = connectivity.row_ptr.to(torch.int64, copy=True)  # kernels know its address
    together = _together(connectivity, geometry)
    return Plan(source, target, True, ptr, offset, None, blocking, together)


def _together(connectivity: Connectivity, geometry: Geometry) -> int:
    """Return _BLOCK where as many output channels after one another share their taps, else 1."""
    of_group = connectivity.shape[0] // geometry.groups
    return _BLOCK if of_group % _BLOCK == 0 and row_block(connectivity) > 1 else 1


def _grad_input(connectivity: Connectivity, task: Task) -> Plan | None:
    geometry, images, (channels, *size), machine = task
    axes = high, wide = axes_of(geometry)
    windows = geometry.output_size(*size)
    source_shift, target_shift, counts, covers = [], [], [], True
    for axis, pixels, count, stride, padding in zip(
        axes, size, windows, geometry.stride, geometry.padding[::2], strict=True
    ):
        # Places u of a plane hold the pixels stride · u + phase − padding; all that there are, and
        # of these the ones that some window sees.
        first = min(-((phase - padding) // stride) for phase in axis.phases)
        last = max((pixels - 1 + padding - phase) // stride for phase in axis.phases)
        seen = max(first, 0), min(last, count - 1 + axis.reach)
        covers &= seen == (first, last) and len(axis.phases) == stride
        if seen[0] > seen[1]:
            return None
        source_shift.append(axis.reach - seen[0])
        target_shift.append(padding - stride * seen[0])
        counts.append(seen[1] - seen[0] + 1)
    target = Images(
        channels,
        (size[0], size[1]),
        geometry.stride,
        (target_shift[0], target_shift[1]),
        (high.phases, wide.phases),
    )
    source = Images(connectivity.shape[0], windows, shift=(source_shift[0], source_shift[1]))
    plane, down, right = places(connectivity, geometry, target)
    permutation = torch.argsort(plane, stable=True)
    blocking = _blocking(
        source, target, images, (counts[0], counts[1]), connectivity.nnz, axes, machine
    )
    offset = _offsets(
        connectivity.row.long()[permutation],
        high.reach - down[permutation],
        wide.reach - right[permutation],
        source.planes,
        blocking,
    )
    if offset is None:
        return None
    ptr = torch.zeros(target.planes + 1, dtype=torch.int64)
    torch.cumsum(torch.bincount(plane, minlength=target.planes), 0, out=ptr[1:])
    return Plan(source, target, covers, ptr, offset, permutation.to(connectivity.dtype), blocking)


def _offsets(
    plane: Tensor, down: Tensor, right: Tensor, planes: int, blocking: tuple[int, ...]
) -> Tensor | None:
    """Return how far each window begins from the first pixel, or None where int32 overflows."""
    _, inner, rows, cols, band, extra, pitch = blocking
    size = (band + extra) * pitch if pitch else rows * cols
    if planes * size * inner > _INT32_MAX:
        return None
    return ((plane * size + down * pitch + right) * inner).to(torch.int32)


def _blocking(
    source: Images,
    target: Images,
    images: int,
    windows: Pair,
    nnz: int,
    axes: tuple[Axis, Axis],
    machine: Machine,
) -> tuple[int, ...]:
    """Choose between lanes of pixels and lanes of images, and bands that fit the cache.

    A kernel of 1 × 1 without stride or padding needs no packing: images are planes as they are.
    """
    lanes, room = machine.lanes, machine.cache // machine.itemsize
    rows, cols = windows
    extra, pitch = axes[0].reach, cols + axes[1].reach
    in_place = source.size == windows == target.size and source.plain and target.plain
    if in_place and (extra, pitch) == (0, cols):
        bands = -(-rows // max(1, min(rows, room // (source.planes * cols))))
        return images, 1, rows, cols, -(-rows // bands), 0, 0

    def band(inner: int) -> int:
        fits = room // (source.planes * pitch * inner) - extra
        bands = -(-rows // max(1, min(rows, fits)))
        return -(-rows // bands)

    def cost(inner: int) -> float:
        """Registers of pixels that are multiplied, in units of about a cycle.

        Measured with AVX-512: lanes of pixels cross the lines of the cache, which costs 1.6 times
        as much. To pack or unpack a register costs as much as 16 multiplications, and of images,
        which are transposed for it, as much as 32 (AMD EPYC; 20 either way on an Intel Xeon).
        """
        high = band(inner)
        packed = (high + extra) / high * rows * pitch * inner / lanes * source.planes
        unpacked = rows * cols * inner / lanes * target.planes
        flat = ((high - 1) * pitch + cols) * inner
        tiles = min(_tiles(flat, machine), high * _tiles(cols * inner, machine))
        product = nnz * tiles * rows / high * (1.6 if inner == 1 else 1.0)
        moved = (16.0 if inner == 1 else 32.0) * (packed + unpacked)
        return -(-images // inner) * (product + moved)

    inner = min((1, lanes), key=cost)
    return images, inner, rows, cols, band(inner), extra, pitch


def _tiles(length: int, machine: Machine) -> int:
    registers = -(-length // machine.lanes)
    return registers + 3 * -(-registers // machine.max_tile)
