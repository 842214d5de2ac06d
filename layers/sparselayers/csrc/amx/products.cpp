// The products on tiles. Compiled for CPUs with AMX alone, and called on no other.
#include "amx/amx.h"

#include <immintrin.h>
#include <omp.h>

#include <type_traits>

#include "scratch.h"

namespace sparsebench {

namespace {

// A tile register: 16 rows of 64 bytes. As weights or activations 16 × 32 numbers, or 16 pairs of them for
// each of 16; as sums 16 × 16 floats.
constexpr int64_t side = 16, depth = 32, tile_bytes = 1024;

// How much is laid out at a time: activations that stay in L2 beside the weights that they meet, and weights
// of a thread.
constexpr int64_t activations_bytes = 1 << 20, words_of_y = 16, words_of_dx = 8, deep_of_dx = 8;

// Nothing of the standard library is called: the linker keeps any one copy of its functions.
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
constexpr int64_t up(int64_t count, int64_t of) { return (count + of - 1) / of; }

struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_of_row[16] = {};
  uint8_t rows[16] = {};
  Config() {
    for (int tile = 0; tile < 8; ++tile) bytes_of_row[tile] = 64, rows[tile] = side;
  }
};

// The units are configured for a thread while this lives.
struct Units {
  Units() {
    const Config config;
    _tile_loadconfig(&config);
  }
  ~Units() { _tile_release(); }
  Units(const Units&) = delete;
};

// The instructions on tile registers, whose numbers are constants.
template <int Tile>
inline void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
inline void load_tile(const void* from) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(int64_t{64}), "i"(Tile) : "memory");
}
template <int Tile>
inline void store_tile(void* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(int64_t{64}), "i"(Tile) : "memory");
}
// The sums of `To` grow by the product of two others.
template <int To, int One, int Other>
inline void add_product() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(To), "i"(One), "i"(Other));
}

using Register = __m512i;

inline __mmask32 first(int64_t count) {
  return count >= 32 ? ~__mmask32{0} : count <= 0 ? 0 : (__mmask32{1} << count) - 1;
}

// Rows of 16 numbers of 32 bits become columns.
inline void transpose(Register r[16]) {
  Register t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
    }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Numbers of two rows in turns, from some column on; zeros where there are none.
inline Register paired(Dense<const bfloat16> from, int64_t row, int64_t rows, int64_t column,
                       int64_t columns) {
  const __mmask16 there = static_cast<__mmask16>(first(smaller(columns - column, side)));
  const bfloat16* at = from.data + row * from.pitch + column;
  const __m256i one = _mm256_maskz_loadu_epi16(row < rows ? there : 0, at);
  const __m256i other = _mm256_maskz_loadu_epi16(row + 1 < rows ? there : 0, at + from.pitch);
  return _mm512_or_si512(_mm512_cvtepu16_epi32(one),
                         _mm512_slli_epi32(_mm512_cvtepu16_epi32(other), 16));
}

inline Register row_of(Dense<const bfloat16> from, int64_t row, int64_t rows, int64_t column,
                       int64_t columns) {
  const __mmask32 there = row < rows ? first(columns - column) : 0;
  return _mm512_maskz_loadu_epi16(there, from.data + row * from.pitch + column);
}

inline void store(char* tile, const Register r[16]) {
  for (int i = 0; i < 16; ++i) _mm512_store_si512(tile + 64 * i, r[i]);
}

// Tiles of an activation of `rows` samples. What is summed over is 32 deep.
// Over features: 16 samples × 32 features.
inline void pack_rows(Dense<const bfloat16> from, int64_t row, int64_t rows, int64_t column,
                      int64_t columns, char* tile) {
  Register r[16];
  for (int i = 0; i < 16; ++i) r[i] = row_of(from, row + i, rows, column, columns);
  store(tile, r);
}
// Over features: 16 pairs of features × 16 samples.
inline void pack_pairs(Dense<const bfloat16> from, int64_t row, int64_t rows, int64_t column,
                       int64_t columns, char* tile) {
  Register r[16];
  for (int i = 0; i < 16; ++i) r[i] = row_of(from, row + i, rows, column, columns);
  transpose(r);
  store(tile, r);
}
// Over samples: 16 pairs of samples × 16 features.
inline void pack_samples(Dense<const bfloat16> from, int64_t row, int64_t rows, int64_t column,
                         int64_t columns, char* tile) {
  Register r[16];
  for (int i = 0; i < 16; ++i) r[i] = paired(from, row + 2 * i, rows, column, columns);
  store(tile, r);
}
// Over samples: 16 features × 32 samples.
inline void pack_features(Dense<const bfloat16> from, int64_t row, int64_t rows, int64_t column,
                          int64_t columns, char* tile) {
  Register r[16];
  for (int i = 0; i < 16; ++i) r[i] = paired(from, row + 2 * i, rows, column, columns);
  transpose(r);
  store(tile, r);
}

