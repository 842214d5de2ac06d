// What a layer is to the lanes: its activations and its connections.
#pragma once

#include "bitmap.h"
#include "numbers.h"

namespace sparsebench {

// A matrix (batch, features) of activations somewhere in memory; strides count elements.
template <class T>
struct Activations {
  T* data;
  int64_t batch_stride, feature_stride;
};

// The same, feature-major: element (row, feature) is data[feature * pitch + row]. See blocks.h.
template <class T>
struct Arranged {
  T* data;
  int64_t pitch;
};

// In what types connections are counted (P) and features are named (F). A layer of at most 65536
// features on either side names them in 16 bits: less to read, and less of the cache.
template <class P, class F>
struct Indices {
  using Pointer = P;
  using Feature = F;
  static constexpr bool half = sizeof(F) < sizeof(P);  // of the bits: places count from their row
};
using Indices16 = Indices<int32_t, uint16_t>;
using Indices32 = Indices<int32_t, int32_t>;
using Indices64 = Indices<int64_t, int64_t>;
// No index at all: places are bits (bitmap.h), which say of the transpose too what there is to say. For
// layers of many connections, and blocks of bits_registers registers and more.
struct Bits {
  using Pointer = int64_t;
  using Feature = uint16_t;
  static constexpr bool half = false;
};
template <class Index> constexpr bool by_bits = false;
template <> constexpr bool by_bits<Bits> = true;
constexpr int bits_registers = 4;

// One connection of the transposed layer: its row, and the place of its value among the values,
// which stay in the order of the layer. Side by side, for one load instead of two. Places of 16 bits
// count from the first value of the row, which no row of 65536 features outgrows.
template <class Index>
struct Entry {
  typename Index::Feature row, place;
};

// The connections sorted by row: at `col` those of the layer, or at `entries` those of its transpose
// (whose rows are the columns of the layer).
template <class Index>
struct Rows {
  using Pointer = typename Index::Pointer;
  int64_t count, features;  // rows and columns
  int64_t filled, longest;  // rows that have connections, and how many the longest has
  const Pointer* ptr;
  const typename Index::Feature* col;
  const Entry<Index>* entries;
  const Pointer* starts;  // where the values of the layer's own rows begin, for places of 16 bits
  // The columns may be cut into tiles: connections [tile_ptr[t · count + r], tile_ptr[(t + 1) ·
  // count + r]) are those of row r in tile t. One tile needs no pointers.
  int64_t tiles;
  const Pointer* tile_ptr;
};

// The same by bits, whose words are the tiles: what comes before each of them is counted.
template <>
struct Rows<Bits> {
  int64_t count, features, filled, longest;
  const int64_t* ptr;
  int64_t tiles;
  const uint64_t* bits;
  const uint16_t* before;
};

}  // namespace sparsebench
