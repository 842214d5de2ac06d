"""The three products on tensor cores, of weights whose zeros are anywhere.

Loaded sparse, computed dense (Flash-LLM: Xia et al. 2023, arXiv 2309.10285): a program lays a tile
of W out with its zeros, in registers, and multiplies it as a dense one. Where a weight is, bits
say, one for each place (SpInfer: Fan et al. 2025, doi 10.1145/3689031.3717481). A word holds 32
places of a row; the weight of a place is as many values after the first of its word as there are
bits before its own.

`bits` and `starts` are (outputs, words): the words, and the number of the first value of each.
Activations are (features, batch) or, where BY_SAMPLE says so, (batch, features): they are read as
they lie. Each number is written by one program, once: no atomics, the same result every time.

Values of the tile after the next multiplication are asked for before it, and the words of the one
after that: what a load is for is found by another, and a program waits for neither.

A zero of the layout times infinity is no number, and the layer's zeros are no weights: where a sum
is NaN, its tile is added up once more, from the weights that exist alone.
"""

import triton
import triton.language as tl

SIZES = ("words",)


@triton.jit
def ones(word):
    """Return how many bits of each word are set; compilers know it, and make one instruction."""
    word = word - ((word >> 1) & 0x55555555)
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) >> 24).to(tl.int32)


@triton.jit
def words_of(bits, starts, row, first, outputs, words, WORDS: tl.constexpr):
    """Return WORDS words of each row and the numbers of their first values, (rows, WORDS)."""
    word = first + tl.arange(0, WORDS)
    place = row[:, None] * words + word[None, :]
    exists = (row < outputs)[:, None] & (word < words)[None, :]
    own = tl.load(bits + place, mask=exists, other=0).to(tl.uint32, bitcast=True)
    start = tl.load(starts + place, mask=exists, other=0)
    return own, start


@triton.jit
def places(own, start):
    """Return whether there is a weight, and which value it is, (rows, words, 32)."""
    bit = (tl.full([32], 1, tl.uint32) << tl.arange(0, 32))[None, None, :]
    own = own[:, :, None]
    return (own & bit) != 0, start[:, :, None] + ones(own & (bit - 1))


@triton.jit
def laid_out(values, own, start):
    """Return the weights of these words and the zeros between them, (rows, words, 32)."""
    here, place = places(own, start)
    return tl.load(values + place, mask=here, other=0)


@triton.jit
def where(feature, sample, features, batch, BY_SAMPLE: tl.constexpr, OFFSET: tl.constexpr):
    """Return where activations lie, and which of them exist, (feature, sample)."""
    inside = (feature < features)[:, None] & (sample < batch)[None, :]
    if BY_SAMPLE:
        place = sample.to(OFFSET)[None, :] * features + feature[:, None]
    else:
        place = feature.to(OFFSET)[:, None] * batch + sample[None, :]
    return place, inside


