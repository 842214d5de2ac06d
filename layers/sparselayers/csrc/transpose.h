// Squares of registers, transposed.
#pragma once

#include "simd.h"

namespace {

// interleave: low = a0 b0 a1 b1 …, high = the same of the upper halves.
template <class T>
SB_INLINE void interleave(Vector<T, 1> a, Vector<T, 1> b, Vector<T, 1>& low, Vector<T, 1>& high) {
  low = a, high = b;
}
template <class T>
SB_INLINE void interleave(Vector<T, 2> a, Vector<T, 2> b, Vector<T, 2>& low, Vector<T, 2>& high) {
  using M = typename Vector<T, 2>::Mask;
  low.raw = SB_SHUFFLE(a.raw, b.raw, M, 0, 2);
  high.raw = SB_SHUFFLE(a.raw, b.raw, M, 1, 3);
}
template <class T>
SB_INLINE void interleave(Vector<T, 4> a, Vector<T, 4> b, Vector<T, 4>& low, Vector<T, 4>& high) {
  using M = typename Vector<T, 4>::Mask;
  low.raw = SB_SHUFFLE(a.raw, b.raw, M, 0, 4, 1, 5);
  high.raw = SB_SHUFFLE(a.raw, b.raw, M, 2, 6, 3, 7);
}
template <class T>
SB_INLINE void interleave(Vector<T, 8> a, Vector<T, 8> b, Vector<T, 8>& low, Vector<T, 8>& high) {
  using M = typename Vector<T, 8>::Mask;
  low.raw = SB_SHUFFLE(a.raw, b.raw, M, 0, 8, 1, 9, 2, 10, 3, 11);
  high.raw = SB_SHUFFLE(a.raw, b.raw, M, 4, 12, 5, 13, 6, 14, 7, 15);
}
template <class T>
SB_INLINE void interleave(Vector<T, 16> a, Vector<T, 16> b, Vector<T, 16>& low,
                          Vector<T, 16>& high) {
  using M = typename Vector<T, 16>::Mask;
  low.raw = SB_SHUFFLE(a.raw, b.raw, M, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  high.raw = SB_SHUFFLE(a.raw, b.raw, M, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                        31);
}

// Transpose a square of registers: log₂ N perfect shuffles of its rows.
template <class T, int N>
SB_INLINE void transpose(Vector<T, N> (&rows)[N]) {
  for (int step = 1; step < N; step *= 2) {
    Vector<T, N> shuffled[N];
    for (int i = 0; i < N / 2; ++i)
      interleave(rows[i], rows[i + N / 2], shuffled[2 * i], shuffled[2 * i + 1]);
    for (int i = 0; i < N; ++i) rows[i] = shuffled[i];
  }
}

#if defined(__AVX2__)
// Eight of eight: 24 shuffles, where perfect ones across both halves of a register take 48.
SB_INLINE void transpose(Vector<float, 8> (&rows)[8]) {
  __m256 pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    const auto a = (__m256)rows[i].raw, b = (__m256)rows[i + 1].raw;
    pairs[i] = _mm256_unpacklo_ps(a, b);
    pairs[i + 1] = _mm256_unpackhi_ps(a, b);
  }
  for (int i = 0; i < 8; i += 4)
    for (int j = 0; j < 2; ++j) {
      const auto a = (__m256d)pairs[i + j], b = (__m256d)pairs[i + 2 + j];
      fours[i + 2 * j] = (__m256)_mm256_unpacklo_pd(a, b);
      fours[i + 2 * j + 1] = (__m256)_mm256_unpackhi_pd(a, b);
    }
  for (int i = 0; i < 4; ++i) {
    rows[i].raw = (Vector<float, 8>::Raw)_mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    rows[i + 4].raw = (Vector<float, 8>::Raw)_mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}
#endif

}  // namespace
