// The inner loops that are compiled once for each instruction set, as tables of functions. All else
// (passes.cpp) is compiled once: it cuts the work into tiles, and calls these for one tile at a time.
#pragma once

#include "kernels.h"

namespace sparsebench {

// Single numbers that loops and those who call them go by; tiles.h has the others.
constexpr int64_t line_bytes = 64;
constexpr int64_t far_bytes = 2 << 20;  // of features: more are fetched in advance
// So many features are taken back at a time: some lines of a row of the batch, then of the next.
// Single lines of rows that lie a power of two apart would all meet in one set of the cache.
constexpr int64_t strip_features = 64;

// Where the connections of each row begin and end within one tile, the first of its rows or a later.
template <class Index>
struct Tile {
  using Pointer = typename Index::Pointer;
  const Pointer *begin, *end;
  bool first;
};

// Rows [begin, end), of which the one after `next` has its data fetched until row `last`.
struct Range { int64_t begin, end, last; };

// How a batch is cut: into registers of one width, and blocks of at most 8 of them, as many sums as
// keep the arithmetic busy. There is a loop for each of these widths of a block.
constexpr int max_registers = 8;
struct Width {
  int unit, registers;  // lanes of a register: 1, 4 or 8 for tiny batches, else all
};
template <class Loop>
struct ByUnit {
  Loop one, four, eight, whole;  // four and eight only where they are not the whole
  const Loop& at(int unit, int native) const {
    return unit == native ? whole : unit == 1 ? one : unit == 4 ? four : eight;
  }
};
template <class Loop>
struct ByWidth {
  Loop one, four, eight, whole[max_registers];
  const Loop& at(Width width, int native) const {
    if (width.unit == native) return whole[width.registers - 1];
    return width.unit == 1 ? one : width.unit == 4 ? four : eight;
  }
};

// For every type of values and every kind of indices: Table<W, Index>.
template <class W, template <class, class> class Table>
struct OfValues {
  Table<W, Indices16> of16;
  Table<W, Indices32> of32;
  Table<W, Indices64> of64;
};
template <template <class, class> class Table>
struct OfAll {
  OfValues<float, Table> f32;
  OfValues<double, Table> f64;
  OfValues<bfloat16, Table> bf16;
};

// sums += values · x for the rows of a tile, or with their bias in the first tile. `sums` is where
// those of the first row go. A batch of one may write its result where it belongs, at `single`.
template <class W, class Index>
using MultiplyTile = void (*)(const Rows<Index>&, const Tile<Index>&, Range, const W* values,
                              const W* bias, Arranged<const Compute<W>> x,
                              Arranged<Compute<W>> sums, Activations<W> single);
template <class W, class Index>
struct Multiply {
  struct Loop {
    MultiplyTile<W, Index> near[2], far[2];  // of a layer, and of its transpose
  };
  ByWidth<Loop> loops;
};

// result[p] (+)= Σ dy[row p] · x[col p] over one block for the rows of a tile. Loops [1] are for
// blocks whose last register is not full: what lies behind the batch must not be added.
template <class W, class Index>
using GradientTile = void (*)(const Rows<Index>&, const Tile<Index>&, Range,
                              Arranged<const Compute<W>> dy, Arranged<const Compute<W>> x,
                              int64_t batch, bool first, W* result);
template <class W, class Index>
struct Gradient {
  struct Loop {
    GradientTile<W, Index> near[2], far[2];
  };
  ByWidth<Loop> loops;
};

// A place among the connections: in the middle of a row, maybe.
struct Cut { int64_t row, connection; };

// dx[col] += values[p] · dy[row] and result[p] = dy[row] · x[col] between two cuts (narrow.cpp).
template <class W, class Index>
using ScatterRows = void (*)(const Rows<Index>&, Cut begin, Cut end, const W* values,
                             Arranged<const Compute<W>> dy, Arranged<const Compute<W>> x,
                             int64_t batch, Compute<W>* dx, W* result);
template <class W, class Index>
struct Narrow {
  struct Loop {
    ScatterRows<W, Index> near[2], far[2];  // [1]: the register is not full
  };
  ByUnit<Loop> loops;
};

// Moving activations between PyTorch's layouts and the arranged one (pack.cpp).
template <class W>
struct Packing {
  using T = Compute<W>;
  struct Loop {
    void (*pack)(Activations<const W> from, int64_t batch, int64_t features, Arranged<T> to);
    void (*unpack)(Arranged<const T> from, int64_t batch, int64_t features, Activations<W> to);
  };
  ByUnit<Loop> loops;
  // result[feature] (+)= Σ over the batch, which is the gradient of the bias.
  void (*add_over_batch)(Arranged<const T> x, int64_t batch, int64_t features, bool first,
                         W* result);
  void (*clear)(T* numbers, int64_t count);
  void (*add)(T* to, const T* from, int64_t count);
};
struct PackingOfAll {
  Packing<float> f32;
  Packing<double> f64;
  Packing<bfloat16> bf16;
};

// What an instruction set's copy of the loops offers.
struct Loops {
  int bytes;  // of a register
  const OfAll<Multiply>* multiply;
  const OfAll<Gradient>* gradient;
  const OfAll<Narrow>* narrow;
  const PackingOfAll* packing;
};
#define SB_DECLARE(isa)                  \
  namespace isa {                        \
  extern const OfAll<Multiply> multiply; \
  extern const OfAll<Gradient> gradient; \
  extern const OfAll<Narrow> narrow;     \
  extern const PackingOfAll packing;     \
  }
SB_DECLARE(scalar)
SB_DECLARE(avx2)
SB_DECLARE(avx512)
#undef SB_DECLARE

}  // namespace sparsebench