// Where the values of 32 places of a row are: those that their bits say, from `at` on.
struct Places {
  uint32_t bits;
  int64_t at;
};
inline Places places(const Bitmap& bitmap, int64_t row, int64_t column) {
  const int64_t place = row * bitmap.words + column / word_places, shift = column % word_places;
  const uint64_t word = bitmap.bits[place], before = word & ((uint64_t{1} << shift) - 1);
  return {static_cast<uint32_t>(word >> shift),
          bitmap.starts[row] + bitmap.before[place] + __builtin_popcountll(before)};
}

// A row of the weight: its words, and where the values of each begin.
struct Row {
  const uint64_t* bits;
  const uint16_t* before;
  const bfloat16* values;
  Row() = default;
  Row(const Bitmap& bitmap, const bfloat16* of_layer, int64_t row)
      : bits(bitmap.bits + row * bitmap.words), before(bitmap.before + row * bitmap.words),
        values(of_layer + bitmap.starts[row]) {}
};
// Which places of some words have a connection in any of the rows.
inline void any_of(const Row* row, int64_t rows, Span words, uint64_t* any) {
  const int64_t count = words.end - words.begin;
  for (int64_t i = 0; i < count; ++i) any[i] = 0;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < count; ++i) any[i] |= row[r].bits[words.begin + i];
}
// 32 places, with zeros. Reads 32 values, however many are wanted, or (`Exactly`) only those.
template <bool Exactly>
inline Register laid_out(const bfloat16* values, uint32_t bits) {
  return _mm512_maskz_expand_epi16(
      bits, Exactly ? _mm512_maskz_loadu_epi16(first(__builtin_popcount(bits)), values)
                    : _mm512_loadu_si512(values));
}
// Both halves of a word, as far as they are wanted: to(half, places).
template <bool Exactly, bool Low, bool High, class To>
inline void lay_out_word(const Row& row, int64_t word, To to) {
  const uint64_t bits = row.bits[word];
  const bfloat16* at = row.values + row.before[word];
  const uint32_t low = static_cast<uint32_t>(bits), high = static_cast<uint32_t>(bits >> 32);
  if constexpr (Low) to(std::integral_constant<int, 0>(), laid_out<Exactly>(at, low));
  if constexpr (High)
    to(std::integral_constant<int, 1>(), laid_out<Exactly>(at + __builtin_popcount(low), high));
}

// Tiles of 16 outputs, or inputs, that have a connection: which of those that are summed over, one after another.
struct Strip {
  char* tiles;
  int32_t* which;
  int64_t count;
  char* end() const { return tiles + count * tile_bytes; }
};

// Whether 64 numbers from any value of the rows before `rows_end` on may reach beyond the last of a layer.
inline bool at_the_end(const Bitmap& bitmap, int64_t rows_end) {
  return bitmap.starts[rows_end] + 64 > bitmap.starts[bitmap.rows];
}

