// Batches in the lanes: one load of a feature serves several rows of a block, from registers.
#include "registers.h"

namespace {

// Rows that are taken together: their sums and what they meet fit the registers.
constexpr int small_group = 4, large_group = 8;
template <int R>
constexpr bool takes_large_groups = R == 1 || SB_VECTOR_BYTES == 64;

// The values of the next rows are as many streams, each too short for the hardware to learn: what lies
// where this group reads, of the next, is fetched once for each line.
constexpr int64_t line_numbers = 64 / sizeof(float);
template <int G>
SB_INLINE void fetch_next(const float* w, int64_t pitch, int64_t k) {
  for (int g = 0; g < G; ++g) __builtin_prefetch(w + (G + g) * pitch + k);
}

// sums[g] += Σ_k w[g][k] · x[col k] of G rows, whose values are `pitch` apart. U columns at a time have
// sums of their own where there are few: additions need not wait for each other.
template <int G, int R, class F>
__attribute__((noinline)) void multiply_group(const float* w, int64_t pitch, const F* col,
                                              int64_t count, const float* __restrict x,
                                              float* __restrict sums) {
  constexpr int U = G * R < 8 ? 2 : 1;
  V total[U][G][R];
  for (int g = 0; g < G; ++g)
    for (int r = 0; r < R; ++r) {
      total[0][g][r] = V::load(sums + (g * R + r) * N);
      for (int u = 1; u < U; ++u) total[u][g][r] = V::zero();
    }
  const auto add = [&](int u, int64_t k) {
    const float* from = x + int64_t{col[k]} * (R * N);
    V met[R];
    for (int r = 0; r < R; ++r) {
      met[r] = V::load(from + r * N);
      met[r].keep_in_register();
    }
    for (int g = 0; g < G; ++g) {
      const V weight = V::fill(w[g * pitch + k]);
      for (int r = 0; r < R; ++r) total[u][g][r].add_product(weight, met[r]);
    }
  };
  int64_t k = 0;
  for (; k + line_numbers <= count; k += line_numbers) {
    fetch_next<G>(w, pitch, k);
    for (int64_t i = 0; i < line_numbers; i += U)
      for (int u = 0; u < U; ++u) add(u, k + i + u);
  }
  for (; k < count; ++k) add(0, k);
  for (int g = 0; g < G; ++g)
    for (int r = 0; r < R; ++r) {
      for (int u = 1; u < U; ++u) total[0][g][r] += total[u][g][r];
      total[0][g][r].store(sums + (g * R + r) * N);
    }
}

// dx[col k] += Σ_g w[g][k] · dy[g].
template <int G, int R, class F>
__attribute__((noinline)) void scatter_group(const float* w, int64_t pitch, const F* col,
                                             int64_t count, const float* __restrict dy,
                                             int64_t dy_pitch, float* __restrict dx) {
  V by[G][R];
  for (int g = 0; g < G; ++g)
    for (int r = 0; r < R; ++r) {
      by[g][r] = V::load(dy + g * dy_pitch + r * N);
      by[g][r].keep_in_register();
    }
  const auto add = [&](int64_t k) {
    float* to = dx + int64_t{col[k]} * (R * N);
    V sum[R];
    for (int r = 0; r < R; ++r) sum[r] = V::load(to + r * N);
    for (int g = 0; g < G; ++g) {
      const V weight = V::fill(w[g * pitch + k]);
      for (int r = 0; r < R; ++r) sum[r].add_product(weight, by[g][r]);
    }
    for (int r = 0; r < R; ++r) sum[r].store(to + r * N);
  };
  int64_t k = 0;
  for (; k + line_numbers <= count; k += line_numbers) {
    fetch_next<G>(w, pitch, k);
    for (int64_t i = 0; i < line_numbers; ++i) add(k + i);
  }
  for (; k < count; ++k) add(k);
}

// Calls body(w, pitch, first column, how many) for the values of G rows as floats: what is kept in half
// the bits is widened in pieces that L1 holds.
template <int G, class Body>
SB_INLINE void as_floats(const float* w, int64_t pitch, int64_t count, Body body) {
  body(w, pitch, 0, count);
}
template <int G, class Body>
SB_INLINE void as_floats(const bfloat16* w, int64_t pitch, int64_t count, Body body) {
  constexpr int64_t piece = 256;
  float wide[G * piece];
  for (int64_t first = 0; first < count; first += piece) {
    const int64_t length = smaller(piece, count - first), whole = length / N * N;
    for (int g = 0; g < G; ++g) {
      const bfloat16* from = w + g * pitch + first;
      for (int64_t k = 0; k < whole; k += N) V::load(from + k).store(wide + g * piece + k);
      for (int64_t k = whole; k < length; ++k) wide[g * piece + k] = widened(from[k]);
    }
    body(wide, piece, first, length);
  }
}

// Where the columns of a block in a part are, and the values of its first row there.
template <class W>
struct Run {
  int64_t begin, count, length;
  W* values;
  template <class F>
  Run(const RowBlocks<F>& blocks, int64_t part, int64_t block, W* of_layer)
      : begin(blocks.begin[part * blocks.count + block]),
        count(blocks.begin[(part + 1) * blocks.count + block] - begin),
        length(blocks.ptr[block + 1] - blocks.ptr[block]),
        values(of_layer + blocks.ptr[block] * blocks.height + begin - blocks.ptr[block]) {}
};

// Calls body(group of G rows, its first row) for the rows of a block.
template <int R, class Body>
SB_INLINE void in_groups(int64_t height, Body body) {
  if (takes_large_groups<R> && height >= large_group)
    for (int64_t row = 0; row < height; row += large_group)
      body(std::integral_constant<int, large_group>{}, row);
  else
    for (int64_t row = 0; row < height; row += small_group)
      body(std::integral_constant<int, small_group>{}, row);
}

template <int R, class W, class F>
void multiply(const RowBlocks<F>& blocks, int64_t part, int64_t begin, int64_t end, const W* values,
              const W* bias, const float* x, float* sums) {
  constexpr int64_t pitch = R * N;
  const int64_t height = blocks.height;
  if (part == 0)
    for (int64_t row = begin * height; row < end * height; ++row) {
      const V start = V::fill(bias ? widened(bias[row]) : 0.0f);
      for (int r = 0; r < R; ++r) start.store(sums + (row - begin * height) * pitch + r * N);
    }
  for (int64_t block = begin; block < end; ++block) {
    const Run<const W> run(blocks, part, block, values);
    float* to = sums + (block - begin) * height * pitch;
    in_groups<R>(height, [&](auto group, int64_t row) {
      constexpr int G = decltype(group)::value;
      as_floats<G>(run.values + row * run.length, run.length, run.count,
                   [&](const float* w, int64_t apart, int64_t first, int64_t count) {
                     multiply_group<G, R>(w, apart, blocks.col + run.begin + first, count, x,
                                          to + row * pitch);
                   });
    });
  }
}

template <int R, class W, class F>
void grad_input(const RowBlocks<F>& blocks, int64_t part, const W* values, const float* dy,
                int64_t dy_pitch, float* dx) {
  constexpr int64_t pitch = R * N;
  const int64_t first_column = blocks.first_column(part);
  const int64_t numbers = (blocks.last_column(part) - first_column) * pitch;
  for (int64_t i = 0; i < numbers; i += N) V::zero().store(dx + i);
  float* from_first = dx - first_column * pitch;
  for (int64_t block = 0; block < blocks.count; ++block) {
    const Run<const W> run(blocks, part, block, values);
    const float* by = dy + block * blocks.height * dy_pitch;
    in_groups<R>(blocks.height, [&](auto group, int64_t row) {
      constexpr int G = decltype(group)::value;
      as_floats<G>(run.values + row * run.length, run.length, run.count,
                   [&](const float* w, int64_t apart, int64_t first, int64_t count) {
                     scatter_group<G, R>(w, apart, blocks.col + run.begin + first, count,
                                         by + row * dy_pitch, dy_pitch, from_first);
                   });
    });
  }
}

// So many columns meet four rows at once, and so many in all before their registers are added up.
constexpr int dot_rows = small_group, dot_columns = SB_VECTOR_BYTES == 64 ? 4 : 3;
constexpr int piece_columns = 48;

// terms[g][c] = Σ over the registers of a block of the batch of dy[g] · x[col c], a register each.
template <class F>
SB_INLINE void dots(const float* dy, const float* x, int64_t pitch, const F* col,
                    V (&terms)[dot_rows][dot_columns]) {
  for (int g = 0; g < dot_rows; ++g)
    for (int c = 0; c < dot_columns; ++c) terms[g][c] = V::zero();
  const float* from[dot_columns];
  for (int c = 0; c < dot_columns; ++c) from[c] = x + int64_t{col[c]} * pitch;
  for (int64_t i = 0; i < pitch; i += N) {
    V met[dot_columns];
    for (int c = 0; c < dot_columns; ++c) {
      met[c] = V::load(from[c] + i);
      met[c].keep_in_register();
    }
    for (int g = 0; g < dot_rows; ++g) {
      V by = V::load(dy + g * pitch + i);
      by.keep_in_register();
      for (int c = 0; c < dot_columns; ++c) terms[g][c].add_product(by, met[c]);
    }
  }
}

// The sums of registers that lie one after the other, added to or put in place of `result`.
template <class W>
void add_up(const float* terms, int64_t count, bool first, W* result) {
  for (int64_t k = 0; k < count; k += N) {
    V some[N];
    for (int i = 0; i < N; ++i) some[i] = V::load(terms + (k + i) * N);
    V total = ::sums(some);
    if (k + N <= count) {
      if (!first) total += V::load(result + k);
      total.store(result + k);
    } else {
      if (!first) total += V::load(result + k, static_cast<int>(count - k));
      store_some(total, result + k, count - k);
    }
  }
}

template <class W, class F>
void grad_values(const RowBlocks<F>& blocks, int64_t part, int64_t begin, int64_t end,
                 const float* dy, const float* x, int64_t pitch, bool first, W* result) {
  alignas(64) float terms[dot_rows][piece_columns * N];
  for (int64_t block = begin; block < end; ++block) {
    const Run<W> run(blocks, part, block, result);
    const F* of_run = blocks.col + run.begin;
    for (int64_t from = 0; from < run.count; from += piece_columns) {
      const int64_t count = smaller<int64_t>(piece_columns, run.count - from);
      for (int64_t row = 0; row < blocks.height; row += dot_rows) {
        for (int64_t k = 0; k < count; k += dot_columns) {
          F col[dot_columns];  // the last is repeated
          for (int c = 0; c < dot_columns; ++c) col[c] = of_run[from + smaller(k + c, count - 1)];
          V found[dot_rows][dot_columns];
          dots(dy + (block * blocks.height + row) * pitch, x, pitch, col, found);
          for (int g = 0; g < dot_rows; ++g)
            for (int c = 0; c < dot_columns; ++c) found[g][c].store(terms[g] + (k + c) * N);
        }
        for (int g = 0; g < dot_rows; ++g)
          add_up(terms[g], count, first, run.values + (row + g) * run.length + from);
      }
    }
  }
}

template <class W, class F>
constexpr sparsebench::ManyLoops<W, F> loops_of() {
  return {{multiply<1, W, F>, multiply<2, W, F>, multiply<3, W, F>},
          {grad_input<1, W, F>, grad_input<2, W, F>, grad_input<3, W, F>},
          grad_values<W, F>};
}

}  // namespace

const sparsebench::OfBlocks<sparsebench::ManyLoops> sparsebench::SB_ISA::many_loops = {
    {loops_of<float, uint16_t>(), loops_of<bfloat16, uint16_t>()},
    {loops_of<float, int32_t>(), loops_of<bfloat16, int32_t>()}};
