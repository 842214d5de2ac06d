// The gradient of the values of larger batches: the rows of a block lie in the lanes. What x is at a column is
// loaded once for all of them, and no sum is spread over lanes but where rows are fewer than lanes.
#include <utility>

#include "registers.h"
#include "transpose.h"

namespace {

// How blocks of H rows lie in registers: so many rows are taken at once, or, where they are fewer than
// lanes, so many numbers of the batch beside each other, row by row. Sums of so many columns, what x is
// there and dy fit the registers, and the columns' addresses those for addresses.
template <int H>
struct Shape {
  static constexpr int rows = smaller(H, 2 * N);
  static constexpr int registers = rows < N ? 1 : rows / N;
  static constexpr int together = rows < N ? N / rows : 1;
  static constexpr int columns = registers == 1 ? 11 : 6;
};

// Sums of so many columns lie together, column by column, before they go where they belong.
constexpr int piece_columns = 96;

// P numbers, again and again.
template <int P>
SB_INLINE V repeated(const float* from) {
  if constexpr (P == 1) {
    return V::fill(*from);
  } else if constexpr (P == 2) {
    typedef int64_t Pairs __attribute__((vector_size(N * sizeof(float))));
    int64_t pair;
    __builtin_memcpy(&pair, from, sizeof pair);
    return {(V::Raw)(pair - Pairs{})};
  } else {
#if defined(__AVX512F__)
    return {(V::Raw)_mm512_maskz_broadcast_f32x4(0xffff, _mm_loadu_ps(from))};
#endif
  }
}

// sums[c] = Σ_b dy[b] · x[c][b] for C columns. Of few columns, every other in the batch has sums of its own:
// additions need not wait for each other.
template <int H, int C>
void outer_products(const float* dy, const float* const* x, int64_t batch, float* sums) {
  constexpr int R = Shape<H>::registers, P = Shape<H>::together, U = C * R < 6 ? 2 : 1;
  V total[U][C][R];
  const float* from[C];
#pragma GCC unroll 16
  for (int c = 0; c < C; ++c) {
    from[c] = x[c];
    for (int u = 0; u < U; ++u)
      for (int r = 0; r < R; ++r) total[u][c][r] = V::zero();
  }
  const auto add = [&](int u, int64_t b) {
    V by[R];
    for (int r = 0; r < R; ++r) {
      by[r] = V::load(dy + b * H + r * N);
      by[r].keep_in_register();
    }
#pragma GCC unroll 16
    for (int c = 0; c < C; ++c) {
      V met = repeated<P>(from[c] + b);
      if (R > 1) met.keep_in_register();
      for (int r = 0; r < R; ++r) total[u][c][r].add_product(by[r], met);
    }
  };
  int64_t b = 0;
  if constexpr (U > 1)
    for (; b + U * P <= batch; b += U * P)
      for (int u = 0; u < U; ++u) add(u, b + u * P);
  for (; b < batch; b += P) add(0, b);
#pragma GCC unroll 16
  for (int c = 0; c < C; ++c)
    for (int r = 0; r < R; ++r) {
      for (int u = 1; u < U; ++u) total[0][c][r] += total[u][c][r];
      total[0][c][r].store(sums + (c * R + r) * N);
    }
}

// outer_products of one to Shape::columns columns.
template <int H, class Columns>
struct Loops;
template <int H, size_t... C>
struct Loops<H, std::index_sequence<C...>> {
  static constexpr void (*of[])(const float*, const float* const*, int64_t,
                                float*) = {outer_products<H, C + 1>...};
};

// Puts sums where they belong, or adds them to what is there: rows of the result are `length` apart.
template <int H, class W>
SB_INLINE void put(const float* sums, int64_t count, bool first, W* result, int64_t length) {
  constexpr int R = Shape<H>::registers, P = Shape<H>::together;
  const auto square = [&](int64_t at, int64_t some) {
    for (int r = 0; r < R; ++r) {
      V tile[N];
      for (int i = 0; i < N; ++i) tile[i] = V::load(sums + ((at + i) * R + r) * N);
      transpose(tile);
      for (int row = 0; row < N / P; ++row) {
        V total = tile[row * P];
        for (int p = 1; p < P; ++p) total += tile[row * P + p];
        W* to = result + (r * N + row) * length + at;
        if (some == N) {
          if (!first) total += V::load(to);
          total.store(to);
        } else {
          if (!first) total += V::load(to, static_cast<int>(some));
          store_some(total, to, some);
        }
      }
    }
  };
  int64_t k = 0;
  for (; k + N <= count; k += N) square(k, N);
  if (k == count) return;
  if (first && count > N) square(count - N, N);  // some columns once more
  else square(k, count - k);
}

// Fetches rows [begin, end) of what is going to be written: some for each group of columns, as all at once
// would leave x waiting.
template <class W>
SB_INLINE void fetch(const W* result, int64_t length, int64_t count, int64_t begin, int64_t end) {
  constexpr int64_t line = 64 / sizeof(W);
  for (int64_t row = begin; row < end; ++row)
    for (int64_t k = 0; k < count + line - 1; k += line)
      __builtin_prefetch(result + row * length + smaller(k, count - 1), 1);
}

template <int H, class W, class F>
void grad_values_of(const RowBlocks<F>& blocks, const Parts& parts, int64_t begin, int64_t end,
                    const float* dy, const float* x, int64_t pitch, int64_t padded, bool first,
                    W* result) {
  using S = Shape<H>;
  using Outer = Loops<H, std::make_index_sequence<S::columns>>;
  alignas(64) float sums[(piece_columns + N) * S::registers * N] = {};
  const float* met[piece_columns];
  for (int64_t block = begin; block < end; ++block) {
    const Run<W> run(blocks, parts, block, result);
    const int64_t pieces = (run.count + piece_columns - 1) / piece_columns;
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const int64_t from = run.count * piece / pieces;
      const int64_t count = run.count * (piece + 1) / pieces - from;
      const F* col = blocks.col + run.begin + from;
      for (int64_t k = 0; k < count; ++k) met[k] = x + int64_t{col[k]} * pitch;
      // As many columns at a time wherever that is possible: few would leave the arithmetic waiting.
      const int64_t groups = (count + S::columns - 1) / S::columns, rest = count % groups;
      for (int64_t row = 0; row < H; row += S::rows) {
        for (int64_t group = 0, k = 0, some; group < groups; ++group, k += some) {
          some = count / groups + (group < rest);
          if (row == 0)
            fetch(run.values + from, run.length, count, H * group / groups,
                  H * (group + 1) / groups);
          Outer::of[some - 1](dy + block * padded * H + row, met + k, padded,
                              sums + k * S::registers * N);
        }
        put<H>(sums, count, first, run.values + row * run.length + from, run.length);
      }
    }
  }
}