// 16 outputs × 32 inputs, of the words [begin, end).
template <bool Exactly>
void lay_out_rows(const Bitmap& bitmap, const bfloat16* values, int64_t top, int64_t begin,
                  int64_t end, Strip& strip) {
  const int64_t rows = smaller(side, bitmap.rows - top);
  Row row[side];
  for (int64_t r = 0; r < rows; ++r) row[r] = Row(bitmap, values, top + r);
  uint64_t any[words_of_y];
  any_of(row, rows, {begin, end}, any);
  strip.count = 0;
  for (int64_t word = begin; word < end; ++word) {
    const bool low = static_cast<uint32_t>(any[word - begin]) != 0, high = any[word - begin] >> 32 != 0;
    char* tiles[2] = {strip.end(), strip.end() + (low ? tile_bytes : 0)};
    const auto lay_out = [&](auto with_low, auto with_high) {
      for (int64_t r = 0; r < rows; ++r)
        lay_out_word<Exactly, decltype(with_low)::value, decltype(with_high)::value>(
            row[r], word, [&](auto half, Register places) {
              _mm512_store_si512(tiles[decltype(half)::value] + 64 * r, places);
            });
    };
    if (low && high) lay_out(std::true_type(), std::true_type());
    else if (low) lay_out(std::true_type(), std::false_type());
    else if (high) lay_out(std::false_type(), std::true_type());
    for (int half = 0; half < 2; ++half) {
      if (!(half ? high : low)) continue;
      for (int64_t r = rows; r < side; ++r)
        _mm512_store_si512(strip.end() + 64 * r, _mm512_setzero_si512());
      strip.which[strip.count++] = static_cast<int32_t>(2 * (word - begin) + half);
    }
  }
}

// Four strips of 16 inputs for each of the words: tiles of 16 pairs of outputs × 16 inputs, of the outputs
// [begin, end). The inputs of a tile stand in the order that a pair of rows has at once: see `in_order`.
template <bool Exactly>
void lay_out_columns(const Bitmap& bitmap, const bfloat16* values, Span words, int64_t begin,
                     int64_t end, Strip* strips) {
  for (int64_t i = 0; i < 4 * (words.end - words.begin); ++i) strips[i].count = 0;
  for (int64_t top = begin; top < end; top += depth) {
    const int64_t rows = smaller(depth, end - top);
    Row row[depth];
    for (int64_t r = 0; r < rows; ++r) row[r] = Row(bitmap, values, top + r);
    // A row has a few lines here, and the next ones far away: too short for a processor to foresee them.
    for (int64_t r = top + depth; r < smaller(top + 2 * depth, end); ++r) {
      const Row next(bitmap, values, r);
      const char* from = reinterpret_cast<const char*>(next.values + next.before[words.begin]);
      const char* to = reinterpret_cast<const char*>(next.values + next.before[words.end - 1]);
      for (; from <= to; from += 64) _mm_prefetch(from, _MM_HINT_T0);
    }
    uint64_t all[words_of_dx];
    any_of(row, rows, words, all);
    for (int64_t word = words.begin; word < words.end; ++word) {
      Strip* four = strips + 4 * (word - words.begin);
      const uint64_t any = all[word - words.begin];
      if (!any) continue;
      const auto lay_out = [&](auto half) {
        constexpr int h = decltype(half)::value;
        const uint32_t some = static_cast<uint32_t>(any >> 32 * h);
        const bool left = some & 0xffff, right = some >> 16;
        if (!left && !right) return;
        char *one = four[2 * h].end(), *other = four[2 * h + 1].end();
        const auto places = [&](int64_t r) {
          Register found = _mm512_setzero_si512();
          if (r < rows)
            lay_out_word<Exactly, h == 0, h == 1>(row[r], word, [&](auto, Register there) { found = there; });
          return found;
        };
        const auto store = [](char* to, __m256i even, __m256i odd) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_unpacklo_epi16(even, odd));
          _mm256_store_si256(reinterpret_cast<__m256i*>(to + 32), _mm256_unpackhi_epi16(even, odd));
        };
        for (int64_t r = 0; r < depth; r += 2) {
          const Register even = places(r), odd = places(r + 1);
          if (left) store(one + 32 * r, _mm512_castsi512_si256(even), _mm512_castsi512_si256(odd));
          if (right)
            store(other + 32 * r, _mm512_extracti64x4_epi64(even, 1), _mm512_extracti64x4_epi64(odd, 1));
        }
        const int32_t which = static_cast<int32_t>((top - begin) / depth);
        if (left) four[2 * h].which[four[2 * h].count++] = which;
        if (right) four[2 * h + 1].which[four[2 * h + 1].count++] = which;
      };
      lay_out(std::integral_constant<int, 0>());
      lay_out(std::integral_constant<int, 1>());
    }
  }
}
// 0 to 3, 8 to 11, 4 to 7, 12 to 15, back in order.
inline __m256i in_order(__m256i inputs) { return _mm256_permute4x64_epi64(inputs, 0xd8); }

