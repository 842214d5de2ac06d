// The sums of registers, of several at a time.
#pragma once

#include <cstddef>
#include <utility>

#include "simd.h"

namespace {

// Lanes with bit H clear get x[l] + x[l ^ H], the others the same of y.
template <int H, class T, int N, size_t... L>
SB_INLINE Vector<T, N> fold(Vector<T, N> x, Vector<T, N> y, std::index_sequence<L...>) {
  using M = typename Vector<T, N>::Mask;
#if defined(__AVX2__)
  // Halves by a blend, which every port takes: compilers choose a shuffle, which only one does.
  if constexpr (H == 4 && N == 8 && sizeof(T) == 4) {
    const auto kept = _mm256_blend_ps((__m256)x.raw, (__m256)y.raw, 0xf0);
    const auto swapped = _mm256_permute2f128_ps((__m256)x.raw, (__m256)y.raw, 0x21);
    return {(typename Vector<T, N>::Raw)_mm256_add_ps(kept, swapped)};
  }
#endif
  const auto kept = SB_SHUFFLE(x.raw, y.raw, M, (L & H ? N + L : L)...);
  const auto swapped = SB_SHUFFLE(x.raw, y.raw, M, (L & H ? N + (L ^ H) : L ^ H)...);
  return {kept + swapped};
}

template <int H, class T, int N>
SB_INLINE Vector<T, N> folded(Vector<T, N> (&terms)[N]) {
  if constexpr (H == 0) {
    return terms[0];
  } else {
    for (int i = 0; i < H; ++i)
      terms[i] = fold<H>(terms[i], terms[i + H], std::make_index_sequence<N>{});
    return folded<H / 2>(terms);
  }
}

// The sums of N registers, lane i that of register i: N − 1 folds, of a blend, a shuffle and an
// addition each, where a horizontal sum of every register would take N log₂ N additions.
template <class T, int N>
SB_INLINE Vector<T, N> sums(Vector<T, N> (&terms)[N]) {
  return folded<N / 2>(terms);
}

}  // namespace
