// The gradient of the values on tiles. Compiled for CPUs with AMX alone, and called on no other.
#include <omp.h>

#include "amx/weights.h"
#include "scratch.h"

namespace sparsebench {

namespace {

// 32 features of samples, zeros where there are none.
struct Samples {
  Dense<const bfloat16> from;
  int64_t samples, feature;
  __mmask32 there;
  Samples(Dense<const bfloat16> of, int64_t number, int64_t first_feature, int64_t features)
      : from(of), samples(number), feature(first_feature), there(first(features - first_feature)) {}
  const bfloat16* at(int64_t sample) const { return from.data + sample * from.pitch + feature; }
  Register operator[](int64_t sample) const {
    return _mm512_maskz_loadu_epi16(sample < samples ? there : 0, at(sample));
  }
};

// Two tiles of 16 pairs of samples × 16 features.
inline void pack_samples(const Samples& from, int64_t sample, char* left, char* right) {
  for (int64_t i = 0; i < 16; ++i) {
    const Pairs pairs(from[sample + 2 * i], from[sample + 2 * i + 1]);
    _mm512_store_si512(left + 64 * i, pairs.left);
    _mm512_store_si512(right + 64 * i, pairs.right);
  }
}
// Two tiles of 16 features × 32 samples. The next features are fetched.
inline void pack_features(const Samples& from, int64_t sample, char* left, char* right) {
  Register one[16], other[16];
  for (int64_t i = 0; i < 16; ++i) {
    const Register even = from[sample + 2 * i], odd = from[sample + 2 * i + 1];
    one[i] = _mm512_unpacklo_epi16(even, odd), other[i] = _mm512_unpackhi_epi16(even, odd);
    _mm_prefetch(from.at(sample + 2 * i) + depth, _MM_HINT_T1);
    _mm_prefetch(from.at(sample + 2 * i + 1) + depth, _MM_HINT_T1);
  }
  // 0 to 3 of every eight features, and 4 to 7.
  transpose(one);
  transpose(other);
  for (int i = 0; i < 16; ++i) {
    char* to = (i < 8 ? left : right) + (i % 8 / 4 * 8 + i % 4) * 64;
    _mm512_store_si512(to, one[i]);
    _mm512_store_si512(to + 4 * 64, other[i]);
  }
}

// Two tiles of features of dy times two of x, or one times one; each has a tile for every 32 samples, one after
// another.
void multiply_two(const char* dy, const char* x, int64_t levels, float (*sums)[16][16]) {
  const int64_t next = levels * tile_bytes;
  zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
  for (int64_t level = 0; level < levels; ++level, dy += tile_bytes, x += tile_bytes) {
    load_tile<4>(dy);
    pass_tile<6>(x);
    add_product<0, 4, 6>();
    pass_tile<7>(x + next);
    add_product<1, 4, 7>();
    load_tile<5>(dy + next);
    add_product<2, 5, 6>();
    add_product<3, 5, 7>();
  }
  store_tile<0>(sums[0]), store_tile<1>(sums[1]), store_tile<2>(sums[2]), store_tile<3>(sums[3]);
}
void multiply_one(const char* dy, const char* x, int64_t levels, float (*sums)[16]) {
  zero_tile<0>();
  for (int64_t level = 0; level < levels; ++level) {
    load_tile<4>(dy + level * tile_bytes);
    load_tile<5>(x + level * tile_bytes);
    add_product<0, 4, 5>();
  }
  store_tile<0>(sums);
}

// The lines that gradients will be written to are fetched, while they are summed up.
template <bool Alike>
inline void expect(const Row* row, int64_t rows, int64_t word, int half, bfloat16* const* result) {
  const Places same(row[0], word, half);
  for (int64_t r = 0; r < rows; ++r)
    __builtin_prefetch(result[r] + (Alike ? same : Places(row[r], word, half)).at, 1);
}

// Gradients of values of 16 outputs and 32 inputs, half a word: sums of two tiles, 16 inputs each.
template <bool Alike>
inline void keep(const Row* row, int64_t rows, int64_t word, int half, const float (*sums)[16][16],
                 bfloat16* const* result) {
  const Places same(row[0], word, half);
  for (int64_t r = 0; r < rows; ++r) {
    const Places of = Alike ? same : Places(row[r], word, half);
    if (!of.bits) continue;
    const Register rounded =
        (Register)_mm512_cvtne2ps_pbh(_mm512_load_ps(sums[1][r]), _mm512_load_ps(sums[0][r]));
    _mm512_mask_storeu_epi16(result[r] + of.at, first(__builtin_popcount(of.bits)),
                             _mm512_maskz_compress_epi16(of.bits, rounded));
  }
}

template <bool Alike>
size_t grad_values(const Bitmap& bitmap, Dense<const bfloat16> dy, Dense<const bfloat16> x, int64_t batch,
                   bfloat16* result, int threads) {
  const int64_t levels = up(batch, depth);
  const int64_t most = larger(1, activations_bytes(threads) / (4 * levels * tile_bytes));
  const int64_t at_once = smaller(smaller(bitmap.words, most), most_words);
  const int64_t of_x = 4 * at_once * levels * tile_bytes, each = of_x + 2 * levels * tile_bytes;
  const Room room(Memory::blocks, threads * each);
  if (room.missing()) return room.missing();
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Units units;
    // Every thread packs for itself: what another core has just written is far away.
    char *packed_x = room.data + omp_get_thread_num() * each, *packed_dy = packed_x + of_x;
    alignas(64) float sums[4][16][16];
    int64_t packed_from = -1;
#pragma omp for schedule(static) collapse(2)
    for (int64_t left = 0; left < bitmap.words; left += at_once)
      for (int64_t top = 0; top < bitmap.rows; top += 2 * side) {
        const Span words{left, smaller(left + at_once, bitmap.words)};
        if (packed_from != left) {
          packed_from = left;
          for (int64_t level = 0; level < levels; ++level)
            for (int64_t half = 0; half < 2 * (words.end - left); ++half) {
              char* to = packed_x + (2 * half * levels + level) * tile_bytes;
              pack_samples({x, batch, left * word_places + half * depth, bitmap.columns}, level * depth, to,
                           to + levels * tile_bytes);
            }
        }
        const int64_t rows = smaller(2 * side, bitmap.rows - top);
        Row row[2 * side];
        bfloat16* to[2 * side];
        for (int64_t r = 0; r < rows; ++r) {
          row[r] = Row(bitmap, result, top + r, Alike);
          to[r] = result + bitmap.starts[top + r];
        }
        uint64_t any[2][most_words];
        for (int64_t i = 0; i < 2; ++i) {
          const int64_t begin = top + i * side;
          any_of(bitmap, {begin, smaller(begin + side, bitmap.rows)}, Alike ? side : 1, words, any[i]);
        }
        for (int64_t level = 0; level < levels; ++level)
          pack_features({dy, batch, top, bitmap.rows}, level * depth, packed_dy + level * tile_bytes,
                        packed_dy + (levels + level) * tile_bytes);
        for (int64_t word = left; word < words.end; ++word) {
          const uint64_t of_word[2] = {any[0][word - left], any[1][word - left]};
          if (!(of_word[0] | of_word[1])) continue;
          for (int half = 0; half < 2; ++half) {
            const uint32_t some[2] = {static_cast<uint32_t>(of_word[0] >> 32 * half),
                                      static_cast<uint32_t>(of_word[1] >> 32 * half)};
            const bool there[4] = {(some[0] & 0xffff) != 0, some[0] >> 16 != 0, (some[1] & 0xffff) != 0,
                                   some[1] >> 16 != 0};
            const int count = there[0] + there[1] + there[2] + there[3];
            if (!count) continue;
            const char* of_x = packed_x + (4 * (word - left) + 2 * half) * levels * tile_bytes;
            for (int i = 0; i < 2; ++i)
              if (some[i]) expect<Alike>(row + i * side, smaller(side, rows - i * side), word, half, to + i * side);
            if (count > 2)
              multiply_two(packed_dy, of_x, levels, sums);
            else
              for (int i = 0; i < 4; ++i)
                if (there[i])
                  multiply_one(packed_dy + i / 2 * levels * tile_bytes, of_x + i % 2 * levels * tile_bytes, levels,
                               sums[i]);
            for (int i = 0; i < 2; ++i)
              if (some[i])
                keep<Alike>(row + i * side, smaller(side, rows - i * side), word, half, sums + 2 * i, to + i * side);
          }
        }
      }
  }
  return 0;
}

}  // namespace

size_t amx_grad_values(const Bitmap& bitmap, Dense<const bfloat16> dy, Dense<const bfloat16> x,
                       int64_t batch, bfloat16* result, bool alike, int threads) {
  if (batch == 0) {
    for (int64_t i = 0; i < bitmap.starts[bitmap.rows]; ++i) result[i] = {};
    return 0;
  }
  return (alike ? grad_values<true> : grad_values<false>)(bitmap, dy, x, batch, result, threads);
}

}  // namespace sparsebench
