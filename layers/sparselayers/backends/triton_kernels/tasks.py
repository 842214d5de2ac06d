"""Which connections a program works on: whole rows, or pieces of long ones."""

import triton
import triton.language as tl

# Arguments that differ from layer to layer: their values are not compiled into a kernel, so that
# layers share one (only the size of the batch is, which has to be known for wide loads).
SIZES = ("pieces", "long_rows", "rows", "cut", "blocks", "features")


@triton.jit
def take(
    block,
    ptr,
    order,
    piece_row,
    piece_begin,
    pieces,
    long_rows,
    rows,
    cut,
    ROWS: tl.constexpr,
    ORDERED: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """Return (task, row, begin, length, live, is_piece) of the `ROWS` tasks of a block.

    Tasks below `pieces` are pieces of at most `cut` connections of the `long_rows` longest rows;
    the others are the remaining rows, whole, in the order of `order`. (See partition.py.)
    """
    task = block * ROWS + tl.arange(0, ROWS)
    live = task < pieces + rows - long_rows
    is_piece = task < pieces
    row = task - pieces + long_rows
    if ORDERED:
        row = tl.load(order + row, mask=live & (row >= long_rows), other=0)
    if SPLIT:
        row = tl.where(is_piece, tl.load(piece_row + task, mask=is_piece, other=0), row)
    begin = tl.load(ptr + row, mask=live, other=0)
    end = tl.load(ptr + row + 1, mask=live, other=0)
    if SPLIT:
        begin = tl.where(is_piece, tl.load(piece_begin + task, mask=is_piece, other=0), begin)
    length = end - begin
    if SPLIT:
        length = tl.where(is_piece, tl.minimum(length, cut), length)
    # Lengths are compared, never places: begin + length + CONNECTIONS may be beyond int32.
    return task, row, begin, length.to(tl.int32), live, is_piece
