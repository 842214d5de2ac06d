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
  void (*multiply)(Rows<Index>, const W* values, const W* bias, Input<W> x, int64_t batch,
                   Activations<W> result, int threads);
  // The gradients of which there is an address; dx needs the transposed connectivity, `columns`. Of
  // several blocks the sums go through the gradients of values and bias: W must be T for these.
  void (*backward)(Rows<Index>, const Rows<Index>* columns, const W* values, Input<W> dy, Input<W> x,
                   int64_t batch, Activations<W> dx, W* grad_values, W* grad_bias, int threads);
  // All gradients, those of x and values in one pass, for batches of one register (batch ≤ unit).
  void (*backward_narrow)(Rows<Index>, const W* values, Arranged<const T> dy, Arranged<const T> x,
                          int64_t batch, T* workspace, Activations<W> dx, W* grad_values,
                          W* grad_bias, int threads);
};

// Other orders of the connections: see order.h.
template <class Index>
struct Orders {
  // Sorts them by column: fills ptr (features + 1) and entries.
  void (*transpose)(Rows<Index>, typename Index::Pointer* ptr, Entry<Index>* entries, int threads);
  // Fills the pointers of so many tiles, each of `width` columns.
  void (*find_tiles)(Rows<Index>, int64_t tiles, int64_t width, typename Index::Pointer* tile_ptr,
                     int threads);
};

template <class W>
struct Packing {
  using T = Compute<W>;
  int64_t (*unit)(int64_t batch);    // lanes that are read at a time
  int64_t (*pitch)(int64_t batch);   // of one block
  int64_t (*blocks)(int64_t batch);  // into how many the batch is cut
  void (*pack)(Activations<const W>, int64_t batch, int64_t features, Arranged<T>, int threads);
};

template <class W>
struct KernelsOf {
  Packing<W> packing;
  Products<W, Indices16> of16;
  Products<W, Indices32> of32;
  Products<W, Indices64> of64;
};

struct Kernels {
  KernelsOf<float> f32;
  KernelsOf<double> f64;
  KernelsOf<bfloat16> bf16;
  Orders<Indices16> order16;
  Orders<Indices32> order32;
  Orders<Indices64> order64;
};

extern const Kernels scalar_kernels, avx2_kernels, avx512_kernels;

// Whether numbers from all over the memory are better loaded one by one than gathered into a
// register: depends on the CPU, not on the instruction set. See module.cpp.
extern bool single_loads;

}  // namespace sparsebench
