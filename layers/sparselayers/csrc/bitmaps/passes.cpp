#include "passes.h"

#include <algorithm>
#include <type_traits>

#include "scratch.h"
#include "spans.h"

namespace sparsebench {

const BitmapLoopsOfAll* bitmap_loops = nullptr;

namespace {

template <class W>
const BitmapLoops<W>& loops() {
  if constexpr (std::is_same_v<W, float>) return bitmap_loops->f32;
  else return bitmap_loops->bf16;
}

}  // namespace

template <class W>
size_t multiply(const Bitmap& bitmap, const W* values, const W* bias, Dense<const W> x,
                int64_t batch, Dense<W> y, int threads) {
  if (batch == 0) return 0;
  const int64_t each = multiply_room(batch);
  const Room room(Memory::panels, threads * each * sizeof(float));
  if (room.missing()) return room.missing();
  in_spans(bitmap.rows, tile_rows, part_rows, threads, [&](Span rows, int thread) {
    loops<W>().multiply(bitmap, rows, values, bias, x, batch, y,
                        reinterpret_cast<float*>(room.data) + thread * each);
  });
  return 0;
}

template <class W>
size_t grad_input(const Bitmap& bitmap, const W* values, Dense<const W> dy, int64_t batch,
                  Dense<W> dx, int threads) {
  if (batch == 0) return 0;
  const int64_t each = grad_input_room(batch);
  const Room room(Memory::panels, threads * each * sizeof(float));
  if (room.missing()) return room.missing();
  in_spans(bitmap.words, 1, words_at_once(batch), threads, [&](Span words, int thread) {
    loops<W>().grad_input(bitmap, words, values, dy, batch, dx,
                          reinterpret_cast<float*>(room.data) + thread * each);
  });
  return 0;
}

template <class W>
size_t grad_values(const Bitmap& bitmap, Dense<const W> dy, Dense<const W> x, int64_t batch,
                   W* result, int threads) {
  if (batch == 0) {
    std::fill_n(result, bitmap.starts[bitmap.rows], W{});
    return 0;
  }
  const int64_t each = grad_values_room(batch);
  const Room room(Memory::panels, threads * each * sizeof(float));
  if (room.missing()) return room.missing();
  in_spans(bitmap.rows, tile_rows, part_rows, threads, [&](Span rows, int thread) {
    loops<W>().grad_values(bitmap, rows, dy, x, batch, result,
                           reinterpret_cast<float*>(room.data) + thread * each);
  });
  return 0;
}

template <class W>
void expand(const Bitmap& bitmap, Span rows, Span words, const W* values, Dense<W> to, int threads) {
  in_spans(rows.end - rows.begin, 1, part_rows, threads, [&](Span some, int) {
    loops<W>().expand(bitmap, {rows.begin + some.begin, rows.begin + some.end}, words, values,
                      {to.data + some.begin * to.pitch, to.pitch});
  });
}

template <class W>
void compress(const Bitmap& bitmap, Span rows, Dense<const W> from, W* values, int threads) {
  in_spans(rows.end - rows.begin, 1, part_rows, threads, [&](Span some, int) {
    loops<W>().compress(bitmap, {rows.begin + some.begin, rows.begin + some.end},
                        {from.data + some.begin * from.pitch, from.pitch}, values);
  });
}

template <class W>
bool all_finite(Dense<const W> x, int64_t rows, int64_t columns) {
  using Bits = std::conditional_t<sizeof(W) == 4, uint32_t, uint16_t>;
  constexpr Bits exponent = sizeof(W) == 4 ? 0x7f800000u : 0x7f80u;
  Bits found = 0;
  for (int64_t row = 0; row < rows; ++row) {
    const char* at = reinterpret_cast<const char*>(x.data + row * x.pitch);
    for (int64_t column = 0; column < columns; ++column) {
      Bits bits;
      __builtin_memcpy(&bits, at + column * sizeof bits, sizeof bits);
      found |= static_cast<Bits>((bits & exponent) == exponent);
    }
  }
  return !found;
}

void fill(const Bitmap& shape, const int32_t* ptr, const int32_t* col, uint64_t* bits,
          uint16_t* before, int threads) {
  in_spans(shape.rows, 1, part_rows, threads, [&](Span rows, int) {
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      uint64_t* words = bits + row * shape.words;
      std::fill_n(words, shape.words, uint64_t{0});
      for (int32_t p = ptr[row]; p < ptr[row + 1]; ++p)
        words[col[p] / word_places] |= uint64_t{1} << col[p] % word_places;
      int64_t total = 0;
      for (int64_t word = 0; word < shape.words; ++word) {
        before[row * shape.words + word] = static_cast<uint16_t>(total);
        total += __builtin_popcountll(words[word]);
      }
    }
  });
}

#define SB_PASSES(W)                                                                           \
  template size_t multiply(const Bitmap&, const W*, const W*, Dense<const W>, int64_t, Dense<W>, \
                           int);                                                               \
  template size_t grad_input(const Bitmap&, const W*, Dense<const W>, int64_t, Dense<W>, int); \
  template size_t grad_values(const Bitmap&, Dense<const W>, Dense<const W>, int64_t, W*, int); \
  template bool all_finite(Dense<const W>, int64_t, int64_t);                                  \
  template void expand(const Bitmap&, Span, Span, const W*, Dense<W>, int);                          \
  template void compress(const Bitmap&, Span, Dense<const W>, W*, int);
SB_PASSES(float)
SB_PASSES(bfloat16)

}  // namespace sparsebench
