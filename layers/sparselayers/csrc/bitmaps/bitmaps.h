// What a layer is to the kernels that keep one bit for each place, and the loops that each
// instruction set's copy of them offers. See README.md for how they work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitmap.h"
#include "numbers.h"

namespace sparsebench {

struct Span { int64_t begin, end; };

// A matrix whose rows are `pitch` apart and whose columns lie side by side.
template <class T>
struct Dense {
  T* data;
  int64_t pitch;
};

// Loops over a span of rows or of words. `room` is memory for one thread: see the sizes below.
template <class W>
struct BitmapLoops {
  using T = Compute<W>;
  // y[:, row].
  void (*multiply)(const Bitmap&, Span rows, const W* values, const W* bias, Dense<const W> x,
                   int64_t batch, Dense<W> y, T* room);
  // dx[:, columns of the words].
  void (*grad_input)(const Bitmap&, Span words, const W* values, Dense<const W> dy, int64_t batch,
                     Dense<W> dx, T* room);
  // The gradients of the values of some rows.
  void (*grad_values)(const Bitmap&, Span rows, Dense<const W> dy, Dense<const W> x, int64_t batch,
                      W* result, T* room);
  // Rows and words of the bitmap as a matrix with zeros, which begins with the first of them; and the
  // numbers of such a matrix of whole rows where connections are.
  void (*expand)(const Bitmap&, Span rows, Span words, const W* values, Dense<W> to);
  void (*compress)(const Bitmap&, Span rows, Dense<const W> from, W* values);
};

struct BitmapLoopsOfAll {
  BitmapLoops<float> f32;
  BitmapLoops<bfloat16> bf16;
};

// Loops for a few rows, one for each number of them, on the words that are at hand: activations are
// floats, and have zeros up to whole words. Words are taken from the first to the last.
constexpr int64_t most_few = 4;
template <class W>
struct BitmapFewLoops {
  // y[:, row] += the products with these words, or = where they are the first. Writes up to 16 rows.
  void (*multiply[most_few])(const Bitmap&, Span rows, Span words, const W* values,
                              Dense<const float> x, Dense<float> y);
  // What these rows add to dx in the columns of these words, and the gradients of their values there:
  // the first, the second, or both in one pass.
  void (*backward[most_few][3])(const Bitmap&, Span rows, Span words, const W* values,
                                 Dense<const float> dy, Dense<const float> x, Dense<float> dx,
                                 W* result);
  // to[k] = the sum of `count` numbers from from[k] on, `step` apart, and of also[k] if there is any.
  void (*add)(const float* from, int64_t step, int64_t count, int64_t length, const W* also, W* to);
};

// Words whose columns of the batch stay in L1 while rows pass by: of x, or of x and dx.
constexpr int64_t few_words(int64_t batch, int64_t matrices) {
  return 64 / (batch * matrices);
}

struct BitmapFewLoopsOfAll {
  BitmapFewLoops<float> f32;
  BitmapFewLoops<bfloat16> bf16;
};
#define SB_DECLARE(set)                           \
  namespace set {                                 \
  extern const BitmapLoopsOfAll bitmaps;          \
  extern const BitmapFewLoopsOfAll bitmaps_few;   \
  }
SB_DECLARE(scalar)
SB_DECLARE(avx2)
SB_DECLARE(avx512)
#undef SB_DECLARE

// How much is done at a time: `tile_words` of so many rows are laid out as a dense matrix, which L1
// holds beside what it meets, and meet the batch, some of it at a time.
constexpr int64_t tile_words = 8;
constexpr int64_t tile_rows = 32;
constexpr int64_t batch_block = 128;
constexpr int64_t part_rows = 256;  // at most, of a span
// Rows of tiles are so far apart: a power of two would have them share few lines of the cache.
constexpr int64_t tile_pitch_of(int64_t words) { return words * word_places + 16; }
constexpr int64_t tile_pitch = tile_pitch_of(tile_words);
// Both gradients take fewer columns of a larger batch, for all of it to stay in L2.
constexpr int64_t large_block = 512;
constexpr int64_t words_at_once(int64_t batch) {
  return batch <= 128 ? tile_words : batch <= 256 ? tile_words / 2 : tile_words / 4;
}

// Numbers of `room` that the loops want.
constexpr int64_t rounded(int64_t batch, int64_t block) {
  return ((batch < block ? batch : block) + 3) / 4 * 4;
}
constexpr int64_t multiply_room(int64_t batch) {
  return tile_rows * tile_pitch + rounded(batch, batch_block) * (tile_pitch + part_rows);
}
constexpr int64_t large_tile(int64_t batch) {
  return rounded(batch, large_block) * tile_pitch_of(words_at_once(batch));
}
constexpr int64_t grad_input_room(int64_t batch) {
  return tile_rows * tile_pitch + large_tile(batch) + rounded(batch, large_block) * tile_rows;
}
constexpr int64_t gradient_numbers = part_rows * tile_pitch_of(tile_words / 4);
constexpr int64_t grad_values_room(int64_t batch) {
  return gradient_numbers + large_tile(batch) + rounded(batch, large_block) * part_rows;
}

}  // namespace sparsebench
