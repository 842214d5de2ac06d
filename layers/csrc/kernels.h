// What every instruction set's copy of the kernels offers to module.cpp.
#pragma once

#include <cstdint>

namespace sparsebench {

// The upper half of a float. Weights and activations may be kept so; nothing is computed in it.
struct bfloat16 {
  uint16_t bits;
};

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

// One connection of the transposed layer: its row, and the place of its value among the values,
// which stay in the order of the layer. Side by side, for one load instead of two.
template <class Index>
struct Entry {
  Index row, place;
};

// The connections sorted by row: at `col` those of the layer, or at `entries` those of its transpose
// (whose rows are the columns of the layer).
template <class Index>
struct Rows {
  int64_t count;            // of rows
  int64_t filled, longest;  // rows that have connections, and how many the longest has
  const Index *ptr, *col;
  const Entry<Index>* entries;
  // The columns may be cut into tiles: connections [tile_ptr[t · count + r], tile_ptr[(t + 1) ·
  // count + r]) are those of row r in tile t. One tile needs no pointers.
  int64_t tiles;
  const Index* tile_ptr;
};

// In what type numbers kept as W are arranged, multiplied and added up.
template <class W> struct ComputeOf { using type = W; };
template <> struct ComputeOf<bfloat16> { using type = float; };
template <class W> using Compute = typename ComputeOf<W>::type;

// What a product reads. A batch of one block (blocks.h) is arranged already: T, whose batch stride
// is 1. One of several comes as it is, W with any strides, and each block is arranged in its turn,
// where the next level of the cache still holds it.
template <class W>
struct Input {
  const void* data;
  int64_t batch_stride, feature_stride;
  Arranged<const Compute<W>> arranged() const {
    return {static_cast<const Compute<W>*>(data), feature_stride};
  }
  Activations<const W> as_it_is() const {
    return {static_cast<const W*>(data), batch_stride, feature_stride};
  }
};

// The products for one type of values, W, and one of indices.
template <class W, class Index>
struct Products {
  using T = Compute<W>;
  void (*multiply)(Rows<Index>, const W* values, const W* bias, Input<W> x, int64_t features,
                   int64_t batch, Activations<W> result, int threads);
  // Of several blocks the sums go through `result`: W must be T then.
  void (*grad_values)(Rows<Index>, Input<W> dy, Input<W> x, int64_t features, int64_t batch,
                      W* result, int threads);
  // Both gradients in one pass, for batches of one register (batch ≤ unit).
  void (*backward_narrow)(Rows<Index>, const W* values, Arranged<const T> dy, Arranged<const T> x,
                          int64_t features, int64_t batch, T* workspace, Activations<W> dx,
                          W* result, int threads);
};

// Sorts the connections of `rows` by column: fills ptr (features + 1) and entries.
template <class Index>
using Transpose = void (*)(Rows<Index> rows, int64_t features, Index* ptr, Entry<Index>* entries,
                           int threads);

// Fills the tile pointers of rows.tiles tiles, each of `width` columns.
template <class Index>
using FindTiles = void (*)(Rows<Index>, int64_t width, Index* tile_ptr, int threads);

template <class W>
struct Packing {
  using T = Compute<W>;
  int64_t (*unit)(int64_t batch);    // lanes that are read at a time
  int64_t (*pitch)(int64_t batch);   // of one block
  int64_t (*blocks)(int64_t batch);  // into how many the batch is cut
  void (*pack)(Activations<const W>, int64_t batch, int64_t features, Arranged<T>, int threads);
  void (*sums)(Arranged<const T>, int64_t batch, int64_t features, W* result, int threads);
};

template <class W>
struct KernelsOf {
  Packing<W> packing;
  Products<W, int32_t> narrow;
  Products<W, int64_t> wide;
};

struct Kernels {
  KernelsOf<float> f32;
  KernelsOf<double> f64;
  KernelsOf<bfloat16> bf16;
  Transpose<int32_t> transpose_i32;
  Transpose<int64_t> transpose_i64;
  FindTiles<int32_t> find_tiles_i32;
  FindTiles<int64_t> find_tiles_i64;
};

extern const Kernels scalar_kernels, avx2_kernels, avx512_kernels;

// Whether numbers from all over the memory are better loaded one by one than gathered into a
// register: depends on the CPU, not on the instruction set. See module.cpp.
extern bool single_loads;

}  // namespace sparsebench
