"""A sparse matrix times feature-major activations: the forward pass, and transposed, dx."""

import triton
import triton.language as tl

from sparselayers.backends.triton_kernels.tasks import SIZES, take


@triton.jit(do_not_specialize=SIZES)
def multiply(
    x,
    values,
    y,
    bias,
    partial,
    ptr,
    index,
    permutation,
    order,
    piece_row,
    piece_begin,
    pieces,
    long_rows,
    rows,
    batch,
    cut,
    blocks,
    features,
    HAS_BIAS: tl.constexpr,
    BY_SAMPLE: tl.constexpr,
    PERMUTED: tl.constexpr,
    ORDERED: tl.constexpr,
    SPLIT: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    CONNECTIONS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write y[r, b] = Σ_p values[p] · x[index p, b] + bias[r], (rows, batch), for ROWS tasks.

    `x` is (features, batch); with BY_SAMPLE x and y lie the other way round. Pieces of long rows go
    to `partial` (pieces, batch), in type WIDE, which everything is summed in. Programs of one block
    of the batch run together, so that its part of `x` stays in the L2 cache; the batch is
    contiguous, but for BY_SAMPLE, so that a connection's samples are read in one go. Every number
    is written by one program: the result is the same every time.
    """
    program = tl.program_id(0)
    task, row, begin, length, live, is_piece = take(
        program % blocks,
        ptr,
        order,
        piece_row,
        piece_begin,
        pieces,
        long_rows,
        rows,
        cut,
        ROWS,
        ORDERED,
        SPLIT,
    )
    sample = (program // blocks).to(OFFSET) * BATCH + tl.arange(0, BATCH)
    inside = sample < batch
    lane = tl.arange(0, CONNECTIONS)
    of_x = sample
    if BY_SAMPLE:
        of_x = sample * features
    total = tl.zeros([ROWS, CONNECTIONS, BATCH], WIDE)
    for first in range(0, tl.max(length, 0), CONNECTIONS):
        place = begin[:, None] + first + lane[None, :]
        here = first + lane[None, :] < length[:, None]
        source = tl.load(index + place, mask=here, other=0).to(OFFSET)
        if not BY_SAMPLE:
            source = source * batch
        where = place
        if PERMUTED:
            where = tl.load(permutation + place, mask=here, other=0)
        value = tl.load(values + where, mask=here, other=0).to(WIDE)
        numbers = tl.load(
            x + source[:, :, None] + of_x[None, None, :],
            mask=here[:, :, None] & inside[None, None, :],
            other=0,
        )
        total += value[:, :, None] * numbers.to(WIDE)
    result = tl.sum(total, 1)
    if HAS_BIAS:
        whole = tl.load(bias + row, mask=live & (is_piece == 0), other=0).to(WIDE)
        result += whole[:, None]
    written = live[:, None] & inside[None, :]
    if SPLIT:
        place = task.to(OFFSET)[:, None] * batch + sample[None, :]
        tl.store(partial + place, result, mask=written & is_piece[:, None])
        written = written & (is_piece == 0)[:, None]
    if BY_SAMPLE:
        place = row.to(OFFSET)[:, None] + sample[None, :] * rows
    else:
        place = row.to(OFFSET)[:, None] * batch + sample[None, :]
    tl.store(y + place, result.to(y.dtype.element_ty), mask=written)


@triton.jit(do_not_specialize=SIZES)
def combine(
    partial,
    y,
    bias,
    order,
    piece_ptr,
    batch,
    blocks,
    rows,
    HAS_BIAS: tl.constexpr,
    BY_SAMPLE: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write the sum of the pieces of each long row, in order, and its bias, to `y`."""
    program = tl.program_id(0)
    long_row = program % blocks
    row = tl.load(order + long_row).to(OFFSET)
    sample = (program // blocks).to(OFFSET) * BATCH + tl.arange(0, BATCH)
    inside = sample < batch
    total = tl.zeros([BATCH], WIDE)
    first = tl.load(piece_ptr + long_row).to(tl.int32)
    last = tl.load(piece_ptr + long_row + 1).to(tl.int32)
    for piece in range(first, last):
        part = tl.full([BATCH], piece, OFFSET) * batch + sample
        total += tl.load(partial + part, mask=inside, other=0)
    if HAS_BIAS:
        total += tl.load(bias + row).to(WIDE)
    place = row * batch + sample
    if BY_SAMPLE:
        place = row + sample * rows
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside)
