// What a layer is to the kernels that keep one bit for each place, and the loops that each
// instruction set's copy of them offers. See README.md for how they work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels.h"

namespace nanobind { class module_; }

namespace sparsebench {

constexpr int64_t word_places = 64;

// The places of a layer's connections, one bit each: a row takes whole words, whose lowest bit is the
// first column. Values are those of the layer, in its order.
struct Bitmap {
  int64_t rows, columns, words;  // words of a row
  const uint64_t* bits;          // (rows, words)
  const uint16_t* before;        // (rows, words): connections of the row before each word
  const int64_t* starts;         // (rows + 1): connections before each row
};

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
  // y[0, row] of a batch of one.
  void (*multiply_one)(const Bitmap&, Span rows, const W* values, const W* bias, const T* x, W* y);
  // y[:, row].
  void (*multiply)(const Bitmap&, Span rows, const W* values, const W* bias, Dense<const W> x,
                   int64_t batch, Dense<W> y, T* room);
  // dx[:, columns of the words].
  void (*grad_input)(const Bitmap&, Span words, const W* values, Dense<const W> dy, int64_t batch,
                     Dense<W> dx, T* room);
  // The gradients of the values of some rows.
  void (*grad_values)(const Bitmap&, Span rows, Dense<const W> dy, Dense<const W> x, int64_t batch,
                      W* result, T* room);
  // Rows of the bitmap as a matrix with zeros, whose first row is that of the first of `rows`; and
  // the numbers of such a matrix where connections are.
  void (*expand)(const Bitmap&, Span rows, const W* values, Dense<W> to);
  void (*compress)(const Bitmap&, Span rows, Dense<const W> from, W* values);
};

struct BitmapLoopsOfAll {
  BitmapLoops<float> f32;
  BitmapLoops<bfloat16> bf16;
};
namespace scalar { extern const BitmapLoopsOfAll bitmaps; }
namespace avx2 { extern const BitmapLoopsOfAll bitmaps; }
namespace avx512 { extern const BitmapLoopsOfAll bitmaps; }

// How much is done at a time: `tile_words` of so many rows are laid out as a dense matrix, which L1
// holds beside what it meets, and meet the batch, some of it at a time.
constexpr int64_t tile_words = 8;
constexpr int64_t tile_columns = tile_words * word_places;
constexpr int64_t tile_pitch = tile_columns + 16;  // rows of a power of two would share few lines
constexpr int64_t tile_rows = 32;
constexpr int64_t batch_block = 128;
constexpr int64_t gradient_block = 512;  // the same for the gradient of the values
constexpr int64_t part_rows = 256;       // at most, of a span

constexpr int64_t padded(int64_t count) { return (count + 15) / 16 * 16; }
// Numbers of `room`, for a batch of so many at most in one block.
constexpr int64_t multiply_room(int64_t batch) {
  return tile_rows * tile_pitch + padded(batch) * (tile_pitch + part_rows);
}
constexpr int64_t grad_input_room(int64_t batch) {
  return tile_rows * tile_pitch + padded(batch) * (tile_pitch + tile_rows);
}
constexpr int64_t grad_values_room(int64_t batch) {
  return tile_rows * tile_pitch + padded(batch) * (tile_pitch + tile_rows);
}

void use_bitmaps(const char* name);
void bind_bitmaps(nanobind::module_& module);

}  // namespace sparsebench
