// Batches in the lanes: one load of a feature serves several rows of a block, from registers.
#include "registers.h"

namespace {

// Rows that are taken together: their sums and what they meet fit the registers.
constexpr int small_group = 4, large_group = 8;
template <int R>
constexpr bool takes_large_groups = R == 1 || SB_VECTOR_BYTES == 64;

// Values of some rows, which are `pitch` apart, of so many columns; and of those that come next. Each row is
// a stream too short for the hardware to learn: what comes next is fetched a line at a time.
struct Values {
  const float* w;
  int64_t pitch, count;
  const float* next;
  int64_t next_pitch;
  template <int G>
  SB_INLINE void fetch(int64_t k) const {
    for (int g = 0; g < G; ++g) __builtin_prefetch(next + g * next_pitch + k);
  }
};
constexpr int64_t line_numbers = 64 / sizeof(float);

// sums[g] += Σ_k w[g][k] · x[col k] of G rows, whose values are `pitch` apart. U columns at a time have
// sums of their own where there are few: additions need not wait for each other.
template <int G, int R, class F>
__attribute__((noinline)) void multiply_group(const Values& values, const F* col,
                                              const float* __restrict x, float* __restrict sums) {
  constexpr int U = G * R < 8 ? 2 : 1;
  const float* w = values.w;
  const int64_t pitch = values.pitch, count = values.count;
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
    values.fetch<G>(k);
    for (int64_t i = 0; i < line_numbers; i += U)
      for (int u = 0; u < U; ++u) add(u, k + i + u);
  }
  values.fetch<G>(k);
  for (; k < count; ++k) add(0, k);
  for (int g = 0; g < G; ++g)
    for (int r = 0; r < R; ++r) {
      for (int u = 1; u < U; ++u) total[0][g][r] += total[u][g][r];
      total[0][g][r].store(sums + (g * R + r) * N);
    }
}

// dx[col k] += Σ_g w[g][k] · dy[g].
template <int G, int R, class F>
__attribute__((noinline)) void scatter_group(const Values& values, const F* col,
                                             const float* __restrict dy, int64_t dy_pitch,
                                             float* __restrict dx) {
  const float* w = values.w;
  const int64_t pitch = values.pitch, count = values.count;
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
    values.fetch<G>(k);
    for (int64_t i = 0; i < line_numbers; ++i) add(k + i);
  }
  values.fetch<G>(k);
  for (; k < count; ++k) add(k);
}

// Calls body(row, values of G rows from it on, first column) for the rows of a block. What is kept in half
// the bits is widened in pieces that L1 holds.
template <int G, class Body>
SB_INLINE void in_groups(const Run<const float>& run, const Run<const float>& next, int64_t height,
                         Body body) {
  for (int64_t row = 0; row < height; row += G) {
    const float* w = run.values + row * run.length;
    const bool last = row + G == height;
    body(row,
         Values{w, run.length, run.count, last ? next.values : w + G * run.length,
                last ? next.length : run.length},
         int64_t{0});
  }
}
template <int G, class Body>
SB_INLINE void in_groups(const Run<const bfloat16>& run, const Run<const bfloat16>&,
                         int64_t height, Body body) {
  constexpr int64_t piece = 256;
  float wide[G * piece];
  for (int64_t row = 0; row < height; row += G)
    for (int64_t first = 0; first < run.count; first += piece) {
      const int64_t length = smaller(piece, run.count - first), whole = length / N * N;
      for (int g = 0; g < G; ++g) {
        const bfloat16* from = run.values + (row + g) * run.length + first;
        for (int64_t k = 0; k < whole; k += N) V::load(from + k).store(wide + g * piece + k);
        for (int64_t k = whole; k < length; ++k) wide[g * piece + k] = widened(from[k]);
      }
      body(row, Values{wide, piece, length, wide, piece}, first);
    }
}

// Calls body(block, its run, row, values of G rows from it on, first column) for all blocks and rows.
template <int G, class W, class F, class Body>
SB_INLINE void for_groups(const RowBlocks<F>& blocks, const Parts& parts, int64_t begin, int64_t end,
                          const W* values, Body body) {
  for (int64_t block = begin; block < end; ++block) {
    const Run<const W> run(blocks, parts, block, values);
    const Run<const W> next(blocks, parts, smaller(block + 1, end - 1), values);
    in_groups<G>(run, next, blocks.height, [&](int64_t row, const Values& some, int64_t first) {
      body(block, blocks.col + run.begin + first, row, some);
    });
  }
}
// By groups of four or eight rows.
template <int R, class F, class Body>
SB_INLINE void by_height(const RowBlocks<F>& blocks, Body body) {
  if (takes_large_groups<R> && blocks.height >= large_group)
    body(std::integral_constant<int, large_group>{});
  else
    body(std::integral_constant<int, small_group>{});
}

template <int R, class W, class F>
void multiply(const RowBlocks<F>& blocks, const Parts& parts, int64_t begin, int64_t end,
              const W* values, const W* bias, const float* x, float* sums) {
  constexpr int64_t pitch = R * N;
  const int64_t first_row = begin * blocks.height;
  if (parts.first == 0)
    for (int64_t row = first_row; row < end * blocks.height; ++row) {
      const V start = V::fill(bias ? widened(bias[row]) : 0.0f);
      for (int r = 0; r < R; ++r) start.store(sums + (row - first_row) * pitch + r * N);
    }
  by_height<R>(blocks, [&](auto group) {
    constexpr int G = decltype(group)::value;
    for_groups<G>(blocks, parts, begin, end, values,
                  [&](int64_t block, const F* col, int64_t row, const Values& some) {
                    multiply_group<G, R>(
                        some, col, x, sums + (block * blocks.height + row - first_row) * pitch);
                  });
  });
}

template <int R, class W, class F>
void grad_input(const RowBlocks<F>& blocks, const Parts& parts, const W* values, const float* dy,
                int64_t dy_pitch, float* dx) {
  constexpr int64_t pitch = R * N;
  const int64_t numbers = (parts.last_column - parts.first_column) * pitch;
  for (int64_t i = 0; i < numbers; i += N) V::zero().store(dx + i);
  float* from_first = dx - parts.first_column * pitch;
  by_height<R>(blocks, [&](auto group) {
    constexpr int G = decltype(group)::value;
    for_groups<G>(blocks, parts, 0, blocks.count, values,
                  [&](int64_t block, const F* col, int64_t row, const Values& some) {
                    scatter_group<G, R>(some, col, dy + (block * blocks.height + row) * dy_pitch,
                                        dy_pitch, from_first);
                  });
  });
}

template <class W, class F>
constexpr sparsebench::ManyLoops<W, F> loops_of() {
  return {{multiply<1, W, F>, multiply<2, W, F>, multiply<3, W, F>},
          {grad_input<1, W, F>, grad_input<2, W, F>, grad_input<3, W, F>}};
}

}  // namespace

const sparsebench::OfBlocks<sparsebench::ManyLoops> sparsebench::SB_ISA::many_loops = {
    {loops_of<float, uint16_t>(), loops_of<bfloat16, uint16_t>()},
    {loops_of<float, int32_t>(), loops_of<bfloat16, int32_t>()}};
