// What the loops over lanes share: which lanes belong together, and what is fetched meanwhile.
#pragma once

#include "convolution.h"
#include "simd.h"

namespace {

using sparsebench::Blocking;
using sparsebench::Taps;

// Registers of sums: with a weight they fit into the 32 of AVX-512, or the 16 of the others.
constexpr int max_tile = SB_VECTOR_BYTES == 64 ? 16 : 12;

// Lanes that belong together: either all of a band at once, or row by row.
struct Runs {
  int64_t count, length, stride;
};

SB_INLINE int64_t tile_cost(int64_t length, int lanes) {
  const int64_t registers = (length + lanes - 1) / lanes;
  const int64_t tiles = (registers + max_tile - 1) / max_tile;
  return registers + 3 * tiles;  // each tile loads all weights and offsets
}

SB_INLINE Runs runs_of(const Blocking& blocking, int64_t height, int lanes) {
  const int64_t row = blocking.cols * blocking.inner, stride = blocking.pitch * blocking.inner;
  const int64_t all = (height - 1) * stride + row;
  if (tile_cost(all, lanes) <= height * tile_cost(row, lanes)) return {1, all, 0};
  return {height, row, stride};
}

// Numbers that are fetched from memory while something else is computed, a part of them at a time.
template <class T>
struct Ahead {
  const T* data = nullptr;
  int64_t length = 0, part = 0;
  SB_INLINE void cut(int64_t parts) {
    if (parts && length) part = (length + parts - 1) / parts;
  }
  // They are to be written soon, or read after some time.
  template <int write>
  SB_INLINE void fetch() {
    const int64_t count = smaller(part, length);
    for (int64_t i = 0; i < count; i += 64 / static_cast<int64_t>(sizeof(T)))
      __builtin_prefetch(data + i, write, write ? 3 : 2);
    data += count, length -= count;
  }
};

}  // namespace