// One product of tiles: the weights are the first factor where outputs are rows of the sums (y), and the
// second where samples are (dx).
template <bool Weights_first, int C, int W, int A>
inline void product() {
  if constexpr (Weights_first) add_product<C, W, A>();
  else add_product<C, A, W>();
}
template <int C>
inline void begin_sum(bool anew, const char* sums) {
  if (anew) zero_tile<C>();
  else load_tile<C>(sums);
}

// Activations are tiles: two of samples side by side, for all that is summed over; then the next two.
inline int64_t place_of(int64_t tile, int64_t level, int64_t levels) {
  return ((tile / 2 * levels + level) * 2 + tile % 2) * tile_bytes;
}

// Adds what a strip gives for `Count` tiles of samples, the first of which has an even number, to their sums.
template <bool Weights_first, int Count>
void add_strip(const Strip& strip, const char* activations, int64_t levels, char* sums, bool anew) {
  begin_sum<0>(anew, sums);
  if constexpr (Count > 1) begin_sum<1>(anew, sums + tile_bytes);
  if constexpr (Count > 2) begin_sum<2>(anew, sums + 2 * tile_bytes);
  if constexpr (Count > 3) begin_sum<3>(anew, sums + 3 * tile_bytes);
  for (int64_t i = 0; i < strip.count; ++i) {
    const char* at = activations + strip.which[i] * 2 * tile_bytes;
    const char* next = at + levels * 2 * tile_bytes;
    load_tile<4>(strip.tiles + i * tile_bytes);
    load_tile<5>(at);
    product<Weights_first, 0, 4, 5>();
    if constexpr (Count > 1) {
      load_tile<6>(at + tile_bytes);
      product<Weights_first, 1, 4, 6>();
    }
    if constexpr (Count > 2) {
      load_tile<7>(next);
      product<Weights_first, 2, 4, 7>();
    }
    if constexpr (Count > 3) {
      load_tile<5>(next + tile_bytes);
      product<Weights_first, 3, 4, 5>();
    }
  }
  store_tile<0>(sums);
  if constexpr (Count > 1) store_tile<1>(sums + tile_bytes);
  if constexpr (Count > 2) store_tile<2>(sums + 2 * tile_bytes);
  if constexpr (Count > 3) store_tile<3>(sums + 3 * tile_bytes);
}

// The same for two strips that have the same tiles, and two tiles of samples: each is loaded for two products.
template <bool Weights_first>
void add_two(const Strip& one, const Strip& other, const char* activations, char* sums,
             char* other_sums, bool anew) {
  begin_sum<0>(anew, sums), begin_sum<1>(anew, sums + tile_bytes);
  begin_sum<2>(anew, other_sums), begin_sum<3>(anew, other_sums + tile_bytes);
  for (int64_t i = 0; i < one.count; ++i) {
    const char* at = activations + one.which[i] * 2 * tile_bytes;
    load_tile<4>(one.tiles + i * tile_bytes);
    load_tile<6>(at);
    product<Weights_first, 0, 4, 6>();
    load_tile<7>(at + tile_bytes);
    product<Weights_first, 1, 4, 7>();
    load_tile<5>(other.tiles + i * tile_bytes);
    product<Weights_first, 2, 5, 6>();
    product<Weights_first, 3, 5, 7>();
  }
  store_tile<0>(sums), store_tile<1>(sums + tile_bytes);
  store_tile<2>(other_sums), store_tile<3>(other_sums + tile_bytes);
}

inline bool have_the_same(const Strip& one, const Strip& other) {
  bool same = one.count == other.count;
  for (int64_t i = 0; same && i < one.count; ++i) same = one.which[i] == other.which[i];
  return same;
}

// All tiles of samples. The sums of a strip are tiles side by side.
template <bool Weights_first>
void add(const Strip* strips, const char* activations, int64_t levels, int64_t tiles, char* sums,
         bool anew) {
  const bool alike = have_the_same(strips[0], strips[1]);
  char* both[2] = {sums, sums + tiles * tile_bytes};
  int64_t tile = 0;
  if (alike)
    for (; tile + 2 <= tiles; tile += 2)
      add_two<Weights_first>(strips[0], strips[1], activations + place_of(tile, 0, levels), both[0] + tile * tile_bytes,
                             both[1] + tile * tile_bytes, anew);
  for (; tile < tiles; tile += 4)
    for (int i = 0; i < 2; ++i) {
      const auto of = [&](auto count) {
        add_strip<Weights_first, decltype(count)::value>(strips[i], activations + place_of(tile, 0, levels), levels,
                                                         both[i] + tile * tile_bytes, anew);
      };
      switch (tiles - tile) {
        case 1: of(std::integral_constant<int, 1>()); break;
        case 2: of(std::integral_constant<int, 2>()); break;
        case 3: of(std::integral_constant<int, 3>()); break;
        default: of(std::integral_constant<int, 4>());
      }
    }
}

