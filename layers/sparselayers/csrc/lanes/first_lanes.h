// Registers of which the first lanes alone count: what lies behind a batch must not be added, for it may be NaN.
// Where there are mask registers, multiply-adds leave it out for nothing.
#pragma once

#include "simd.h"

namespace {

template <class V> constexpr bool masks_cost_nothing = false;

// total += a · b in the first `count` lanes, which may be all.
template <class V>
SB_INLINE void add_first(V& total, V a, V b, int count) {
#if defined(__AVX512F__)
  const auto mask = static_cast<__mmask16>((1u << count) - 1);
  if constexpr (sizeof(typename V::Scalar) == 4)
    total.raw = (typename V::Raw)_mm512_mask3_fmadd_ps((__m512)a.raw, (__m512)b.raw,
                                                       (__m512)total.raw, mask);
  else
    total.raw = (typename V::Raw)_mm512_mask3_fmadd_pd((__m512d)a.raw, (__m512d)b.raw,
                                                       (__m512d)total.raw,
                                                       static_cast<__mmask8>(mask));
#else
  (void)total, (void)a, (void)b, (void)count;
#endif
}

#if defined(__AVX512F__)
template <> constexpr bool masks_cost_nothing<Vector<float, 16>> = true;
template <> constexpr bool masks_cost_nothing<Vector<double, 8>> = true;
#endif

}  // namespace
