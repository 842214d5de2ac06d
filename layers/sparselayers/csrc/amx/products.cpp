// y and dx on tiles. Compiled for CPUs with AMX alone, and called on no other.
#include <omp.h>

#include <type_traits>

#include "amx/weights.h"
#include "scratch.h"

namespace sparsebench {

namespace {

// Tiles of 16 samples × 32 features (a level of them): two of samples side by side, for all levels; then the
// next two.
constexpr int64_t of_level = 2 * tile_bytes;
inline int64_t place_of(int64_t tile, int64_t levels) {
  return (tile / 2 * levels * 2 + tile % 2) * tile_bytes;
}

// With zeros up to whole tiles. Returns whether all numbers are finite.
bool pack(Dense<const bfloat16> from, Span samples, int64_t features, char* to) {
  const int64_t levels = up(features, depth), tiles = up(samples.end - samples.begin, side);
  const Register exponent = _mm512_set1_epi16(0x7f80);
  __mmask32 not_finite = 0;
  for (int64_t row = 0; row < tiles * side; ++row) {
    const int64_t sample = samples.begin + row;
    char* at = to + place_of(row / side, levels) + row % side * 64;
    for (int64_t level = 0; level < levels; ++level, at += of_level) {
      const int64_t column = level * depth;
      const __mmask32 there = sample < samples.end ? first(features - column) : 0;
      const Register numbers = _mm512_maskz_loadu_epi16(there, from.data + sample * from.pitch + column);
      not_finite |= _mm512_cmpeq_epi16_mask(_mm512_and_si512(numbers, exponent), exponent);
      _mm512_store_si512(at, numbers);
    }
  }
  return !not_finite;
}

template <int C>
inline void begin_sum(bool anew, const char* sums) {
  if (anew) zero_tile<C>();
  else load_tile<C>(sums);
}

// Sums of four tiles of samples for one strip, then for the strip beside it.
constexpr int64_t group = 4, of_strip = group * tile_bytes, of_group = 2 * of_strip;

// Adds what a strip gives for `Count` tiles of samples to their sums.
template <int Count>
void add_strip(const Strip& strip, const char* x, int64_t levels, char* sums, bool anew) {
  begin_sum<0>(anew, sums);
  if constexpr (Count > 1) begin_sum<1>(anew, sums + tile_bytes);
  if constexpr (Count > 2) begin_sum<2>(anew, sums + 2 * tile_bytes);
  if constexpr (Count > 3) begin_sum<3>(anew, sums + 3 * tile_bytes);
  for (int64_t i = 0; i < strip.count; ++i) {
    const char *at = x + strip.which[i] * of_level, *next = at + levels * of_level;
    load_tile<4>(strip.tiles + i * tile_bytes);
    pass_tile<5>(at);
    add_product<0, 5, 4>();
    if constexpr (Count > 1) {
      pass_tile<6>(at + tile_bytes);
      add_product<1, 6, 4>();
    }
    if constexpr (Count > 2) {
      pass_tile<7>(next);
      add_product<2, 7, 4>();
    }
    if constexpr (Count > 3) {
      pass_tile<5>(next + tile_bytes);
      add_product<3, 5, 4>();
    }
  }
  store_tile<0>(sums);
  if constexpr (Count > 1) store_tile<1>(sums + tile_bytes);
  if constexpr (Count > 2) store_tile<2>(sums + 2 * tile_bytes);
  if constexpr (Count > 3) store_tile<3>(sums + 3 * tile_bytes);
}

// The same for two strips that have the same tiles, and two tiles of samples: each is loaded for two products.
void add_two(const Strip* strips, const char* x, char* sums, bool anew) {
  const Strip &one = strips[0], &other = strips[1];
  begin_sum<0>(anew, sums), begin_sum<1>(anew, sums + tile_bytes);
  begin_sum<2>(anew, sums + of_strip), begin_sum<3>(anew, sums + of_strip + tile_bytes);
  for (int64_t i = 0; i < one.count; ++i) {
    const char* at = x + one.which[i] * of_level;
    load_tile<4>(one.tiles + i * tile_bytes);
    pass_tile<6>(at);
    add_product<0, 6, 4>();
    pass_tile<7>(at + tile_bytes);
    add_product<1, 7, 4>();
    load_tile<5>(other.tiles + i * tile_bytes);
    add_product<2, 6, 5>();
    add_product<3, 7, 5>();
  }
  store_tile<0>(sums), store_tile<1>(sums + tile_bytes);
  store_tile<2>(sums + of_strip), store_tile<3>(sums + of_strip + tile_bytes);
}

inline bool have_the_same(const Strip* strips) {
  bool same = strips[0].count == strips[1].count;
  for (int64_t i = 0; same && i < strips[0].count; ++i) same = strips[0].which[i] == strips[1].which[i];
  return same;
}

// A group of up to four tiles of samples.
void add_group(const Strip* strips, bool alike, const char* x, int64_t levels, int64_t tiles, char* sums,
               bool anew) {
  int64_t tile = 0;
  if (alike)
    for (; tile + 2 <= tiles; tile += 2)
      add_two(strips, x + place_of(tile, levels), sums + tile * tile_bytes, anew);
  if (tile == tiles) return;
  for (int i = 0; i < 2; ++i) {
    const auto of = [&](auto count) {
      add_strip<decltype(count)::value>(strips[i], x + place_of(tile, levels), levels,
                                        sums + i * of_strip + tile * tile_bytes, anew);
    };
    switch (tiles - tile) {
      case 1: of(std::integral_constant<int, 1>()); break;
      case 2: of(std::integral_constant<int, 2>()); break;
      case 3: of(std::integral_constant<int, 3>()); break;
      default: of(std::integral_constant<int, 4>());
    }
  }
}

// What a product is written to, and what is added to each of its samples, or null.
struct Result {
  Dense<bfloat16> data;
  const bfloat16* bias;
  Span others;
};

// The lines that sums will become are fetched, while they are summed up.
inline void expect(const Result& result, Span samples) {
  for (int64_t sample = samples.begin; sample < samples.end; ++sample)
    __builtin_prefetch(result.data.data + sample * result.data.pitch + result.others.begin, 1);
}

// Sums become lines of the result: those of two strips are 32 numbers of a sample.
void finish(const char* sums, const Result& result, Span samples) {
  const Span others = result.others;
  const __mmask32 there = first(others.end - others.begin);
  __m512 added[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  if (result.bias) {
    const Register read = _mm512_maskz_loadu_epi16(there, result.bias + others.begin);
    const __m256i half[2] = {_mm512_castsi512_si256(read), _mm512_extracti64x4_epi64(read, 1)};
    for (int i = 0; i < 2; ++i)
      added[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half[i]), 16));
  }
  for (int64_t sample = samples.begin; sample < samples.end; ++sample, sums += 64) {
    const __m512 one = _mm512_add_ps(_mm512_load_ps(sums), added[0]);
    const __m512 two = _mm512_add_ps(_mm512_load_ps(sums + of_strip), added[1]);
    _mm512_mask_storeu_epi16(result.data.data + sample * result.data.pitch + others.begin, there,
                             (Register)_mm512_cvtne2ps_pbh(two, one));
  }
}

// How much of the weights is laid out at a time: so many strips, and so many tiles of each.
struct Panel { int64_t strips, deep; };

// y or dx, unless activations are not all finite. `summed` is the length of what is summed over,
// `result.others` that of what is not.
template <class Lay_out>
size_t multiply_by_tiles(Dense<const bfloat16> from, int64_t batch, int64_t summed, const Result& result,
                         Panel panel, int threads, bool* finite, Lay_out lay_out) {
  *finite = true;
  const int64_t others = result.others.end;
  if (batch == 0 || others == 0) return 0;
  const int64_t levels = up(summed, depth), deep = smaller(levels, panel.deep), count = panel.strips;
  const int64_t most = larger(group, activations_bytes(threads) / (levels * tile_bytes) / group * group);
  const int64_t at_once = smaller(up(batch, side), most), groups = up(at_once, group);
  const int64_t packed_bytes = groups * group * levels * tile_bytes;
  const int64_t which_bytes = up(deep * sizeof(int32_t), 64) * 64;
  const int64_t strip_bytes = deep * tile_bytes + which_bytes;
  // Sums that are complete at once have a place in L1.
  const int64_t next_group = deep == levels ? 0 : of_group;
  const int64_t sums_bytes = next_group ? count / 2 * groups * of_group : of_group;
  const int64_t each = packed_bytes + count * strip_bytes + sums_bytes + up(count * sizeof(Strip), 64) * 64;
  const Room room(Memory::blocks, threads * each);
  if (room.missing()) return room.missing();
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Units units;
    // Every thread packs for itself: what another core has just written is far away.
    char* own = room.data + omp_get_thread_num() * each;
    char* at = own + packed_bytes;
    char* sums = at + count * strip_bytes;
    Strip* strips = reinterpret_cast<Strip*>(sums + sums_bytes);
    for (int64_t i = 0; i < count; ++i, at += strip_bytes)
      strips[i] = {at, reinterpret_cast<int32_t*>(at + deep * tile_bytes), 0};
    int64_t packed_from = -1;
#pragma omp for schedule(static) collapse(2)
    for (int64_t sample = 0; sample < batch; sample += at_once * side)
      for (int64_t other = 0; other < others; other += count * side) {
        const Span samples{sample, smaller(sample + at_once * side, batch)};
        if (packed_from != sample) {
          packed_from = sample;
          if (!pack(from, samples, summed, own)) {
#pragma omp atomic write
            *finite = false;
          }
        }
        for (int64_t level = 0; level < levels; level += deep) {
          lay_out(other, {level * depth, smaller((level + deep) * depth, summed)}, strips);
          char* to = sums;
          for (int64_t i = 0; i < count && other + i * side < others; i += 2) {
            const bool alike = have_the_same(strips + i), last = level + deep >= levels;
            const int64_t begin = other + i * side;
            const Result part{result.data, result.bias, {begin, smaller(begin + 2 * side, others)}};
            for (int64_t tile = 0; sample + tile * side < samples.end; tile += group, to += next_group) {
              const int64_t first = sample + tile * side;
              const Span some{first, smaller(first + group * side, samples.end)};
              if (last) expect(part, some);
              add_group(strips + i, alike, own + place_of(tile, levels) + level * of_level, levels,
                        up(some.end - first, side), to, level == 0);
              if (last) finish(to, part, some);
            }
          }
        }
      }
  }
  return 0;
}