@triton.jit
def added_up(
    source,
    values,
    bits,
    starts,
    row,
    first,
    sample,
    outputs,
    inputs,
    batch,
    words,
    TRANSPOSED: tl.constexpr,
    BY_SAMPLE: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Return the sums of a tile of W · source, or of Wᵀ · source where TRANSPOSED.

    The tiles of W lie side by side, from the word `first` on, or below each other, from `row` on.
    """
    SIZE: tl.constexpr = 32 * WORDS if TRANSPOSED else ROWS
    STEP: tl.constexpr = ROWS if TRANSPOSED else WORDS
    DOWN: tl.constexpr = STEP if TRANSPOSED else 0
    ASIDE: tl.constexpr = 0 if TRANSPOSED else STEP
    features = outputs if TRANSPOSED else inputs
    total = tl.zeros([SIZE, BATCH], WIDE)
    own, start = words_of(bits, starts, row, first, outputs, words, WORDS)
    weight = laid_out(values, own, start)
    own, start = words_of(bits, starts, row + DOWN, first + ASIDE, outputs, words, WORDS)
    for begin in range(0, outputs if TRANSPOSED else words, STEP):
        tile = tl.reshape(weight, [ROWS, 32 * WORDS])
        weight = laid_out(values, own, start)
        if TRANSPOSED:
            tile = tl.trans(tile)
            feature = begin + tl.arange(0, ROWS)
            later = begin + 2 * ROWS + row
            own, start = words_of(bits, starts, later, first, outputs, words, WORDS)
        else:
            feature = begin * 32 + tl.arange(0, 32 * WORDS)
            later = begin + 2 * WORDS + first
            own, start = words_of(bits, starts, row, later, outputs, words, WORDS)
        place, inside = where(feature, sample, features, batch, BY_SAMPLE, OFFSET)
        numbers = tl.load(source + place, mask=inside, other=0)
        total = tl.dot(tile, numbers, total, input_precision=PRECISION)
    return total


@triton.jit
def any_nan(total):
    """Return whether a sum is not a number."""
    return tl.max(tl.max((total != total).to(tl.int32), 1), 0) > 0


@triton.jit(do_not_specialize=SIZES)
def multiply(
    x,
    values,
    y,
    bias,
    bits,
    starts,
    outputs,
    inputs,
    batch,
    words,
    HAS_BIAS: tl.constexpr,
    BY_SAMPLE: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write y[r, b] = Σ_c W[r, c] · x[c, b] + bias[r] for ROWS rows and BATCH samples."""
    program = tl.program_id(0)
    blocks = tl.cdiv(outputs, ROWS)
    row = (program % blocks) * ROWS + tl.arange(0, ROWS)
    sample = (program // blocks) * BATCH + tl.arange(0, BATCH)
    total = added_up(
        x, values, bits, starts, row, 0, sample, outputs, inputs, batch, words,
        False, BY_SAMPLE, OFFSET, WIDE, PRECISION, ROWS, WORDS, BATCH,
    )  # fmt: skip
    if any_nan(total):
        total = tl.zeros([ROWS, BATCH], WIDE)
        for column in range(0, inputs):
            place = row * words + column // 32
            word = tl.load(bits + place, mask=row < outputs, other=0).to(tl.uint32, bitcast=True)
            begin = tl.load(starts + place, mask=row < outputs, other=0)
            bit = tl.full([ROWS], 1, tl.uint32) << (column % 32)
            here = (word & bit) != 0
            value = tl.load(values + begin + ones(word & (bit - 1)), mask=here, other=0)
            one = column + tl.zeros([1], tl.int32)
            source, inside = where(one, sample, inputs, batch, BY_SAMPLE, OFFSET)
            number = tl.load(x + source, mask=inside, other=0)
            product = value[:, None].to(WIDE) * number.to(WIDE)
            total += tl.where(here[:, None], product, 0.0)
    if HAS_BIAS:
        total += tl.load(bias + row, mask=row < outputs, other=0).to(WIDE)[:, None]
    place, inside = where(row, sample, outputs, batch, BY_SAMPLE, OFFSET)
    tl.store(y + place, total.to(y.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def grad_input(
    dy,
    values,
    dx,
    bits,
    starts,
    outputs,
    inputs,
    batch,
    words,
    BY_SAMPLE: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write dx[c, b] = Σ_r W[r, c] · dy[r, b] for 32 · WORDS columns and BATCH samples."""
    program = tl.program_id(0)
    blocks = tl.cdiv(words, WORDS)
    first = (program % blocks) * WORDS
    column = first * 32 + tl.arange(0, 32 * WORDS)
    sample = (program // blocks) * BATCH + tl.arange(0, BATCH)
    total = added_up(
        dy, values, bits, starts, tl.arange(0, ROWS), first, sample, outputs, inputs, batch, words,
        True, BY_SAMPLE, OFFSET, WIDE, PRECISION, ROWS, WORDS, BATCH,
    )  # fmt: skip
    if any_nan(total):
        total = tl.zeros([32 * WORDS, BATCH], WIDE)
        for begin in range(0, outputs):
            one = begin + tl.zeros([1], tl.int32)
            word, count = words_of(bits, starts, one, first, outputs, words, WORDS)
            here, which = places(word, count)
            value = tl.load(values + which, mask=here, other=0).to(WIDE)
            exists = tl.reshape(here.to(tl.int32), [32 * WORDS, 1]) != 0
            source, inside = where(one, sample, outputs, batch, BY_SAMPLE, OFFSET)
            number = tl.load(dy + source, mask=inside, other=0).to(WIDE)
            total += tl.where(exists, tl.reshape(value, [32 * WORDS, 1]) * number, 0.0)
    place, inside = where(column, sample, inputs, batch, BY_SAMPLE, OFFSET)
    tl.store(dx + place, total.to(dx.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=SIZES)
def sample(
    dy,
    x,
    result,
    sums,
    bits,
    starts,
    outputs,
    inputs,
    batch,
    words,
    HAS_BIAS: tl.constexpr,
    DY_BY_SAMPLE: tl.constexpr,
    BY_SAMPLE: tl.constexpr,
    OFFSET: tl.constexpr,
    WIDE: tl.constexpr,
    PRECISION: tl.constexpr,
    ROWS: tl.constexpr,
    WORDS: tl.constexpr,
    BATCH: tl.constexpr,
):
    """Write the gradients Σ_b dy[r, b] · x[c, b] of the weights in ROWS rows and WORDS words.

    All of a tile are computed, and those that exist written to their places in `result`, (nnz,).
    With HAS_BIAS also sums[r] = Σ_b dy[r, b], by the programs of the first columns.
    """
    program = tl.program_id(0)
    blocks = tl.cdiv(outputs, ROWS)
    row = (program % blocks) * ROWS + tl.arange(0, ROWS)
    first = (program // blocks) * WORDS
    column = first * 32 + tl.arange(0, 32 * WORDS)
    total = tl.zeros([ROWS, 32 * WORDS], WIDE)
    sum_of = tl.zeros([ROWS, BATCH], WIDE)
    for begin in range(0, batch, BATCH):
        number = begin + tl.arange(0, BATCH)
        place, inside = where(row, number, outputs, batch, DY_BY_SAMPLE, OFFSET)
        left = tl.load(dy + place, mask=inside, other=0)
        place, inside = where(column, number, inputs, batch, BY_SAMPLE, OFFSET)
        right = tl.load(x + place, mask=inside, other=0)
        total = tl.dot(left, tl.trans(right), total, input_precision=PRECISION)
        if HAS_BIAS:
            sum_of += left.to(WIDE)
    if HAS_BIAS:
        written = (row < outputs) & (first == 0)
        tl.store(sums + row, tl.sum(sum_of, 1).to(sums.dtype.element_ty), mask=written)
    own, start = words_of(bits, starts, row, first, outputs, words, WORDS)
    here, which = places(own, start)
    gradient = tl.reshape(total.to(result.dtype.element_ty), [ROWS, WORDS, 32])
    tl.store(result + which, gradient, mask=here)
