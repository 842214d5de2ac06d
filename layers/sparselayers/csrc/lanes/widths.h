// The tables of loops (loops.h) of the instruction set that is being compiled, from a template of
// one loop: Make<Vector, registers>::loop. And what the instances of these templates go by.
#pragma once

#include "loops.h"
#include "simd.h"

namespace {

using sparsebench::Activations;
using sparsebench::Arranged;
using sparsebench::Bits;
using sparsebench::by_bits;
using sparsebench::ByUnit;
using sparsebench::ByWidth;
using sparsebench::Compute;
using sparsebench::Indices16;
using sparsebench::Indices32;
using sparsebench::Indices64;
using sparsebench::line_bytes;
using sparsebench::Range;
using sparsebench::Rows;
using sparsebench::Tile;

template <class T> constexpr int native = SB_VECTOR_BYTES / sizeof(T);

// Layers of 2³¹ connections and more are bound by memory, and rare: not worth an instance for every
// number of registers.
template <class Index>
constexpr bool few_instances = sizeof(typename Index::Feature) == 8;

// Whether registers of one type are ever so many that their features are fetched in advance
// (is_far in tiles.h): 65536 of them may not be.
template <class V, int R, class Index>
constexpr bool may_be_far() {
  constexpr int64_t bytes = V::lanes * sizeof(typename V::Scalar);
  constexpr bool all = sizeof(typename Index::Feature) > 2;
  return R == 1 && V::lanes > 1 && (all || (bytes << 16) > sparsebench::far_bytes);
}

template <class Loop, class T, int N, template <class, int> class Make>
constexpr Loop narrower() {
  if constexpr (N < native<T>) return Make<Vector<T, N>, 1>::loop;
  else return {};
}
template <class Loop, class T, template <class, int> class Make>
constexpr ByUnit<Loop> by_unit() {
  return {Make<Vector<T, 1>, 1>::loop, narrower<Loop, T, 4, Make>(), narrower<Loop, T, 8, Make>(),
          Make<Vector<T, native<T>>, 1>::loop};
}
template <class Loop, class T, template <class, int> class Make>
constexpr ByWidth<Loop> by_width() {
  using V = Vector<T, native<T>>;
  return {Make<Vector<T, 1>, 1>::loop, narrower<Loop, T, 4, Make>(), narrower<Loop, T, 8, Make>(),
          {Make<V, 1>::loop, Make<V, 2>::loop, Make<V, 3>::loop, Make<V, 4>::loop,
           Make<V, 5>::loop, Make<V, 6>::loop, Make<V, 7>::loop, Make<V, 8>::loop}};
}

// The same for bits.
template <class Loop, class T, template <class, int> class Make>
constexpr ByWidth<Loop> by_many() {
  using V = Vector<T, native<T>>;
  static_assert(sparsebench::bits_registers == 4);
  return {{}, {}, {},
          {{}, {}, {}, Make<V, 4>::loop, Make<V, 5>::loop, Make<V, 6>::loop, Make<V, 7>::loop,
           Make<V, 8>::loop}};
}

// Table<W, Index> for every type of values and every kind of indices: Make<W, Index>::table().
template <class W, template <class, class> class Table, template <class, class> class Make>
constexpr sparsebench::OfValues<W, Table> of_values() {
  return {Make<W, Indices16>::table(), Make<W, Indices32>::table(), Make<W, Indices64>::table(),
          Make<W, Bits>::table()};
}
template <template <class, class> class Table, template <class, class> class Make>
constexpr sparsebench::OfAll<Table> of_all() {
  return {of_values<float, Table, Make>(), of_values<double, Table, Make>(),
          of_values<bfloat16, Table, Make>()};
}

}  // namespace