// y of up to 32 outputs: a line of it for each sample.
void finish_outputs(const char* sums, int64_t tiles, Span outputs, const bfloat16* bias,
                    int64_t sample, int64_t samples, Dense<bfloat16> y) {
  const __mmask32 there = first(outputs.end - outputs.begin);
  __m512 added[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
  if (bias) {
    const Register read = _mm512_maskz_loadu_epi16(there, bias + outputs.begin);
    const __m256i half[2] = {_mm512_castsi512_si256(read), _mm512_extracti64x4_epi64(read, 1)};
    for (int i = 0; i < 2; ++i)
      added[i] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half[i]), 16));
  }
  for (int64_t tile = 0; tile < tiles; ++tile) {
    Register r[2][16];
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 16; ++j)
        r[i][j] = _mm512_load_si512(sums + (i * tiles + tile) * tile_bytes + 64 * j);
      transpose(r[i]);
    }
    const int64_t from = sample + tile * side;
    for (int64_t i = 0; i < smaller(side, samples - from); ++i) {
      const auto sum = [&](int half) { return _mm512_add_ps(_mm512_castsi512_ps(r[half][i]), added[half]); };
      _mm512_mask_storeu_epi16(y.data + (from + i) * y.pitch + outputs.begin, there,
                               (Register)_mm512_cvtne2ps_pbh(sum(1), sum(0)));
    }
  }
}
// dx of some inputs.
void finish_samples(const char* sums, int64_t tiles, Span inputs, int64_t sample, int64_t samples,
                    Dense<bfloat16> dx) {
  for (int64_t row = sample; row < smaller(sample + tiles * side, samples); ++row) {
    const char* from = sums + (row - sample) * 64;
    bfloat16* to = dx.data + row * dx.pitch;
    for (int64_t input = inputs.begin; input < inputs.end; input += side, from += tiles * tile_bytes) {
      const __m256i rounded = (__m256i)_mm512_cvtneps_pbh(_mm512_load_ps(from));
      const __mmask16 there = static_cast<__mmask16>(first(smaller(inputs.end - input, side)));
      _mm256_mask_storeu_epi16(to + input, there, in_order(rounded));
    }
  }
}

// How many tiles of samples meet the weights at once.
int64_t tiles_at_once(int64_t batch, int64_t length) {
  const int64_t most = larger(4, activations_bytes / (up(length, depth) * tile_bytes));
  return smaller(up(batch, side), most / 4 * 4);
}

// How much of the weights is laid out at a time: so many strips, and so many tiles of each.
struct Panel { int64_t strips, deep; };

