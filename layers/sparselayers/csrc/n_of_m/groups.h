// Eight connections of a row, and what they meet: 16 inputs where half of all are connected, 32 where a quarter
// is, in 2 or 4 registers. With groups of eight inputs each register is a group. With groups of four it is
// two, so arranged that each connection finds its input in its own half of a register: group g of those that
// eight connections meet is in the first half of register g, the later ones in the second halves. So inputs
// are selected, and values spread, within halves of registers, by the cheapest of permutations.
#pragma once

#include "bitmaps/places.h"
#include "n_of_m.h"

namespace {

using V = Vector<float, 8>;  // also where registers are wider
using Four = Vector<float, 4>;
static_assert(V::lanes == sparsebench::at_once);

// Registers of inputs that eight connections meet.
template <int N, int M>
constexpr int met = M / N;

// Where four inputs are among all that are arranged, by their number.
template <int N, int M>
constexpr SB_INLINE int64_t arranged(int64_t four) {
  if constexpr (M == 8) return four * Four::lanes;
  constexpr int groups = 2 * met<N, M>;
  const int64_t turn = four / groups, group = four % groups;
  return (turn * met<N, M> + group % met<N, M>) * V::lanes + group / met<N, M> * Four::lanes;
}

// Where the inputs of eight connections are in their groups. Permutations read the lowest two or three bits.
struct Places {
  __m256i by;
  explicit SB_INLINE Places(uint32_t word)
      : by(_mm256_srlv_epi32(_mm256_set1_epi32(static_cast<int>(word)),
                             _mm256_setr_epi32(0, 4, 8, 12, 16, 20, 24, 28))) {}
};

// The inputs of eight connections, of those at x.
template <int N, int M>
SB_INLINE V select(const float* x, Places places) {
  const auto from = [&](int i) {
    const __m256 inputs = _mm256_loadu_ps(x + i * V::lanes);
    if constexpr (M == 4) return _mm256_permutevar_ps(inputs, places.by);
    else return _mm256_permutevar8x32_ps(inputs, places.by);
  };
  __m256 found;
  if constexpr (M == 4 && N == 2)
    found = _mm256_blend_ps(from(0), from(1), 0xcc);
  else if constexpr (M == 4)
    found = _mm256_blend_ps(_mm256_blend_ps(from(0), from(1), 0xaa),
                            _mm256_blend_ps(from(2), from(3), 0xaa), 0xcc);
  else if constexpr (N == 4)
    found = _mm256_blend_ps(from(0), from(1), 0xf0);
  else
    found = _mm256_blend_ps(_mm256_blend_ps(from(0), from(1), 0x0c),
                            _mm256_blend_ps(from(2), from(3), 0xc0), 0xf0);
  return {(V::Raw)found};
}

// The reverse: eight values where their inputs are, in each of the registers, zeros elsewhere.
template <int N, int M>
SB_INLINE void spread(V values, uint32_t sources, V (&to)[met<N, M>]) {
  const __m256 from = (__m256)values.raw;
  if constexpr (M == 8) {
    alignas(8) static constexpr Permutations permutations;
    for (int i = 0; i < met<N, M>; ++i) {
      const __m256i rank = _mm256_cvtepi8_epi32(_mm_loadl_epi64(
          reinterpret_cast<const __m128i*>(permutations.spread[sources >> i * 8 & 0xff])));
      const __m256 placed =
          _mm256_permutevar8x32_ps(from, _mm256_add_epi32(rank, _mm256_set1_epi32(i * N)));
      // What comes from nowhere has its sign bit set.
      to[i] = {(V::Raw)_mm256_blendv_ps(placed, _mm256_setzero_ps(), _mm256_castsi256_ps(rank))};
    }
    return;
  }
  const __m256i word = _mm256_set1_epi32(static_cast<int>(sources));
  if constexpr (M == 4 && N == 2) {
    // The values of two groups in the lower lanes of the halves, zeros in the others.
    const __m256d pairs = _mm256_castps_pd(from), zero = _mm256_setzero_pd();
    const __m256i first = _mm256_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14);
    const __m256i second = _mm256_setr_epi32(16, 18, 20, 22, 24, 26, 28, 30);
    to[0] = {(V::Raw)_mm256_permutevar_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(pairs, zero)),
                                          _mm256_srlv_epi32(word, first))};
    to[1] = {(V::Raw)_mm256_permutevar_ps(_mm256_castpd_ps(_mm256_unpackhi_pd(pairs, zero)),
                                          _mm256_srlv_epi32(word, second))};
  } else if constexpr (M == 4) {
    // An input's bit becomes the sign that blends go by.
    const auto place = [&](int i, __m256 value) {
      const __m256i shift = _mm256_sub_epi32(_mm256_set1_epi32(31 - i * V::lanes),
                                             _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
      to[i] = {(V::Raw)_mm256_blendv_ps(_mm256_setzero_ps(), value,
                                        _mm256_castsi256_ps(_mm256_sllv_epi32(word, shift)))};
    };
    place(0, _mm256_permute_ps(from, 0x00));
    place(1, _mm256_permute_ps(from, 0x55));
    place(2, _mm256_permute_ps(from, 0xaa));
    place(3, _mm256_permute_ps(from, 0xff));
  }
}

}  // namespace
