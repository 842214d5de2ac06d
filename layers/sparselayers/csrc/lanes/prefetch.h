// Fetching in advance what the loops read next.
#pragma once

#include "widths.h"

namespace {

template <class Index> using Pointer = typename Index::Pointer;

constexpr int64_t prefetch_rows = 4;
constexpr int64_t prefetch_connections = 256;
constexpr int64_t far_connections = 64;

// Streams of connections are longer than what the hardware's prefetcher learns from one row.
template <bool Transposed, class W, class Index>
SB_INLINE void prefetch(const Rows<Index>& rows, const W* values, int64_t p) {
  if constexpr (Transposed) {
    __builtin_prefetch(rows.entries + p);
  } else {
    if constexpr (!sparsebench::by_bits<Index>) __builtin_prefetch(rows.col + p);
    __builtin_prefetch(values + p);
  }
}

// The bits of a row in a tile; columns are fetched beside the values.
template <class Index>
SB_INLINE void prefetch_bits(const Rows<Index>& rows, const Tile<Index>& tile, int64_t row) {
  if constexpr (sparsebench::by_bits<Index>)
    __builtin_prefetch(rows.bits + row * rows.tiles + tile.begin);
}

}  // namespace
