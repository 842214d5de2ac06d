// Batches of a few rows, which memory bounds: lanes hold columns. What a block meets is gathered once,
// for all of its rows; their values are contiguous, and come by whole registers.
#include "registers.h"

namespace {

// What is to be read is fetched so many bytes ahead.
constexpr int64_t ahead_bytes = 1024;

// met[b][k] = x[b][col k]; zeros up to a whole register. Four at a time: loads do not wait for stores, which
// compilers cannot know to be elsewhere.
template <int B, class F>
SB_INLINE void gather_block(const F* col, int64_t count, const float* x, int64_t pitch, float* met,
                            int64_t met_pitch) {
  for (int b = 0; b < B; ++b, x += pitch, met += met_pitch) {
    int64_t k = 0;
    for (; k + 4 <= count; k += 4) {
      const float some[4] = {x[col[k]], x[col[k + 1]], x[col[k + 2]], x[col[k + 3]]};
      for (int i = 0; i < 4; ++i) met[k + i] = some[i];
    }
    for (; k < count; ++k) met[k] = x[col[k]];
    for (; k % N; ++k) met[k] = 0.0f;
  }
}

// terms[b] = the products of one row's values with what it meets, not added up yet.
template <int B, class W>
SB_INLINE void row_products(const W* w, int64_t count, const float* met, int64_t pitch,
                            V (&terms)[B]) {
  constexpr int U = B == 1 ? 4 : 2;
  V partial[U][B];
  for (int u = 0; u < U; ++u)
    for (int b = 0; b < B; ++b) partial[u][b] = V::zero();
  const auto add = [&](int u, V weight, int64_t k) {
    for (int b = 0; b < B; ++b) partial[u][b].add_product(weight, V::load(met + b * pitch + k));
  };
  int64_t k = 0;
  for (; k + U * N <= count; k += U * N) {
    for (int64_t line = 0; line < int64_t{U * N * sizeof(W)}; line += 64)
      __builtin_prefetch(reinterpret_cast<const char*>(w + k) + ahead_bytes + line);
    for (int u = 0; u < U; ++u) add(u, V::load(w + k + u * N), k + u * N);
  }
  for (; k + N <= count; k += N) add(0, V::load(w + k), k);
  if (k < count) add(1, V::load(w + k, static_cast<int>(count - k)), k);
  for (int b = 0; b < B; ++b) {
    terms[b] = partial[0][b];
    for (int u = 1; u < U; ++u) terms[b] += partial[u][b];
  }
}

template <int B, class W, class F>
void multiply_few(const RowBlocks<F>& blocks, int64_t begin, int64_t end, const W* values,
                  const W* bias, const float* x, int64_t x_pitch, float* room, W* y,
                  int64_t y_pitch) {
  const int64_t pitch = few_pitch(blocks), last = end * blocks.height;
  V terms[B][N];
  for (int b = 0; b < B; ++b)
    for (int i = 0; i < N; ++i) terms[b][i] = V::zero();
  int waiting = 0;
  const auto write = [&](int64_t row) {
    for (int b = 0; b < B; ++b) {
      V total = ::sums(terms[b]);
      if (bias) total += V::load(bias + row, waiting);
      store_some(total, y + b * y_pitch + row, waiting);
    }
    waiting = 0;
  };
  for (int64_t block = begin; block < end; ++block) {
    const int64_t start = blocks.ptr[block], count = blocks.ptr[block + 1] - start;
    gather_block<B>(blocks.col + start, count, x, x_pitch, room, pitch);
    const W* w = values + start * blocks.height;
    for (int64_t row = block * blocks.height; row < (block + 1) * blocks.height; ++row) {
      V found[B];
      row_products<B>(w, count, room, pitch, found);
      for (int b = 0; b < B; ++b) terms[b][waiting] = found[b];
      w += count;
      if (++waiting == N || row + 1 == last) write(row + 1 - waiting);
    }
  }
}

// back[b][k] += Σ_g w[g][k] · dy[b][g] of four rows.
template <int B, class W>
SB_INLINE void add_rows(const W* w, int64_t count, const float* dy, int64_t dy_pitch, float* back,
                        int64_t pitch) {
  constexpr int G = 4;
  const auto add = [&](int64_t k, const V (&weight)[G]) {
    for (int b = 0; b < B; ++b) {
      V sum = V::load(back + b * pitch + k);
      for (int g = 0; g < G; ++g) sum.add_product(weight[g], V::fill(dy[b * dy_pitch + g]));
      sum.store(back + b * pitch + k);
    }
  };
  V weight[G];
  int64_t k = 0;
  for (; k + N <= count; k += N) {
    for (int g = 0; g < G; ++g) weight[g] = V::load(w + g * count + k);
    add(k, weight);
  }
  if (k == count) return;
  for (int g = 0; g < G; ++g)
    weight[g] = V::load(w + g * count + k, static_cast<int>(count - k));
  add(k, weight);
}

// dx[b][col k] += back[b][k].
template <int B, class F>
SB_INLINE void scatter_block(const F* col, int64_t count, const float* back, int64_t pitch,
                             float* dx, int64_t columns) {
  for (int b = 0; b < B; ++b, back += pitch, dx += columns) {
    int64_t k = 0;
    for (; k + 4 <= count; k += 4) {
      float some[4];
      for (int i = 0; i < 4; ++i) some[i] = dx[col[k + i]] + back[k + i];
      for (int i = 0; i < 4; ++i) dx[col[k + i]] = some[i];
    }
    for (; k < count; ++k) dx[col[k]] += back[k];
  }
}

// result[k] = Σ_b dy[b] · met[b][k] of one row.
template <int B, class W>
SB_INLINE void products_of_row(const float* dy, int64_t dy_pitch, const float* met, int64_t pitch,
                               int64_t count, W* result) {
  V by[B];
  for (int b = 0; b < B; ++b) by[b] = V::fill(dy[b * dy_pitch]);
  const auto of = [&](int64_t k) {
    V sum = by[0] * V::load(met + k);
    for (int b = 1; b < B; ++b) sum.add_product(by[b], V::load(met + b * pitch + k));
    return sum;
  };
  int64_t k = 0;
  for (; k + N <= count; k += N) of(k).store(result + k);
  if (k < count) store_some(of(k), result + k, count - k);
}

template <int B, class W, class F>
void backward_few(const RowBlocks<F>& blocks, int64_t begin, int64_t end, const W* values,
                  const float* dy, int64_t dy_pitch, const float* x, int64_t x_pitch, float* room,
                  float* dx, W* result) {
  const int64_t pitch = few_pitch(blocks), height = blocks.height;
  float *met = room, *back = room + B * pitch;
  for (int64_t block = begin; block < end; ++block) {
    const int64_t start = blocks.ptr[block], count = blocks.ptr[block + 1] - start;
    const F* col = blocks.col + start;
    const float* by = dy + block * height;
    if (dx) {
      for (int64_t i = 0; i < B * pitch; i += N) V::zero().store(back + i);
      for (int64_t row = 0; row < height; row += 4)
        add_rows<B>(values + start * height + row * count, count, by + row, dy_pitch, back, pitch);
      scatter_block<B>(col, count, back, pitch, dx, blocks.columns);
    }
    if (result) {
      gather_block<B>(col, count, x, x_pitch, met, pitch);
      for (int64_t row = 0; row < height; ++row)
        products_of_row<B>(by + row, dy_pitch, met, pitch, count,
                           result + start * height + row * count);
    }
  }
}

template <class W, class F>
constexpr sparsebench::FewLoops<W, F> loops_of() {
  return {{multiply_few<1, W, F>, multiply_few<2, W, F>, multiply_few<3, W, F>,
           multiply_few<4, W, F>},
          {backward_few<1, W, F>, backward_few<2, W, F>, backward_few<3, W, F>,
           backward_few<4, W, F>}};
}

}  // namespace

const sparsebench::OfBlocks<sparsebench::FewLoops> sparsebench::SB_ISA::few_loops = {
    {loops_of<float, uint16_t>(), loops_of<bfloat16, uint16_t>()},
    {loops_of<float, int32_t>(), loops_of<bfloat16, int32_t>()}};