template <class W, class F>
void grad_values(const RowBlocks<F>& blocks, const Parts& parts, int64_t begin, int64_t end,
                 const float* dy, const float* x, int64_t pitch, int64_t padded, bool first,
                 W* result) {
  const auto of = blocks.height == 16  ? grad_values_of<16, W, F>
                  : blocks.height == 8 ? grad_values_of<8, W, F>
                                       : grad_values_of<4, W, F>;
  of(blocks, parts, begin, end, dy, x, pitch, padded, first, result);
}

// dy of P in a batch beside each other, row by row.
template <int P, class Some>
SB_INLINE void beside(Some (&dy)[P], float* to) {
  if constexpr (P == 2) {
    Some low, high;
    interleave(dy[0], dy[1], low, high);
    dy[0] = low, dy[1] = high;
  } else if constexpr (P == Some::lanes) {
    transpose(dy);
  }
  for (int p = 0; p < P; ++p) dy[p].store(to + p * Some::lanes);
}

template <int H, class W>
void arrange_of(const W* dy, int64_t stride, int64_t batch, int64_t blocks, int64_t padded,
                float* to) {
  constexpr int P = Shape<H>::together, L = smaller(H, N);
  using Some = Vector<float, L>;
  for (int64_t b = 0; b < padded; b += P, dy += P * stride, to += P * H)
    for (int64_t block = 0; block < blocks; ++block)
      for (int row = 0; row < H; row += L) {
        Some of[P];
        for (int p = 0; p < P; ++p)
          of[p] = b + p < batch ? Some::load(dy + p * stride + block * H + row) : Some::zero();
        beside(of, to + block * padded * H + row);
      }
}

template <class W>
void arrange(const W* dy, int64_t stride, int64_t batch, int64_t height, int64_t blocks,
             int64_t padded, float* to) {
  const auto of = height == 16 ? arrange_of<16, W> : height == 8 ? arrange_of<8, W> : arrange_of<4, W>;
  of(dy, stride, batch, blocks, padded, to);
}

template <class W, class F>
constexpr sparsebench::GradientLoops<W, F> loops_of() {
  return {arrange<W>, grad_values<W, F>};
}

}  // namespace

const sparsebench::OfBlocks<sparsebench::GradientLoops> sparsebench::SB_ISA::gradient_loops = {
    {loops_of<float, uint16_t>(), loops_of<bfloat16, uint16_t>()},
    {loops_of<float, int32_t>(), loops_of<bfloat16, int32_t>()}};
