// Between values in a row and numbers at their places: a register at a time.
#pragma once

#include "bitmaps.h"
#include "simd.h"

namespace {

using sparsebench::bfloat16;

// For each byte of a bitmap: which of 8 values goes to each place (absent: negative), and the place
// of each value; where the bytes of 8 values of 16 bits go, for them to be floats there.
struct Permutations {
  int8_t spread[256][8], gather[256][8];
  int8_t widen[256][32];
  constexpr Permutations() : spread(), gather(), widen() {
    for (int byte = 0; byte < 256; ++byte) {
      int count = 0;
      for (int place = 0; place < 8; ++place) {
        const bool there = byte >> place & 1;
        spread[byte][place] = there ? count : -1;
        for (int of_float = 0; of_float < 4; ++of_float)
          widen[byte][4 * place + of_float] = there && of_float > 1 ? 2 * count + of_float - 2 : -1;
        if (there) gather[byte][count++] = place;
      }
    }
  }
};

#if defined(__AVX2__)
alignas(32) constexpr Permutations permutations;
#endif

// N values from `values` on, at the places whose bits are set; zeros at the others. Reads N values
// however many are wanted, or (`Exactly`) only those.
template <class V, bool Exactly, class W>
SB_INLINE V spread(const W* values, uint32_t bits) {
  constexpr int N = V::lanes;
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    const V loaded = Exactly ? V::load(values, __builtin_popcount(bits)) : V::load(values);
    return {(typename V::Raw)_mm512_maskz_expand_ps(static_cast<__mmask16>(bits),
                                                    (__m512)loaded.raw)};
  }
#endif
#if defined(__AVX2__)
  if constexpr (N == 8 && sizeof(W) == 2 && !Exactly) {
    const __m256i halves =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
    const __m256i from =
        _mm256_load_si256(reinterpret_cast<const __m256i*>(permutations.widen[bits]));
    return {(typename V::Raw)_mm256_shuffle_epi8(halves, from)};
  }
  if constexpr (N == 8) {
    const V loaded = Exactly ? V::load(values, __builtin_popcount(bits)) : V::load(values);
    const __m256i from = _mm256_cvtepi8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(permutations.spread[bits])));
    const __m256 placed = _mm256_permutevar8x32_ps((__m256)loaded.raw, from);
    // What comes from nowhere has its sign bit set.
    return {(typename V::Raw)_mm256_blendv_ps(placed, _mm256_setzero_ps(),
                                              _mm256_castsi256_ps(from))};
  }
#endif
  V v = V::zero();
  for (int i = 0; i < N; ++i)
    if (bits >> i & 1) v.raw[i] = widened(*values++);
  return v;
}

// The reverse: numbers at the places whose bits are set, side by side. Writes N numbers, however many
// there are.
template <class V, class W>
SB_INLINE void gather_to(W* values, V v, uint32_t bits) {
  constexpr int N = V::lanes;
#if defined(__AVX512F__)
  if constexpr (N == 16) {
    v.raw = (typename V::Raw)_mm512_maskz_compress_ps(static_cast<__mmask16>(bits), (__m512)v.raw);
    return v.store(values);
  }
#endif
#if defined(__AVX2__)
  if constexpr (N == 8) {
    const __m256i from = _mm256_cvtepi8_epi32(
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(permutations.gather[bits])));
    v.raw = (typename V::Raw)_mm256_permutevar8x32_ps((__m256)v.raw, from);
    return v.store(values);
  }
#endif
  for (int i = 0; i < N; ++i)
    if (bits >> i & 1) keep(v.raw[i], *values++);
}

// Calls body(register, its bits, where its values are) for each register of a word: `at` is a pointer
// to the first of them, or its number. It advances from register to register, and words do not wait
// for each other. All of them are unrolled, or two at a time where registers are so narrow that there are many.
template <class V, class At, class Body>
SB_INLINE void for_registers(const uint64_t* word, At at, Body body) {
  constexpr int N = V::lanes, count = 64 / N;
  constexpr uint32_t all = (1u << N) - 1;
  uint64_t bits = *word;
  const auto take = [&](int i) __attribute__((always_inline)) {
    const uint32_t some = static_cast<uint32_t>(bits) & all;
    bits >>= N;
    body(i, some, at);
    at += __builtin_popcount(some);
  };
  if constexpr (N < 8) {
#pragma GCC unroll 1
    for (int i = 0; i < count; i += 2) take(i), take(i + 1);
  } else {
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) take(i);
  }
}

// A row of a bitmap from some word on, and where the values of its words are.
template <class W>
struct Row {
  const uint64_t* bits;
  const uint16_t* before;
  W* values;
  Row(const sparsebench::Bitmap& bitmap, int64_t row, W* of_layer)
      : bits(bitmap.bits + row * bitmap.words), before(bitmap.before + row * bitmap.words),
        values(of_layer + bitmap.starts[row]) {}
};
// What a word's registers may touch from the place of its first value on.
template <class V>
constexpr int64_t reach = 64 + V::lanes;

// The words [begin, end) of a row, as numbers with zeros. `last` is where values end that may be
// read.
template <class V, class W, class To>
SB_INLINE void spread_row(const sparsebench::Bitmap& bitmap, int64_t row, int64_t begin,
                          int64_t end, const W* values, const W* last, To* to) {
  const Row<const W> of(bitmap, row, values);
  for (int64_t word = begin; word < end; ++word, to += sparsebench::word_places) {
    const W* at = of.values + of.before[word];
    if (at + reach<V> <= last)
      for_registers<V>(of.bits + word, at, [&](int i, uint32_t some, const W* from) {
        spread<V, false>(from, some).store(to + i * V::lanes);
      });
    else
      for_registers<V>(of.bits + word, at, [&](int i, uint32_t some, const W* from) {
        spread<V, true>(from, some).store(to + i * V::lanes);
      });
  }
}

// The reverse. Nothing is written beyond the values of these words: the last of them go by way of
// the stack, for to store some lanes alone takes AMD's processors as long as twenty whole stores.
template <class V, class W, class From>
SB_INLINE void gather_row(const sparsebench::Bitmap& bitmap, int64_t row, int64_t begin,
                          int64_t end, const From* from, W* values) {
  const Row<W> of(bitmap, row, values);
  const W* last = of.values + of.before[end - 1] + __builtin_popcountll(of.bits[end - 1]);
  for (int64_t word = begin; word < end; ++word, from += sparsebench::word_places) {
    W* at = of.values + of.before[word];
    W aside[reach<V>];
    const bool inside = at + __builtin_popcountll(of.bits[word]) + V::lanes <= last;
    for_registers<V>(of.bits + word, inside ? at : aside, [&](int i, uint32_t some, W* to) {
      gather_to(to, V::load(from + i * V::lanes), some);
    });
    if (!inside) __builtin_memcpy(at, aside, __builtin_popcountll(of.bits[word]) * sizeof(W));
  }
}

}  // namespace
