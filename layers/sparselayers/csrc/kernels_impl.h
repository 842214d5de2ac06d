// The table of the kernels of one instruction set: that whose flags the including file has.
#pragma once

#include "narrow.h"
#include "order.h"

namespace {

template <class W, class Index>
constexpr sparsebench::Products<W, Index> products_of() {
  return {multiply<W, Index>, backward<W, Index>, backward_narrow<W, Index>};
}

template <class W, class T = sparsebench::Compute<W>>
constexpr sparsebench::KernelsOf<W> kernels_of() {
  return {{unit_of<T>, pitch_of<T>, blocks_of<T>, pack<W>},
          products_of<W, sparsebench::Indices16>(),
          products_of<W, sparsebench::Indices32>(),
          products_of<W, sparsebench::Indices64>()};
}

template <class Index>
constexpr sparsebench::Orders<Index> orders_of() {
  return {transpose_connections<Index>, find_tiles<Index>};
}

constexpr sparsebench::Kernels all_kernels() {
  return {kernels_of<float>(),
          kernels_of<double>(),
          kernels_of<bfloat16>(),
          orders_of<sparsebench::Indices16>(),
          orders_of<sparsebench::Indices32>(),
          orders_of<sparsebench::Indices64>()};
}

}  // namespace
