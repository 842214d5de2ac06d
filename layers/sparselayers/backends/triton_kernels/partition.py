"""How the rows of a layer are shared out to programs so that all have about as much to do.

Made once for a connectivity and kept for as long as that lives; only the making synchronises.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sparselayers.connectivity import Connectivity

# A row longer than both is cut in pieces of the longer: so many connections, or so many times as
# many as a row has on average. Rows this much longer than the average are handed out first.
CUT, LONG, UNEQUAL = 2048, 8, 2


@dataclass(frozen=True, eq=False)
class Partition:
    """Tasks: first the `pieces` of the `long_rows` longest rows, then the other rows, whole.

    `order` (rows,) lists the rows from the longest to the shortest; None where they are about as
    long, and are taken as they come. `piece_row` and `piece_begin` (pieces,) say whose piece it is
    and where it begins, `piece_ptr` (long_rows + 1,) delimits the pieces of each row of `order`;
    None where no row is long. A piece has `cut` connections, the last of a row fewer.
    """

    rows: int
    cut: int
    order: Tensor | None = None
    long_rows: int = 0
    pieces: int = 0
    piece_row: Tensor | None = None
    piece_begin: Tensor | None = None
    piece_ptr: Tensor | None = None

    @property
    def tasks(self) -> int:
        """How many tasks there are."""
        return self.pieces + self.rows - self.long_rows


def partition(connectivity: Connectivity, *, transposed: bool) -> Partition:
    """Return how the rows of `connectivity` are shared out, or its columns if `transposed`."""

    def made() -> Partition:
        ptr = connectivity.transposed.col_ptr if transposed else connectivity.row_ptr
        return share_out(ptr, connectivity.nnz)

    return connectivity.derive(("partition", transposed), made)


def share_out(ptr: Tensor, nnz: int) -> Partition:
    """Return how rows that `ptr` (rows + 1,) delimits are shared out."""
    degrees = ptr.diff()
    rows = degrees.numel()
    mean = nnz / rows
    cut = max(CUT, int(LONG * mean))
    longest = int(degrees.max())
    if longest <= max(UNEQUAL * mean, mean + 32):
        return Partition(rows, cut)
    order = torch.argsort(degrees, descending=True, stable=True).to(ptr.dtype)
    long_rows = int((degrees > cut).sum())
    if long_rows == 0:
        return Partition(rows, cut, order)
    of_each = -(-degrees[order[:long_rows].long()].long() // cut)
    piece_ptr = torch.zeros(long_rows + 1, dtype=torch.int64, device=ptr.device)
    torch.cumsum(of_each, 0, out=piece_ptr[1:])
    pieces = int(piece_ptr[-1])
    owner = torch.arange(long_rows, device=ptr.device).repeat_interleave(
        of_each, output_size=pieces
    )
    number = torch.arange(pieces, device=ptr.device) - piece_ptr[owner]
    piece_row = order[owner]
    piece_begin = ptr[piece_row.long()] + number * cut
    return Partition(
        rows,
        cut,
        order,
        long_rows,
        pieces,
        piece_row,
        piece_begin.to(ptr.dtype),
        piece_ptr.to(ptr.dtype),
    )
