"""The shapes of block that a kernel can be launched with, and which are worth a try."""

from __future__ import annotations

import math
from typing import NamedTuple

# Up to so many samples the weights' own memory sets the pace: a block spans all samples and many
# connections. With more samples it spans many samples and a few connections.
NARROW = 8


class Tile(NamedTuple):
    """A block of `rows` rows × `connections` of each × `batch` samples, for `warps` warps.

    All but the warps are powers of two.
    """

    rows: int
    connections: int
    batch: int
    warps: int


def candidates(batch: int, degree: float) -> tuple[Tile, ...]:
    """Return tiles for `batch` samples and rows of `degree` connections on average.

    The first is the one to take untried.
    """
    if batch <= NARROW:
        return _narrow(power_of_two(batch), degree)
    return _wide(power_of_two(batch))


def power_of_two(number: float) -> int:
    """Return the least power of two that is not below `number`."""
    return 1 << (max(1, math.ceil(number)) - 1).bit_length()


# The shapes below are the fastest of some forty that benchmarks/tiles.py tried on an NVIDIA H200.
def _narrow(batch: int, degree: float) -> tuple[Tile, ...]:
    # A row in one go if it is short, and then several rows at once.
    length = min(256, max(16, power_of_two(degree)))
    fitting = max(1, 512 // (length * batch))
    shapes = [
        (fitting, length, 4),
        (2, length, 2),
        (4, length, 4),
        (1, length, 1),
        (1, length, 2),
        (1, min(1024, 4 * length), 4),
        (4, max(16, length // 2), 4),
        (8, max(16, length // 4), 8),
    ]
    return tuple(dict.fromkeys(Tile(rows, length, batch, warps) for rows, length, warps in shapes))


def _wide(batch: int) -> tuple[Tile, ...]:
    # Many samples: a connection's are read in wide loads, and a warp that waits for no other is
    # fastest nearly everywhere. Few samples a tile: more of its features stay in an L1 cache. Many
    # rows: they share what they read, where the layer is wide and they are long.
    shapes = [(1, 8, 64, 1), (1, 4, 128, 1), (1, 16, 32, 1), (1, 16, 32, 2), (1, 16, 64, 4)]
    shapes += [(1, 8, 128, 2), (4, 8, 32, 4), (4, 16, 16, 4)]
    if batch >= 128:
        shapes += [(32, 2, 64, 16), (1, 16, 128, 4)]
    tiles = [Tile(rows, many, min(samples, batch), warps) for rows, many, samples, warps in shapes]
    return tuple(dict.fromkeys(tiles))
