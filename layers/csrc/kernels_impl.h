// The table of the kernels of one instruction set: that whose flags the including file has.
#pragma once

#include "narrow.h"
#include "order.h"

namespace {

template <class T, class Index>
constexpr sparsebench::Products<T, Index> products_of() {
  return {multiply<T, Index>, grad_values<T, Index>, backward_narrow<T, Index>};
}

template <class T>
constexpr sparsebench::KernelsOf<T> kernels_of() {
  return {{unit_of<T>, pitch_of<T>, pack<T>, sums_over_batch<T>},
          products_of<T, int32_t>(),
          products_of<T, int64_t>()};
}

constexpr sparsebench::Kernels all_kernels() {
  return {kernels_of<float>(),           kernels_of<double>(),
          transpose_connections<int32_t>, transpose_connections<int64_t>,
          find_tiles<int32_t>,            find_tiles<int64_t>};
}

}  // namespace
