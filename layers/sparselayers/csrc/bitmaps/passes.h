// The three products by bitmaps, shared out between threads.
#pragma once

#include "bitmaps.h"

namespace sparsebench {

extern const BitmapLoopsOfAll* bitmap_loops;
extern const BitmapFewLoopsOfAll* bitmap_few_loops;

// What needs memory to work in returns how many bytes it wanted in vain, or 0.

template <class W>
size_t multiply(const Bitmap&, const W* values, const W* bias, Dense<const W> x, int64_t batch,
                Dense<W> y, int threads);
template <class W>
size_t grad_input(const Bitmap&, const W* values, Dense<const W> dy, int64_t batch, Dense<W> dx,
                  int threads);
template <class W>
size_t grad_values(const Bitmap&, Dense<const W> dy, Dense<const W> x, int64_t batch, W* result,
                   int threads);

// The same products of a batch of few rows (most_few), which may lie anyhow, with contiguous results: y,
// and the gradients of which there is an address. Where numbers that zeros would pass on are not finite
// (x of y, dy of dx) nothing is done, and `finite` is false.
template <class W>
struct Strided {
  const W* data;
  int64_t row_stride, column_stride;
};

template <class W>
size_t multiply_few(const Bitmap&, const W* values, const W* bias, Strided<W> x, int64_t batch, W* y,
                    int threads, bool& finite);
template <class W>
size_t backward_few(const Bitmap&, const W* values, Strided<W> dy, Strided<W> x, int64_t batch, W* dx,
                    W* grad_values, W* grad_bias, int threads, bool& finite);

template <class W>
void expand(const Bitmap&, Span rows, Span words, const W* values, Dense<W> to, int threads);
template <class W>
void compress(const Bitmap&, Span rows, Dense<const W> from, W* values, int threads);

// Whether all numbers are finite: those that are not would reach outputs that they are not connected
// to, by way of a zero.
template <class W>
bool all_finite(Dense<const W> x, int64_t rows, int64_t columns);

// Fills the bits and the counts of connections before each word, of columns sorted within rows.
void fill(const Bitmap& shape, const int32_t* ptr, const int32_t* col, uint64_t* bits,
          uint16_t* before, int threads);

}  // namespace sparsebench
