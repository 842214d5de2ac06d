// The three products by bitmaps, shared out between threads.
#pragma once

#include "bitmaps.h"

namespace sparsebench {

extern const BitmapLoopsOfAll* bitmap_loops;

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
