// The lowest of some bits.
#pragma once

#include "simd.h"

namespace {

// `bits` are not all zero. On x86 by TZCNT, whether the compiler may count on it or not: where a CPU has
// none its encoding means BSF, which says the same of such bits. Compilers that are not told of BMI
// choose BSF, which takes AMD's processors four cycles.
SB_INLINE int64_t lowest_bit(uint64_t bits) {
#if defined(__x86_64__)
  int64_t place;
  asm("rep bsfq %1, %0" : "=r"(place) : "r"(bits) : "cc");
  return place;
#else
  return __builtin_ctzll(bits);
#endif
}

}  // namespace
