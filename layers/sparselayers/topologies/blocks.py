"""Connections in blocks: neighbouring outputs share neighbouring inputs, all of a block or none."""

from __future__ import annotations

import operator

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity, check_shape
from sparselayers.fraction import check_sparsity
from sparselayers.topologies.keys import from_keys
from sparselayers.topologies.sampling import ascending, distinct_integers

_TOLD = 64  # divisors beyond are nobody's blocks


def blocks(
    shape: tuple[int, int],
    sparsity: float = 0.9,
    *,
    block: tuple[int, int],
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Connectivity:
    """Choose whole blocks of `block` (outputs, inputs), uniformly without replacement.

    The layer is a grid of out / outputs × in / inputs blocks, and round((1 − sparsity) · their
    number) of them are connected: the nearest sparsity that whole blocks meet, which is the
    `sparsity` of what is returned. With (8, 1) eight outputs after one another share their inputs.
    Costs O(nnz).

    Raises ValueError for a block that does not divide the layer, and where `sparsity` is outside
    [0, 1) or leaves no block.
    """
    shape = check_shape(shape)
    rows, columns = grid_of(shape, block)
    count = number_of_blocks(shape, sparsity, block)
    chosen = distinct_integers(rows * columns, count, generator)
    return from_keys(keys_of_blocks(chosen, shape, block), shape).to(device or "cpu")


def grid_of(shape: tuple[int, int], block: tuple[int, int]) -> tuple[int, int]:
    """Return how many blocks there are in a column and in a row of a layer of `shape`.

    Raises ValueError where they are no whole numbers, with what is allowed.
    """
    try:
        height, width = (operator.index(size) for size in block)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1:
        raise ValueError(f"block must be (outputs, inputs), two positive integers, got {block!r}")
    for name, size, side in (("outputs", shape[0], height), ("inputs", shape[1], width)):
        if size % side:
            allowed = [n for n in range(1, min(size, _TOLD) + 1) if size % n == 0]
            raise ValueError(
                f"blocks of {height} × {width} do not divide a layer of shape {shape}: "
                f"its {size} {name} are no multiple of {side}; "
                f"allowed are {', '.join(map(str, allowed))}"
            )
    return shape[0] // height, shape[1] // width


def number_of_blocks(shape: tuple[int, int], sparsity: float, block: tuple[int, int]) -> int:
    """Return how many blocks of a layer come closest to `sparsity`.

    Raises ValueError where `sparsity` is outside [0, 1) or leaves no block.
    """
    rows, columns = grid_of(shape, block)
    check_sparsity(sparsity)
    count = round((1.0 - sparsity) * columns * rows)
    if count == 0:
        raise ValueError(
            f"sparsity {sparsity} leaves no block of {block[0]} × {block[1]} in a layer of shape "
            f"{shape}: it must be below {1.0 - 0.5 / (rows * columns):.6g}"
        )
    return count


def keys_of_blocks(numbers: Tensor, shape: tuple[int, int], block: tuple[int, int]) -> Tensor:
    """Return the ascending keys of all connections of blocks, given by their numbers (n,)."""
    height, width = block
    across = shape[1] // width
    corners = (numbers // across) * (height * shape[1]) + (numbers % across) * width
    down = torch.arange(height, device=numbers.device) * shape[1]
    inside = (down[:, None] + torch.arange(width, device=numbers.device)).flatten()
    return ascending((corners[:, None] + inside).flatten())