// y or dx. `summed` is the length of what is summed over, `others` that of what is not.
template <bool Weights_first, class Lay_out, class Finish>
size_t multiply_by_tiles(Dense<const bfloat16> from, int64_t batch, int64_t summed, int64_t others,
                         Panel panel, int threads, Lay_out lay_out, Finish finish) {
  if (batch == 0 || others == 0) return 0;
  const int64_t at_once = tiles_at_once(batch, summed), levels = up(summed, depth);
  const int64_t deep = smaller(levels, panel.deep), count = panel.strips;
  const int64_t packed = levels * up(at_once, 2) * 2 * tile_bytes;
  const int64_t which_bytes = up(deep * sizeof(int32_t), 64) * 64;
  const int64_t strip_bytes = deep * tile_bytes + which_bytes;
  const int64_t each = count * (strip_bytes + at_once * tile_bytes) + up(count * sizeof(Strip), 64) * 64;
  const Room room(Memory::blocks, packed + threads * each);
  if (room.missing()) return room.missing();
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Units units;
    char* own = room.data + packed + omp_get_thread_num() * each;
    char* sums = own + count * strip_bytes;
    Strip* strips = reinterpret_cast<Strip*>(sums + count * at_once * tile_bytes);
    for (int64_t i = 0; i < count; ++i) {
      char* at = own + i * strip_bytes;
      strips[i] = {at, reinterpret_cast<int32_t*>(at + deep * tile_bytes), 0};
    }
    for (int64_t sample = 0; sample < batch; sample += at_once * side) {
      const int64_t tiles = smaller(at_once, up(batch - sample, side));
#pragma omp for schedule(static) collapse(2)
      for (int64_t tile = 0; tile < tiles; ++tile)
        for (int64_t level = 0; level < levels; ++level)
          (Weights_first ? pack_pairs : pack_rows)(from, sample + tile * side, batch, level * depth, summed,
                                                   room.data + place_of(tile, level, levels));
#pragma omp for schedule(dynamic)
      for (int64_t other = 0; other < others; other += count * side) {
        for (int64_t level = 0; level < levels; level += deep) {
          lay_out(other, level * depth, smaller((level + deep) * depth, summed), strips);
          for (int64_t i = 0; i < count && other + i * side < others; i += 2)
            add<Weights_first>(strips + i, room.data + level * 2 * tile_bytes, levels, tiles,
                               sums + i * tiles * tile_bytes, level == 0);
        }
        finish(sums, tiles, Span{other, smaller(other + count * side, others)}, sample);
      }
    }
  }
  return 0;
}

// Gradients of values of 16 outputs and 32 inputs: sums of two tiles, 16 inputs each.
inline void keep_gradients(const Bitmap& bitmap, const float (*sums)[16][16], int64_t row,
                           int64_t column, bfloat16* result) {
  for (int64_t r = 0; r < smaller(side, bitmap.rows - row); ++r) {
    const Places of = places(bitmap, row + r, column);
    if (!of.bits) continue;
    const Register rounded =
        (Register)_mm512_cvtne2ps_pbh(_mm512_load_ps(sums[1][r]), _mm512_load_ps(sums[0][r]));
    _mm512_mask_storeu_epi16(result + of.at, first(__builtin_popcount(of.bits)),
                             _mm512_maskz_compress_epi16(of.bits, rounded));
  }
}

}  // namespace

size_t amx_multiply(const Bitmap& bitmap, const bfloat16* values, const bfloat16* bias,
                    Dense<const bfloat16> x, int64_t batch, Dense<bfloat16> y, bool scattered,
                    int threads) {
  // Strips without an empty tile take turns at fewer activations, which stay near. Where most tiles are
  // empty, sums are loaded and stored too often for that.
  const int64_t most = scattered ? 8 : 2, words = scattered ? words_of_y / 2 : words_of_y;
  const int64_t count = smaller(2 * up(up(bitmap.rows, 2 * side), 2 * threads), most);
  return multiply_by_tiles<true>(
      x, batch, bitmap.columns, bitmap.rows, {count, 2 * words}, threads,
      [&](int64_t row, int64_t begin, int64_t end, Strip* strips) {
        for (int64_t i = 0; i < count; ++i) {
          const int64_t top = row + i * side;
          const bool exactly = at_the_end(bitmap, smaller(top + side, bitmap.rows));
          (exactly ? lay_out_rows<true> : lay_out_rows<false>)(bitmap, values, top, begin / word_places,
                                                               up(end, word_places), strips[i]);
        }
      },
      [&](const char* sums, int64_t tiles, Span outputs, int64_t sample) {
        for (int64_t o = outputs.begin; o < outputs.end; o += 2 * side, sums += 2 * tiles * tile_bytes)
          finish_outputs(sums, tiles, {o, smaller(o + 2 * side, outputs.end)}, bias, sample, batch, y);
      });
}

size_t amx_grad_input(const Bitmap& bitmap, const bfloat16* values, Dense<const bfloat16> dy,
                      int64_t batch, Dense<bfloat16> dx, int threads) {
  const int64_t words = smaller(up(bitmap.words, 2 * threads), words_of_dx);
  return multiply_by_tiles<false>(
      dy, batch, bitmap.rows, bitmap.columns, {4 * words, deep_of_dx}, threads,
      [&](int64_t column, int64_t begin, int64_t end, Strip* strips) {
        const int64_t word = column / word_places;
        const Span some{word, smaller(word + words, bitmap.words)};
        (at_the_end(bitmap, end) ? lay_out_columns<true> : lay_out_columns<false>)(bitmap, values, some, begin, end,
                                                                                   strips);
      },
      [&](const char* sums, int64_t tiles, Span inputs, int64_t sample) {
        finish_samples(sums, tiles, inputs, sample, batch, dx);
      });
}

