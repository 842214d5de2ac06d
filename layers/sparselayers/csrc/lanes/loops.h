// What is common to the inner loops, which are compiled once for each instruction set and offered as
// tables of functions: multiply.h, gradient.h, narrow.h, pack.h. All else (passes.cpp) is compiled
// once: it cuts the work into tiles, and calls these for one tile at a time.
#pragma once

#include "layer.h"

namespace sparsebench {

// Single numbers that loops and those who call them go by; tiles.h has the others.
constexpr int64_t line_bytes = 64;
constexpr int64_t far_bytes = 2 << 20;  // of features: more are fetched in advance
// So many features are taken back at a time: some lines of a row of the batch, then of the next.
// Single lines of rows that lie a power of two apart would all meet in one set of the cache.
constexpr int64_t strip_features = 64;

// Whether numbers from all over the memory are better loaded one by one than gathered into a register:
// depends on the CPU, not on the instruction set (lanes_module.cpp).
extern bool single_loads;

// Where the connections of each row begin and end within one tile, the first of its rows or a later.
template <class Index>
struct Tile {
  using Pointer = typename Index::Pointer;
  const Pointer *begin, *end;
  bool first;
};
template <>
struct Tile<Bits> {
  int64_t begin, end;  // words
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
  Table<W, Bits> of_bits;
};
template <template <class, class> class Table>
struct OfAll {
  OfValues<float, Table> f32;
  OfValues<double, Table> f64;
  OfValues<bfloat16, Table> bf16;
};

}  // namespace sparsebench
