// The three products on tiles of the weights, which are laid out as a dense matrix in L1 first: the
// arithmetic of a dense product, whose weights come from memory in half the bytes.
#include "places.h"
#include "sums.h"

namespace {

using namespace sparsebench;

constexpr int native_lanes = SB_VECTOR_BYTES / sizeof(float);
using V = Vector<float, native_lanes>;
constexpr int N = V::lanes;

// Rows of an activation, widened; those behind the batch repeat its last.
template <class W>
void widen(Dense<const W> from, Span rows, int64_t begin, int64_t end, int64_t count, float* to,
           int64_t pitch) {
  for (int64_t row = rows.begin; row < rows.begin + count; ++row, to += pitch) {
    const W* source = from.data + smaller(row, rows.end - 1) * from.pitch;
    int64_t column = begin;
    for (; column + N <= end; column += N) V::load(source + column).store(to + column - begin);
    if (column < end) {
      V::load(source + column, end - column).store(to + column - begin);
      column += N;
    }
    // The last word may reach beyond the columns.
    for (; column - begin < (end - begin + 63) / 64 * 64; column += N)
      V::zero().store(to + column - begin);
  }
}

// What the rows of a tile are multiplied by: dy of a block of the batch, whose last is repeated, and
// zeros behind the last row.
template <class W>
void take_factors(Dense<const W> dy, Span block, Span rows, int64_t count, float* to) {
  for (int64_t b = 0; b < count; ++b, to += tile_rows) {
    const W* from = dy.data + smaller(block.begin + b, block.end - 1) * dy.pitch + rows.begin;
    const int64_t there = rows.end - rows.begin;
    if (there == tile_rows) {
      for (int64_t r = 0; r < tile_rows; r += N) V::load(from + r).store(to + r);
    } else {
      for (int64_t r = 0; r < tile_rows; ++r) to[r] = r < there ? widened(from[r]) : 0.0f;
    }
  }
}

// sums[b][r] += Σ_k w[r][k] · x[b][k] for 4 rows and as many of the batch as make a register of sums.
// So many rows of weights stay in L1 beside what they meet, which comes from L2.
constexpr int64_t dot_rows = 4, dot_batch = N / 4, rows_in_l1 = 8;
SB_INLINE void dots(const float* w, const float* x, int64_t columns, float* sums,
                    int64_t sums_pitch) {
  V terms[N];
  for (int i = 0; i < N; ++i) terms[i] = V::zero();
  for (int64_t k = 0; k < columns; k += N) {
    V from[dot_batch];
    for (int b = 0; b < dot_batch; ++b) from[b] = V::load(x + b * tile_pitch + k);
    for (int r = 0; r < dot_rows; ++r) {
      V weight = V::load(w + r * tile_pitch + k);
      weight.keep_in_register();
      for (int b = 0; b < dot_batch; ++b) terms[b * dot_rows + r].add_product(weight, from[b]);
    }
  }
  float found[N];
  ::sums(terms).store(found);
  using Four = Vector<float, 4>;
  for (int b = 0; b < dot_batch; ++b) {
    Four sum = Four::load(sums + b * sums_pitch);
    sum += Four::load(found + b * dot_rows);
    sum.store(sums + b * sums_pitch);
  }
}

template <class W>
void multiply(const Bitmap& bitmap, Span rows, const W* values, const W* bias, Dense<const W> x,
              int64_t batch, Dense<W> y, float* room) {
  float *weights = room, *tile = weights + tile_rows * tile_pitch;
  const W* last = values + bitmap.starts[bitmap.rows];
  for (int64_t first = 0; first < batch; first += batch_block) {
    const Span block{first, smaller(first + batch_block, batch)};
    const int64_t count = (block.end - first + dot_batch - 1) / dot_batch * dot_batch;
    float* sums = tile + count * tile_pitch;
    for (int64_t b = 0; b < count; ++b)
      for (int64_t row = rows.begin; row < rows.end; ++row)
        sums[b * part_rows + row - rows.begin] = bias ? widened(bias[row]) : 0.0f;
    for (int64_t word = 0; word < bitmap.words; word += tile_words) {
      const int64_t end = smaller(word + tile_words, bitmap.words);
      widen(x, block, word * 64, smaller(end * 64, bitmap.columns), count, tile, tile_pitch);
      for (int64_t top = rows.begin; top < rows.end; top += rows_in_l1) {
        const int64_t some = smaller(rows_in_l1, rows.end - top);
        const int64_t padded_rows = (some + dot_rows - 1) / dot_rows * dot_rows;
        for (int64_t r = 0; r < padded_rows; ++r)
          spread_row<V>(bitmap, smaller(top + r, rows.end - 1), word, end, values, last,
                        weights + r * tile_pitch);
        for (int64_t b = 0; b < count; b += dot_batch)
          for (int64_t r = 0; r < padded_rows; r += dot_rows)
            dots(weights + r * tile_pitch, tile + b * tile_pitch, (end - word) * 64,
                 sums + b * part_rows + top + r - rows.begin, part_rows);
      }
    }
    for (int64_t b = block.begin; b < block.end; ++b)
      for (int64_t row = rows.begin; row < rows.end; ++row)
        keep(sums[(b - first) * part_rows + row - rows.begin], y.data[b * y.pitch + row]);
  }
}

// dx[b][k] += Σ_r dy[b][r] · w[r][k] for B of the batch and C registers of columns.
template <int B, int C>
SB_INLINE void outer(const float* w, const float* dy, int64_t rows, float* dx, int64_t pitch) {
  V sums[B][C];
  for (int b = 0; b < B; ++b)
    for (int c = 0; c < C; ++c) sums[b][c] = V::load(dx + b * pitch + c * N);
  for (int64_t r = 0; r < rows; ++r) {
    V weight[C];
    for (int c = 0; c < C; ++c) {
      weight[c] = V::load(w + r * pitch + c * N);
      weight[c].keep_in_register();
    }
    for (int b = 0; b < B; ++b) {
      const V factor = V::fill(dy[b * tile_rows + r]);
      for (int c = 0; c < C; ++c) sums[b][c].add_product(factor, weight[c]);
    }
  }
  for (int b = 0; b < B; ++b)
    for (int c = 0; c < C; ++c) sums[b][c].store(dx + b * pitch + c * N);
}
// What of a batch a tile meets at once: eight sums in any case.
template <int B>
void outer_all(const float* w, const float* dy, int64_t rows, int64_t batch, int64_t columns,
               float* dx, int64_t pitch) {
  constexpr int C = smaller(8 / B, 64 / N);
  for (int64_t first = 0; first < batch; first += batch_block)  // whose factors L1 holds
    for (int64_t k = 0; k < columns; k += C * N)
      for (int64_t b = first; b < smaller(first + batch_block, batch); b += B)
        outer<B, C>(w + k, dy + b * tile_rows, rows, dx + b * pitch + k, pitch);
}

template <class W>
void grad_input(const Bitmap& bitmap, Span words, const W* values, Dense<const W> dy,
                int64_t batch, Dense<W> dx, float* room) {
  const int64_t at_once = words_at_once(batch), pitch = tile_pitch_of(at_once);
  float *weights = room, *tile = weights + tile_rows * tile_pitch;
  const W* last = values + bitmap.starts[bitmap.rows];
  for (int64_t first = 0; first < batch; first += large_block) {
    const Span block{first, smaller(first + large_block, batch)};
    const int64_t there = block.end - first, few = there == 1 ? 1 : there < 4 ? 2 : 4;
    const int64_t count = (there + few - 1) / few * few;
    float* factors = tile + count * pitch;
    for (int64_t word = words.begin; word < words.end; word += at_once) {
      const int64_t end = smaller(word + at_once, words.end), columns = (end - word) * 64;
      for (int64_t i = 0; i < count * pitch; i += N) V::zero().store(tile + i);
      for (int64_t top = 0; top < bitmap.rows; top += tile_rows) {
        const int64_t rows = smaller(tile_rows, bitmap.rows - top);
        for (int64_t r = 0; r < rows; ++r)
          spread_row<V>(bitmap, top + r, word, end, values, last, weights + r * pitch);
        take_factors(dy, block, {top, top + rows}, count, factors);
        if (few == 1) outer_all<1>(weights, factors, rows, count, columns, tile, pitch);
        else if (few == 2) outer_all<2>(weights, factors, rows, count, columns, tile, pitch);
        else outer_all<4>(weights, factors, rows, count, columns, tile, pitch);
      }
      const int64_t left = smaller(columns, bitmap.columns - word * 64);
      for (int64_t b = 0; b < there; ++b) {
        W* to = dx.data + (first + b) * dx.pitch + word * 64;
        const float* from = tile + b * pitch;
        int64_t k = 0;
        for (; k + N <= left; k += N) V::load(from + k).store(to + k);
        if (k < left) V::load(from + k).store(to + k, left - k);
      }
    }
  }
}

// sums[r][k] = Σ_b dy[b][r] · x[b][k] for 4 rows and 2 registers of columns.
constexpr int inner_rows = 4, inner_columns = 2;
SB_INLINE void inner(const float* dy, const float* x, int64_t pitch, int64_t batch, bool first,
                     float* to) {
  V sums[inner_rows][inner_columns];
  for (int r = 0; r < inner_rows; ++r)
    for (int c = 0; c < inner_columns; ++c)
      sums[r][c] = first ? V::zero() : V::load(to + r * pitch + c * N);
  for (int64_t b = 0; b < batch; ++b) {
    V from[inner_columns];
    for (int c = 0; c < inner_columns; ++c) from[c] = V::load(x + b * pitch + c * N);
    for (int r = 0; r < inner_rows; ++r) {
      const V factor = V::fill(dy[b * tile_rows + r]);
      for (int c = 0; c < inner_columns; ++c) sums[r][c].add_product(factor, from[c]);
    }
  }
  for (int r = 0; r < inner_rows; ++r)
    for (int c = 0; c < inner_columns; ++c) sums[r][c].store(to + r * pitch + c * N);
}

template <class W>
void grad_values(const Bitmap& bitmap, Span rows, Dense<const W> dy, Dense<const W> x,
                 int64_t batch, W* result, float* room) {
  float* gradients = room;
  float* tile = gradients + gradient_numbers;
  float* factors = tile + large_tile(batch);
  const int64_t at_once = words_at_once(batch);
  const bool whole = batch <= large_block;  // the batch, so that a part of the rows needs no room
  const int64_t pitch = tile_pitch_of(at_once), there_at_most = smaller(batch, large_block);
  const auto take = [&](int64_t word, int64_t end, int64_t top, Span block) {
    const int64_t count = smaller(tile_rows, rows.end - top), there = block.end - block.begin;
    const float* by = factors + (top - rows.begin) * there_at_most;
    float* to = gradients + (whole ? 0 : (top - rows.begin) * pitch);
    for (int64_t b = 0; b < there; b += batch_block)
      for (int64_t k = 0; k < (end - word) * 64; k += inner_columns * N)
        for (int64_t r = 0; r < count; r += inner_rows)
          inner(by + b * tile_rows + r, tile + b * pitch + k, pitch,
                smaller(batch_block, there - b), block.begin + b == 0, to + r * pitch + k);
    if (block.end == batch)
      for (int64_t r = 0; r < count; ++r)
        gather_row<V>(bitmap, top + r, word, end, to + r * pitch, result);
  };
  for (int64_t word = 0; word < bitmap.words; word += at_once) {
    const int64_t end = smaller(word + at_once, bitmap.words);
    for (int64_t first = 0; first < batch; first += large_block) {
      const Span block{first, smaller(first + large_block, batch)};
      const int64_t there = block.end - first;
      widen(x, block, word * 64, smaller(end * 64, bitmap.columns), there, tile, pitch);
      for (int64_t top = rows.begin; top < rows.end; top += tile_rows) {
        if (word == 0 || !whole)
          take_factors(dy, block, {top, smaller(top + tile_rows, rows.end)}, there,
                       factors + (top - rows.begin) * there_at_most);
        take(word, end, top, block);
      }
    }
  }
}

// Rows of a matrix that is as wide as the layer, not as its words: what the last one reaches beyond
// goes by way of a word.
template <class W>
void expand(const Bitmap& bitmap, Span rows, Span words, const W* values, Dense<W> to) {
  const W* last = values + bitmap.starts[bitmap.rows];
  const int64_t whole = smaller(words.end, bitmap.columns / 64), rest = bitmap.columns % 64;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    W* at = to.data + (row - rows.begin) * to.pitch;
    spread_row<V>(bitmap, row, words.begin, whole, values, last, at);
    if (whole == words.end) continue;
    W word[64];
    spread_row<V>(bitmap, row, whole, whole + 1, values, last, word);
    for (int64_t k = 0; k < rest; ++k) at[(whole - words.begin) * 64 + k] = word[k];
  }
}

template <class W>
void compress(const Bitmap& bitmap, Span rows, Dense<const W> from, W* values) {
  const int64_t whole = bitmap.columns / 64, rest = bitmap.columns % 64;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    const W* at = from.data + (row - rows.begin) * from.pitch;
    if (whole) gather_row<V>(bitmap, row, 0, whole, at, values);
    if (!rest) continue;
    W word[64] = {};
    for (int64_t k = 0; k < rest; ++k) word[k] = at[whole * 64 + k];
    gather_row<V>(bitmap, row, whole, whole + 1, word, values);
  }
}

template <class W>
constexpr BitmapLoops<W> loops_of() {
  return {multiply<W>, grad_input<W>, grad_values<W>, expand<W>, compress<W>};
}

}  // namespace

const sparsebench::BitmapLoopsOfAll sparsebench::SB_ISA::bitmaps = {loops_of<float>(),
                                                                    loops_of<bfloat16>()};
