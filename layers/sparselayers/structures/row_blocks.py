"""Row blocks: so many consecutive outputs that have the same inputs."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor

from sparselayers.connectivity import Connectivity

HEIGHTS = 16, 8, 4
_AT_ONCE = 1 << 20  # connections that are compared at a time: memory beside them stays small


def row_block(connectivity: Connectivity) -> int:
    """Return how many consecutive outputs share their inputs: 16, 8 or 4 of them, else 1.

    The largest of these that divides the number of outputs, and for which all groups of so many
    outputs, counted from the first, have equal columns. Square blocks have it, and a dense layer.
    Found once, in O(nnz) time, and kept with the connections.
    """
    return connectivity.derive("row block", lambda: _row_block(connectivity))


def _row_block(connectivity: Connectivity) -> int:
    if connectivity.device.type == "meta" or not connectivity.nnz:
        return 1
    fits = [height for height in HEIGHTS if connectivity.shape[0] % height == 0]
    # The least of them is a condition of the others, and what is random fails it at once.
    if not fits or not _shared(connectivity, fits[-1]):
        return 1
    return next(height for height in fits if _shared(connectivity, height))


def _shared(connectivity: Connectivity, height: int) -> bool:
    """Return whether groups of `height` outputs have equal columns."""
    starts = connectivity.row_ptr[::height]
    lengths = connectivity.row_ptr.diff().view(-1, height)
    if not bool((lengths == lengths[:, :1]).all()):
        return False
    edges, col = _edges(starts), connectivity.col
    return all(
        _equal(col, starts[begin : end + 1], lengths[begin:end, 0], height)
        for begin, end in pairwise(edges)
    )


def _edges(starts: Tensor) -> list[int]:
    """Cut groups, of which the first connections are given, into parts: a small one first."""
    last = len(starts) - 1
    edges = [0, min(8, last)]
    while edges[-1] < last:
        wanted = int(starts[edges[-1]]) + _AT_ONCE
        found = int((starts <= wanted).sum()) - 1
        edges.append(min(max(found, edges[-1] + 1), last))
    return edges


def _equal(col: Tensor, starts: Tensor, lengths: Tensor, height: int) -> bool:
    """Return whether every row of these groups has the columns of the row before it."""
    part = col[int(starts[0]) : int(starts[-1])]
    if not len(part):
        return True
    step = lengths.repeat_interleave(lengths * height)
    place = step.new_ones(len(part)).cumsum(0) - 1
    of_group = place - (starts[:-1] - starts[0]).repeat_interleave(lengths * height)
    inner = of_group >= step  # in any row but the first of its group
    return bool((part[inner] == part[(place - step)[inner]]).all())
