"""Products of both ends of every connection, summed over the batch: the gradient of the values.

And the sums over the batch alone, the gradient of the bias: the same programs read them anyway.
"""

import triton
import triton.language as tl

from sparselayers.backends.triton_kernels.tasks import SIZES, take


@triton.jit(do_not_specialize=SIZES)
def sample(
    dy,
    x,
    result,
    sums,
    ptr,
    index,
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
    DY_BY_SAMPLE: tl.constexpr,
    ORDERED: tl.constexpr,
    SPLIT: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    CONNECTIONS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write result[p] = Σ_b dy[row p, b] · x[index p, b] for the connections of ROWS tasks.

    `dy` is (rows, batch), `x` (features, batch), or each the other way round: a task reads its row
    of dy once for CONNECTIONS connections. A piece of a long row writes its own connections:
    nothing is left to combine. With HAS_BIAS also sums[r] = Σ_b dy[r, b], by the first piece of a
    row or by the row's own task.
    """
    _, row, begin, length, live, _ = take(
        tl.program_id(0),
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
    lane = tl.arange(0, CONNECTIONS)
    own = row.to(OFFSET)
    if not DY_BY_SAMPLE:
        own = own * batch
    if HAS_BIAS:
        sum_of = tl.zeros([ROWS], WIDE)
        for start in range(0, batch, BATCH):
            number = start + tl.arange(0, BATCH)
            of_dy = number.to(OFFSET)
            if DY_BY_SAMPLE:
                of_dy = of_dy * rows
            mine = tl.load(
                dy + own[:, None] + of_dy[None, :],
                mask=live[:, None] & (number < batch)[None, :],
                other=0,
            ).to(WIDE)
            sum_of += tl.sum(mine, 1)
        first_one = live
        if SPLIT:
            first_one = live & (begin == tl.load(ptr + row, mask=live, other=0))
        tl.store(sums + row, sum_of.to(sums.dtype.element_ty), mask=first_one)
    for first in range(0, tl.max(length, 0), CONNECTIONS):
        place = begin[:, None] + first + lane[None, :]
        here = first + lane[None, :] < length[:, None]
        source = tl.load(index + place, mask=here, other=0).to(OFFSET)
        if not BY_SAMPLE:
            source = source * batch
        total = tl.zeros([ROWS, CONNECTIONS, BATCH], WIDE)
        for start in range(0, batch, BATCH):
            number = start + tl.arange(0, BATCH)
            inside = number < batch
            of_dy = number.to(OFFSET)
            if DY_BY_SAMPLE:
                of_dy = of_dy * rows
            of_x = number.to(OFFSET)
            if BY_SAMPLE:
                of_x = of_x * features
            left = tl.load(
                dy + own[:, None] + of_dy[None, :],
                mask=live[:, None] & inside[None, :],
                other=0,
            ).to(WIDE)
            right = tl.load(
                x + source[:, :, None] + of_x[None, None, :],
                mask=here[:, :, None] & inside[None, None, :],
                other=0,
            ).to(WIDE)
            total += left[:, None, :] * right
        tl.store(result + place, tl.sum(total, 2).to(result.dtype.element_ty), mask=here)
