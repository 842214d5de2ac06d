"""The three products of row blocks on tensor cores: HEIGHT consecutive rows with the same columns.

The weights of such a group are a small dense matrix, HEIGHT × its columns, one after the other in
the order of `values`. Gathering the features of its columns makes its products dense ones. `ptr`
(groups + 1,) delimits the columns `index` of each group; value i, k of group g is number
HEIGHT · ptr[g] + i · (ptr[g + 1] − ptr[g]) + k. Activations are (features, batch). ROWS is HEIGHT,
or 16 where that is more: tensor cores take no fewer, and rows that do not exist are zeros.
"""

import triton
import triton.language as tl

SIZES = ("groups", "first", "columns")


@triton.jit(do_not_specialize=SIZES)
def multiply(
    x,
    values,
    y,
    bias,
    ptr,
    index,
    groups,
    batch,
    HAS_BIAS: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    ROWS: tl.constexpr,
    CONNECTIONS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write y[r, b] = Σ_k w[r, k] · x[index k, b] + bias[r] for a group and BATCH samples."""
    program = tl.program_id(0)
    group = program % groups
    sample = (program // groups).to(OFFSET) * BATCH + tl.arange(0, BATCH)
    inside = sample < batch
    member = tl.arange(0, ROWS)
    begin = tl.load(ptr + group)
    length = tl.load(ptr + group + 1) - begin
    lane = tl.arange(0, CONNECTIONS)
    value = values + (begin.to(tl.int64) * HEIGHT)
    total = tl.zeros([ROWS, BATCH], WIDE)
    for start in range(0, length, CONNECTIONS):
        here = start + lane < length
        source = tl.load(index + begin + start + lane, mask=here, other=0).to(OFFSET) * batch
        weight = tl.load(
            value + member[:, None] * length + start + lane[None, :],
            mask=(member < HEIGHT)[:, None] & here[None, :],
            other=0,
        )
        numbers = tl.load(
            x + source[:, None] + sample[None, :], mask=here[:, None] & inside[None, :], other=0
        )
        total = tl.dot(weight, numbers, total, input_precision=PRECISION)
    row = group * HEIGHT + member
    if HAS_BIAS:
        total += tl.load(bias + row, mask=member < HEIGHT, other=0).to(WIDE)[:, None]
    tl.store(
        y + row.to(OFFSET)[:, None] * batch + sample[None, :],
        total.to(y.dtype.element_ty),
        mask=(member < HEIGHT)[:, None] & inside[None, :],
    )


@triton.jit(do_not_specialize=SIZES)
def sample(
    dy,
    x,
    result,
    sums,
    ptr,
    index,
    groups,
    batch,
    HAS_BIAS: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    ROWS: tl.constexpr,
    CONNECTIONS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write the gradients Σ_b dy[r, b] · x[index k, b] of CONNECTIONS columns of a group.

    With HAS_BIAS also sums[r] = Σ_b dy[r, b], by the program of the group's first columns.
    """
    program = tl.program_id(0)
    group = program % groups
    start = (program // groups) * CONNECTIONS
    begin = tl.load(ptr + group)
    length = tl.load(ptr + group + 1) - begin
    if (start < length) | (start == 0):
        lane = tl.arange(0, CONNECTIONS)
        member = tl.arange(0, ROWS)
        exists = member < HEIGHT
        here = start + lane < length
        source = tl.load(index + begin + start + lane, mask=here, other=0).to(OFFSET) * batch
        row = (group * HEIGHT + member).to(OFFSET) * batch
        total = tl.zeros([ROWS, CONNECTIONS], WIDE)
        sum_of = tl.zeros([ROWS], WIDE)
        for first in range(0, batch, BATCH):
            number = first + tl.arange(0, BATCH)
            inside = number < batch
            left = tl.load(
                dy + row[:, None] + number[None, :],
                mask=exists[:, None] & inside[None, :],
                other=0,
            )
            right = tl.load(
                x + source[:, None] + number[None, :],
                mask=here[:, None] & inside[None, :],
                other=0,
            )
            total = tl.dot(left, tl.trans(right), total, input_precision=PRECISION)
            if HAS_BIAS:
                sum_of += tl.sum(left.to(WIDE), 1)
        if HAS_BIAS:
            own = sums + group * HEIGHT + member
            tl.store(own, sum_of.to(sums.dtype.element_ty), mask=exists & (start == 0))
        tl.store(
            result + begin.to(tl.int64) * HEIGHT + member[:, None] * length + start + lane[None, :],
            total.to(result.dtype.element_ty),
            mask=exists[:, None] & here[None, :],
        )


@triton.jit(do_not_specialize=SIZES)
def spread(
    dy,
    values,
    partial,
    ptr,
    groups,
    first,
    batch,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    HEIGHT: tl.constexpr,
    ROWS: tl.constexpr,
    CONNECTIONS: tl.constexpr,
    BATCH: tl.constexpr,
    SECTION: tl.constexpr,
):
    """Write partial[k, b] = Σ_r w[r, k] · dy[r, b]: what each column of each group adds to dx.

    Of the SECTION samples from `first` on; `partial` is (columns of all groups, SECTION).
    """
    program = tl.program_id(0)
    group = program % groups
    own = (program // groups) * BATCH + tl.arange(0, BATCH)
    number = first + own
    inside = (own < SECTION) & (number < batch)
    member = tl.arange(0, ROWS)
    exists = member < HEIGHT
    begin = tl.load(ptr + group)
    length = tl.load(ptr + group + 1) - begin
    lane = tl.arange(0, CONNECTIONS)
    row = (group * HEIGHT + member).to(OFFSET) * batch
    right = tl.load(
        dy + row[:, None] + number[None, :], mask=exists[:, None] & inside[None, :], other=0
    )
    value = values + (begin.to(tl.int64) * HEIGHT)
    for start in range(0, length, CONNECTIONS):
        here = start + lane < length
        left = tl.load(
            value + member[None, :] * length + start + lane[:, None],
            mask=exists[None, :] & here[:, None],
            other=0,
        )
        total = tl.dot(left, right, input_precision=PRECISION)
        place = (begin + start + lane).to(tl.int64) * SECTION
        tl.store(
            partial + place[:, None] + own[None, :],
            total.to(WIDE),
            mask=here[:, None] & inside[None, :],
        )


@triton.jit(do_not_specialize=SIZES)
def gather(
    partial,
    dx,
    col_ptr,
    place_of,
    columns,
    first,
    batch,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    CONNECTIONS: tl.constexpr,
    BATCH: tl.constexpr,
    SECTION: tl.constexpr,
):
    """Write dx[c, b], the sum of what the groups with column c added, in their order."""
    program = tl.program_id(0)
    column = program % columns
    own = (program // columns) * BATCH + tl.arange(0, BATCH)
    number = first + own
    inside = (own < SECTION) & (number < batch)
    begin = tl.load(col_ptr + column)
    length = tl.load(col_ptr + column + 1) - begin
    lane = tl.arange(0, CONNECTIONS)
    total = tl.zeros([CONNECTIONS, BATCH], WIDE)
    for start in range(0, length, CONNECTIONS):
        here = start + lane < length
        place = tl.load(place_of + begin + start + lane, mask=here, other=0).to(tl.int64) * SECTION
        total += tl.load(
            partial + place[:, None] + own[None, :], mask=here[:, None] & inside[None, :], other=0
        )
    place = column.to(OFFSET) * batch + number
    tl.store(dx + place, tl.sum(total, 0).to(dx.dtype.element_ty), mask=inside)