template <bool Alike>
size_t multiply(const Bitmap& bitmap, const bfloat16* values, const bfloat16* bias, Dense<const bfloat16> x,
                int64_t batch, Dense<bfloat16> y, int threads, bool* finite) {
  const int64_t count = Alike ? 2 : smaller(2 * up(up(bitmap.rows, 2 * side), 2 * threads), 8);
  return multiply_by_tiles(
      x, batch, bitmap.columns, {y, bias, {0, bitmap.rows}}, {count, Alike ? 2 * most_words : 16}, threads, finite,
      [&](int64_t row, Span inputs, Strip* strips) {
        const Span words{inputs.begin / word_places, up(inputs.end, word_places)};
        for (int64_t i = 0; i < count; ++i) {
          const int64_t top = row + i * side;
          const bool exactly = at_the_end(bitmap, smaller(top + side, bitmap.rows));
          (exactly ? lay_out_outputs<Alike, true> : lay_out_outputs<Alike, false>)(bitmap, values, top, words,
                                                                                   strips[i]);
        }
      });
}

template <bool Alike>
size_t grad_input(const Bitmap& bitmap, const bfloat16* values, Dense<const bfloat16> dy, int64_t batch,
                  Dense<bfloat16> dx, int threads, bool* finite) {
  const int64_t words = smaller(up(bitmap.words, 2 * threads), Alike ? 1 : 8);
  return multiply_by_tiles(
      dy, batch, bitmap.rows, {dx, nullptr, {0, bitmap.columns}}, {4 * words, Alike ? 2 * most_words : 8}, threads,
      finite,
      [&](int64_t column, Span outputs, Strip* strips) {
        const int64_t word = column / word_places;
        const Span some{word, smaller(word + words, bitmap.words)};
        (at_the_end(bitmap, outputs.end) ? lay_out_inputs<Alike, true> : lay_out_inputs<Alike, false>)(
            bitmap, values, some, outputs, strips);
      });
}

}  // namespace

size_t amx_multiply(const Bitmap& bitmap, const bfloat16* values, const bfloat16* bias,
                    Dense<const bfloat16> x, int64_t batch, Dense<bfloat16> y, bool alike, int threads,
                    bool* finite) {
  return (alike ? multiply<true> : multiply<false>)(bitmap, values, bias, x, batch, y, threads, finite);
}

size_t amx_grad_input(const Bitmap& bitmap, const bfloat16* values, Dense<const bfloat16> dy,
                      int64_t batch, Dense<bfloat16> dx, bool alike, int threads,
                      bool* finite) {
  return (alike ? grad_input<true> : grad_input<false>)(bitmap, values, dy, batch, dx, threads, finite);
}

}  // namespace sparsebench