size_t amx_grad_values(const Bitmap& bitmap, Dense<const bfloat16> dy, Dense<const bfloat16> x,
                       int64_t batch, bfloat16* result, int threads) {
  if (batch == 0) {
    for (int64_t i = 0; i < bitmap.starts[bitmap.rows]; ++i) result[i] = {};
    return 0;
  }
  const int64_t levels = up(batch, depth), row_tiles = up(bitmap.rows, side);
  const int64_t most = larger(2, activations_bytes / (levels * tile_bytes) / 2 * 2);
  const int64_t column_tiles = smaller(2 * up(bitmap.columns, depth), most);
  const int64_t of_dy = row_tiles * levels * tile_bytes, of_x = column_tiles * levels * tile_bytes;
  const Room room(Memory::blocks, of_dy + of_x);
  if (room.missing()) return room.missing();
  char *packed_dy = room.data, *packed_x = room.data + of_dy;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Units units;
#pragma omp for schedule(static) nowait
    for (int64_t tile = 0; tile < row_tiles; ++tile)
      for (int64_t level = 0; level < levels; ++level)
        pack_features(dy, level * depth, batch, tile * side, bitmap.rows,
                      packed_dy + (tile * levels + level) * tile_bytes);
    alignas(64) float sums[4][16][16];
    for (int64_t left = 0; left < bitmap.columns; left += column_tiles * side) {
      const int64_t right = smaller(left + column_tiles * side, bitmap.columns);
#pragma omp for schedule(static)
      for (int64_t tile = 0; tile < column_tiles; ++tile)
        for (int64_t level = 0; level < levels; ++level)
          pack_samples(x, level * depth, batch, left + tile * side, bitmap.columns,
                       packed_x + (tile * levels + level) * tile_bytes);
#pragma omp for schedule(dynamic)
      for (int64_t row = 0; row < bitmap.rows; row += 2 * side) {
        const char* of_rows = packed_dy + row / side * levels * tile_bytes;
        for (int64_t column = left; column < right; column += depth) {
          uint32_t any[2] = {};
          for (int64_t r = 0; r < smaller(2 * side, bitmap.rows - row); ++r)
            any[r / side] |= places(bitmap, row + r, column).bits;
          const char* of_columns = packed_x + (column - left) / side * levels * tile_bytes;
          const bool there[4] = {(any[0] & 0xffff) != 0, any[0] >> 16 != 0, (any[1] & 0xffff) != 0,
                                 any[1] >> 16 != 0};
          if (there[0] + there[1] + there[2] + there[3] > 2) {
            zero_tile<0>(), zero_tile<1>(), zero_tile<2>(), zero_tile<3>();
            for (int64_t level = 0; level < levels; ++level) {
              const char *a = of_rows + level * tile_bytes, *b = of_columns + level * tile_bytes;
              load_tile<4>(a);
              load_tile<6>(b);
              add_product<0, 4, 6>();
              load_tile<7>(b + levels * tile_bytes);
              add_product<1, 4, 7>();
              load_tile<5>(a + levels * tile_bytes);
              add_product<2, 5, 6>();
              add_product<3, 5, 7>();
            }
            store_tile<0>(sums[0]), store_tile<1>(sums[1]);
            store_tile<2>(sums[2]), store_tile<3>(sums[3]);
          } else {
            for (int i = 0; i < 4; ++i) {
              if (!there[i]) continue;
              const char* a = of_rows + i / 2 * levels * tile_bytes;
              const char* b = of_columns + i % 2 * levels * tile_bytes;
              zero_tile<0>();
              for (int64_t level = 0; level < levels; ++level) {
                load_tile<4>(a + level * tile_bytes);
                load_tile<5>(b + level * tile_bytes);
                add_product<0, 4, 5>();
              }
              store_tile<0>(sums[i]);
            }
          }
          if (any[0]) keep_gradients(bitmap, sums, row, column, result);
          if (any[1]) keep_gradients(bitmap, sums + 2, row + side, column, result);
        }
      }
    }
  }
  return 0;
}

}  // namespace sparsebench
