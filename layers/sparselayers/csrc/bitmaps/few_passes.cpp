// A few rows, shared out between threads.
#include <algorithm>
#include <type_traits>

#include "passes.h"
#include "scratch.h"
#include "spans.h"

namespace sparsebench {

const BitmapFewLoopsOfAll* bitmap_few_loops = nullptr;

namespace {

template <class W>
const BitmapFewLoops<W>& loops() {
  if constexpr (std::is_same_v<W, float>) return bitmap_few_loops->f32;
  else return bitmap_few_loops->bf16;
}

// Whole registers at the end of `length`, and rows a power of two long share few lines of the cache.
constexpr int64_t pitch_of(int64_t length) {
  return (length + word_places - 1) / word_places * word_places + 16;
}

uint32_t bits_of(float number) {
  uint32_t bits;
  __builtin_memcpy(&bits, &number, sizeof bits);
  return bits;
}
uint32_t bits_of(bfloat16 number) { return uint32_t{number.bits} << 16; }

// Copies a batch of a few rows as floats, with zeros up to the pitch. Returns whether all are finite.
template <class W>
bool take(Strided<W> from, int64_t batch, int64_t length, Dense<float> to) {
  constexpr uint32_t exponent = 0x7f800000u;
  uint32_t found = 0;
  for (int64_t row = 0; row < batch; ++row) {
    float* copy = to.data + row * to.pitch;
    const auto copy_from = [&](const W* of, int64_t stride) {
      for (int64_t k = 0; k < length; ++k) {
        const uint32_t bits = bits_of(of[k * stride]);
        found |= (bits & exponent) == exponent;
        __builtin_memcpy(copy + k, &bits, sizeof bits);
      }
    };
    const W* of = from.data + row * from.row_stride;
    if (from.column_stride == 1) copy_from(of, 1);
    else copy_from(of, from.column_stride);
    std::fill(copy + length, copy + to.pitch, 0.0f);
  }
  return !found;
}

// Of a part, at least, so that a dx of its own is the lesser work; sums are written so many at a time.
constexpr int64_t rows_of_a_part = 16;

// Calls body(words) for as many words at once as stay in L1 with `matrices` of the batch.
template <class Body>
void in_words(const Bitmap& bitmap, int64_t batch, int64_t matrices, Body body) {
  const int64_t at_once = few_words(batch, matrices);
  for (int64_t word = 0; word < bitmap.words; word += at_once)
    body(Span{word, std::min(word + at_once, bitmap.words)});
}

}  // namespace

template <class W>
size_t multiply_few(const Bitmap& bitmap, const W* values, const W* bias, Strided<W> x,
                    int64_t batch, W* y, int threads, bool& finite) {
  const int64_t pitch = pitch_of(bitmap.columns), y_pitch = pitch_of(bitmap.rows);
  const Room room(Memory::few, batch * (pitch + y_pitch) * sizeof(float));
  if (room.missing()) return room.missing();
  float *xs = reinterpret_cast<float*>(room.data), *sums = xs + batch * pitch;
  finite = take(x, batch, bitmap.columns, {xs, pitch});
  if (!finite) return 0;
  const auto multiply = loops<W>().multiply[batch - 1];
  const int64_t most = std::max(bitmap.rows, rows_of_a_part);
  in_spans(bitmap.rows, rows_of_a_part, most, threads, [&](Span rows, int) {
    in_words(bitmap, batch, 1, [&](Span words) {
      multiply(bitmap, rows, words, values, {xs, pitch}, {sums, y_pitch});
    });
    for (int64_t b = 0; b < batch; ++b)
      loops<W>().add(sums + b * y_pitch + rows.begin, 0, 1, rows.end - rows.begin,
                     bias ? bias + rows.begin : nullptr, y + b * bitmap.rows + rows.begin);
  });
  return 0;
}

template <class W>
size_t backward_few(const Bitmap& bitmap, const W* values, Strided<W> dy, Strided<W> x,
                    int64_t batch, W* dx, W* grad_values, W* grad_bias, int threads, bool& finite) {
  const int64_t pitch = pitch_of(bitmap.columns), dy_pitch = pitch_of(bitmap.rows);
  const int64_t each = batch * pitch;
  // Every part of the rows has a dx of its own, and these are added up in order.
  const int64_t parts =
      threads == 1 ? 1 : std::clamp<int64_t>(bitmap.rows / rows_of_a_part, 1, 2 * threads);
  const Room room(Memory::few,
                  (batch * dy_pitch + (grad_values ? each : 0) + (dx ? parts * each : 0)) *
                      sizeof(float));
  if (room.missing()) return room.missing();
  float *dys = reinterpret_cast<float*>(room.data), *xs = dys + batch * dy_pitch;
  float* own = xs + (grad_values ? each : 0);
  finite = take(dy, batch, bitmap.rows, {dys, dy_pitch}) || !dx;
  if (!finite) return 0;
  if (grad_bias) loops<W>().add(dys, dy_pitch, batch, bitmap.rows, nullptr, grad_bias);
  if (!dx && !grad_values) return 0;
  if (grad_values) take(x, batch, bitmap.columns, {xs, pitch});
  const auto backward = loops<W>().backward[batch - 1][(dx ? 1 : 0) + (grad_values ? 2 : 0) - 1];
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (parts > 1)
  for (int64_t part = 0; part < parts; ++part) {
    const Span rows{bitmap.rows * part / parts, bitmap.rows * (part + 1) / parts};
    float* of_part = dx ? own + part * each : nullptr;
    if (dx) std::fill_n(of_part, each, 0.0f);
    in_words(bitmap, batch, 2, [&](Span words) {
      backward(bitmap, rows, words, values, {dys, dy_pitch}, {xs, pitch}, {of_part, pitch},
               grad_values);
    });
  }
  if (dx)
    for (int64_t b = 0; b < batch; ++b)
      loops<W>().add(own + b * pitch, each, parts, bitmap.columns, nullptr,
                     dx + b * bitmap.columns);
  return 0;
}

#define SB_FEW(W)                                                                               \
  template size_t multiply_few(const Bitmap&, const W*, const W*, Strided<W>, int64_t, W*, int, \
                               bool&);                                                          \
  template size_t backward_few(const Bitmap&, const W*, Strided<W>, Strided<W>, int64_t, W*,    \
                               W*, W*, int, bool&);
SB_FEW(float)
SB_FEW(bfloat16)

}  // namespace sparsebench
