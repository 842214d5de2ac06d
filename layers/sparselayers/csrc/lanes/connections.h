// Reading the connections: their features and values, and what comes after them in advance.
#pragma once

#include <type_traits>

#include "widths.h"

namespace {

using sparsebench::Activations;
using sparsebench::Arranged;
using sparsebench::line_bytes;
using sparsebench::Range;
using sparsebench::Rows;
using sparsebench::Tile;

template <class Index> using Pointer = typename Index::Pointer;

constexpr int64_t prefetch_rows = 4;
constexpr int64_t prefetch_connections = 256;
constexpr int64_t far_connections = 64;

// Layers of 2³¹ connections and more are bound by memory, and rare: not worth an instance for every
// number of registers.
template <class Index>
constexpr bool few_instances = sizeof(typename Index::Feature) == 8;

// Streams of connections are longer than what the hardware's prefetcher learns from one row.
template <bool Transposed, class W, class Index>
SB_INLINE void prefetch(const Rows<Index>& rows, const W* values, int64_t p) {
  if constexpr (Transposed) {
    __builtin_prefetch(rows.entries + p);
  } else {
    __builtin_prefetch(rows.col + p);
    __builtin_prefetch(values + p);
  }
}

// Whether registers of one type are ever so many that their features are fetched in advance
// (is_far in tiles.h): 65536 of them may not be.
template <class V, int R, class Index>
constexpr bool may_be_far() {
  constexpr int64_t bytes = V::lanes * sizeof(typename V::Scalar);
  constexpr bool all = sizeof(typename Index::Feature) > 2;
  return R == 1 && V::lanes > 1 && (all || (bytes << 16) > sparsebench::far_bytes);
}

// The row and the value's place of connection p of the transposed layer.
struct Located { int64_t row, place; };
template <class Index>
SB_INLINE Located located(const Rows<Index>& rows, int64_t p) {
  using Feature = typename Index::Feature;
  constexpr int bits = 8 * sizeof(Feature);
  Located at;
  if constexpr (bits <= 32 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
    // By one load, which compilers do not make of two; both numbers are positive.
    using Both = std::conditional_t<bits == 16, uint32_t, uint64_t>;
    Both both;
    __builtin_memcpy(&both, rows.entries + p, sizeof both);
    at = {static_cast<int64_t>(both & (~Both{} >> bits)), static_cast<int64_t>(both >> bits)};
  } else {
    at = {rows.entries[p].row, rows.entries[p].place};
  }
  if constexpr (Index::half) at.place += rows.starts[at.row];
  return at;
}

// Fetches what the connection that comes far_connections after p reads at random; `last` is the last
// connection of all.
template <bool Transposed, class W, class Index, class T>
SB_INLINE void fetch_feature(const Rows<Index>& rows, const W* values, Arranged<const T> x,
                             int64_t p, int64_t last) {
  const int64_t next = smaller(p + far_connections, last);
  if constexpr (Transposed) {
    const Located at = located(rows, next);
    __builtin_prefetch(values + at.place);
    __builtin_prefetch(x.data + at.row * x.pitch);
  } else {
    __builtin_prefetch(x.data + rows.col[next] * x.pitch);
  }
}

// What connection p multiplies by what.
template <class T>
struct Term {
  int64_t feature;
  T weight;
};
template <bool Transposed, class W, class Index, class T = Compute<W>>
SB_INLINE Term<T> term(const Rows<Index>& rows, const W* values, int64_t p) {
  if constexpr (!Transposed) return {rows.col[p], widened(values[p])};
  const Located at = located(rows, p);
  return {at.row, widened(values[at.place])};
}

// The numbers of a batch of one that so many connections in a row meet, where lanes hold connections:
// gathered, or (`Single`) loaded one by one, into half as wide a register with AVX-512.
template <class T, bool Single>
struct Met {
  static constexpr int lanes =
      Single ? smaller<int>(native<T>, 32 / sizeof(T)) : native<T>;
  using V = Vector<T, lanes>;
  template <class Index>
  static SB_INLINE V by(const Index* col, const T* x) {
    if constexpr (Single) return V::collect(x, col);
    return V::gather(x, col);
  }
};

}  // namespace
