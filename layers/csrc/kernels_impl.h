// The table of the kernels of one instruction set: that whose flags the including file has.
#pragma once

#include "narrow.h"
#include "order.h"

namespace {

template <class W, class Index>
constexpr sparsebench::Products<W, Index> products_of() {
  return {multiply<W, Index>, grad_values<W, Index>, backward_narrow<W, Index>};
}

template <class W, class T = sparsebench::Compute<W>>
constexpr sparsebench::KernelsOf<W> kernels_of() {
  return {{unit_of<T>, pitch_of<T>, blocks_of<T>, pack<W>, sums_over_batch<W>},
          products_of<W, int32_t>(),
          products_of<W, int64_t>()};
}

constexpr sparsebench::Kernels all_kernels() {
  return {kernels_of<float>(),            kernels_of<double>(),
          kernels_of<bfloat16>(),
          transpose_connections<int32_t>, transpose_connections<int64_t>,
          find_tiles<int32_t>,            find_tiles<int64_t>};
}

}  // namespace
