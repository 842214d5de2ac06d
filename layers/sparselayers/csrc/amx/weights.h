// Tiles of the weight, laid out from its bits and values. For files that are compiled for CPUs with AMX alone.
#pragma once

#include "amx/tiles.h"

namespace sparsebench {

namespace {

// A row of the weight: its words, and where the values of each begin. Rows that have the same connections
// read the words of the first of them.
struct Row {
  const uint64_t* bits;
  const uint16_t* before;
  const bfloat16* values;
  Row() = default;
  Row(const Bitmap& bitmap, const bfloat16* of_layer, int64_t row, bool alike)
      : bits(bitmap.bits + (alike ? row / side * side : row) * bitmap.words),
        before(bitmap.before + (alike ? row / side * side : row) * bitmap.words),
        values(of_layer + bitmap.starts[row]) {}
};

// Which places of some words have a connection in any of the rows, or of every `step`th; whether one has.
inline bool any_of(const Bitmap& bitmap, Span rows, int64_t step, Span words, uint64_t* any) {
  const int64_t count = words.end - words.begin;
  if (count == 1) {
    uint64_t found = 0;
    for (int64_t r = rows.begin; r < rows.end; r += step) found |= bitmap.bits[r * bitmap.words + words.begin];
    any[0] = found;
    return found;
  }
  for (int64_t i = 0; i < count; ++i) any[i] = 0;
  for (int64_t r = rows.begin; r < rows.end; r += step)
    for (int64_t i = 0; i < count; ++i) any[i] |= bitmap.bits[r * bitmap.words + words.begin + i];
  uint64_t found = 0;
  for (int64_t i = 0; i < count; ++i) found |= any[i];
  return found;
}

// Half a word: which of its 32 places have a connection, and where in the row their values begin.
struct Places {
  uint32_t bits;
  int64_t at;
  Places(const Row& row, int64_t word, int half) {
    const uint64_t both = row.bits[word];
    const uint32_t low = static_cast<uint32_t>(both);
    bits = half ? static_cast<uint32_t>(both >> 32) : low;
    at = row.before[word] + (half ? __builtin_popcount(low) : 0);
  }
};

// 32 places, with zeros. Reads 32 values, however many are wanted, or (`Exactly`) only those.
template <bool Exactly>
inline Register laid_out(const Row& row, Places of) {
  const bfloat16* values = row.values + of.at;
  return _mm512_maskz_expand_epi16(
      of.bits, Exactly ? _mm512_maskz_loadu_epi16(first(__builtin_popcount(of.bits)), values)
                       : _mm512_loadu_si512(values));
}

// Whether 64 numbers from any value of the rows before `rows_end` on may reach beyond the last of a layer.
inline bool at_the_end(const Bitmap& bitmap, int64_t rows_end) {
  return bitmap.starts[rows_end] + 64 > bitmap.starts[bitmap.rows];
}

// Tiles of 16 outputs, or inputs, that have a connection: which of those that are summed over, one after another.
struct Strip {
  char* tiles;
  int32_t* which;
  int64_t count;
  char* end() const { return tiles + count * tile_bytes; }
};

// So many words are laid out at once, at most.
constexpr int64_t most_words = 64;

// 16 pairs of inputs × 16 outputs, of the words of inputs.
template <bool Alike, bool Exactly>
void lay_out_outputs(const Bitmap& bitmap, const bfloat16* values, int64_t top, Span words, Strip& strip) {
  strip.count = 0;
  const int64_t rows = smaller(side, bitmap.rows - top);
  if (rows <= 0) return;
  uint64_t all[most_words];
  if (!any_of(bitmap, {top, top + rows}, Alike ? side : 1, words, all)) return;
  Row row[side];
  for (int64_t r = 0; r < rows; ++r) row[r] = Row(bitmap, values, top + r, Alike);
  for (int64_t word = words.begin; word < words.end; ++word) {
    const uint64_t any = all[word - words.begin];
    if (!any) continue;
    for (int half = 0; half < 2; ++half) {
      if (!static_cast<uint32_t>(any >> 32 * half)) continue;
      Register r[side];
      const Places same(row[0], word, half);
      for (int64_t i = 0; i < side; ++i)
        r[i] = i < rows ? laid_out<Exactly>(row[i], Alike ? same : Places(row[i], word, half))
                        : _mm512_setzero_si512();
      transpose(r);
      store(strip.end(), r);
      strip.which[strip.count++] = static_cast<int32_t>(2 * (word - words.begin) + half);
    }
  }
}

// Four strips of 16 inputs for each of the words: tiles of 16 pairs of outputs × 16 inputs, of these outputs.
template <bool Alike, bool Exactly>
void lay_out_inputs(const Bitmap& bitmap, const bfloat16* values, Span words, Span outputs, Strip* strips) {
  for (int64_t i = 0; i < 4 * (words.end - words.begin); ++i) strips[i].count = 0;
  uint64_t any_of_next[most_words], all[most_words];
  // The next 32 outputs that have a connection. A row has a few lines here, far from those of the next: too
  // short for a processor to foresee them.
  const auto find = [&](int64_t top) {
    for (; top < outputs.end; top += depth) {
      const Span rows{top, smaller(top + depth, outputs.end)};
      if (!any_of(bitmap, rows, Alike ? side : 1, words, any_of_next)) continue;
      for (int64_t r = rows.begin; r < rows.end; ++r) {
        const Row row(bitmap, values, r, Alike);
        const char* from = reinterpret_cast<const char*>(row.values + row.before[words.begin]);
        const char* to = reinterpret_cast<const char*>(row.values + row.before[words.end - 1]);
        for (; from <= to; from += 64) _mm_prefetch(from, _MM_HINT_T0);
        if (words.end - words.begin == 1) _mm_prefetch(from, _MM_HINT_T0);
      }
      break;
    }
    return top;
  };
  for (int64_t next = find(outputs.begin); next < outputs.end;) {
    const int64_t top = next, rows = smaller(depth, outputs.end - top);
    for (int64_t i = 0; i < words.end - words.begin; ++i) all[i] = any_of_next[i];
    next = find(top + depth);
    Row row[depth];
    for (int64_t r = 0; r < rows; ++r) row[r] = Row(bitmap, values, top + r, Alike);
    for (int64_t word = words.begin; word < words.end; ++word) {
      Strip* four = strips + 4 * (word - words.begin);
      const uint64_t any = all[word - words.begin];
      if (!any) continue;
      for (int half = 0; half < 2; ++half) {
        const uint32_t some = static_cast<uint32_t>(any >> 32 * half);
        const bool left = some & 0xffff, right = some >> 16;
        if (!left && !right) continue;
        char *one = four[2 * half].end(), *other = four[2 * half + 1].end();
        const Places same[2] = {{row[0], word, half}, {row[rows > side ? side : 0], word, half}};
        const auto places = [&](int64_t r) {
          if (r >= rows) return _mm512_setzero_si512();
          return laid_out<Exactly>(row[r], Alike ? same[r / side] : Places(row[r], word, half));
        };
        for (int64_t r = 0; r < depth; r += 2) {
          const Pairs pairs(places(r), places(r + 1));
          if (left) _mm512_store_si512(one + 32 * r, pairs.left);
          if (right) _mm512_store_si512(other + 32 * r, pairs.right);
        }
        const int32_t which = static_cast<int32_t>((top - outputs.begin) / depth);
        if (left) four[2 * half].which[four[2 * half].count++] = which;
        if (right) four[2 * half + 1].which[four[2 * half + 1].count++] = which;
      }
    }
  }
}
}  // namespace

}  // namespace sparsebench
