// Batches of a few rows, which memory bounds: they meet the weights as these are laid out, in
// registers, and both gradients come from one pass.
#include "places.h"
#include "sums.h"

namespace {

using namespace sparsebench;

constexpr int native_lanes = SB_VECTOR_BYTES / sizeof(float);
using V = Vector<float, native_lanes>;
constexpr int N = V::lanes;

// What is to be read is fetched: so many values ahead, or where words are a part of their rows, of the
// next row.
constexpr int64_t ahead = 512;
template <class W>
struct Coming {
  const W* values;
  const uint16_t* before;
  SB_INLINE Coming(const Bitmap& bitmap, int64_t row, Span words, const W* values) {
    const bool whole = words.end - words.begin == bitmap.words;
    const int64_t of = whole ? row : smaller(row + 1, bitmap.rows - 1);
    this->values = values + bitmap.starts[of] + (whole ? ahead : 0);
    before = bitmap.before + of * bitmap.words;
  }
  SB_INLINE void fetch(int64_t word) const { __builtin_prefetch(values + before[word]); }
};

// Where whole registers may not be read or written, a word goes by way of the stack, for the one loop
// there is over registers: of two the compiler would keep the bits in common, which are too many.

// Copies a few values without a call, which takes registers from y's loop however rare it is. (Both
// gradients' loop is faster with it.)
template <class W>
SB_INLINE void copy(const W* from, int64_t count, W* to) {
  for (int64_t k = 0; k < count; ++k) {
    to[k] = from[k];
    asm volatile("" ::: "memory");
  }
}

// terms[b] = the products of a row with x[b], not added up yet. A sum waits for the one before, so few
// of the batch have several each, but of narrow registers, which take longer to fill.
template <int B, class W>
SB_INLINE void row_products(const Bitmap& bitmap, int64_t row, Span words, const W* values,
                            Dense<const float> x, V (&terms)[B]) {
  constexpr int chains = B < 3 && N > 4 ? 2 : 1;
  const W *start = values + bitmap.starts[row], *last = values + bitmap.starts[bitmap.rows];
  const uint64_t* bits = bitmap.bits + row * bitmap.words;
  const uint16_t* before = bitmap.before + row * bitmap.words;
  V partial[chains][B];
  for (int c = 0; c < chains; ++c)
    for (int b = 0; b < B; ++b) partial[c][b] = V::zero();
  for (int64_t word = words.begin; word < words.end; ++word) {
    const float* meets = x.data + word * word_places;
    W room[reach<V>];
    const W* at = start + before[word];
    __builtin_prefetch(at + ahead);
    if (at + reach<V> > last) {
      copy(at, __builtin_popcountll(bits[word]), room);
      at = room;
    }
    for_registers<V>(bits + word, at, [&](int i, uint32_t some, const W* from) {
      const V weight = spread<V, false>(from, some);
      for (int b = 0; b < B; ++b)
        partial[i % chains][b].add_product(weight, V::load(meets + b * x.pitch + i * N));
    });
  }
  for (int b = 0; b < B; ++b) {
    terms[b] = partial[0][b];
    for (int c = 1; c < chains; ++c) terms[b] += partial[c][b];
  }
}

template <int B, class W>
void multiply_few(const Bitmap& bitmap, Span rows, Span words, const W* values,
                  Dense<const float> x, Dense<float> y) {
  for (int64_t top = rows.begin; top < rows.end; top += N) {
    V terms[B][N];
    for (int i = 0; i < N; ++i) {
      V found[B];
      row_products<B>(bitmap, smaller(top + i, rows.end - 1), words, values, x, found);
      for (int b = 0; b < B; ++b) terms[b][i] = found[b];
    }
    for (int b = 0; b < B; ++b) {
      V total = ::sums(terms[b]);
      float* to = y.data + b * y.pitch + top;
      if (words.begin) total += V::load(to);
      total.store(to);
    }
  }
}

// Of one register of a row: dx += dy w, and the gradients of its values, dy x, which are returned.
template <int B, bool Input, bool Weights, class Weight>
SB_INLINE V of_register(const V (&by)[B], int64_t column, Dense<const float> x, Dense<float> dx,
                        Weight weight) {
  if constexpr (Input) {
    const V w = weight();
    for (int b = 0; b < B; ++b) {
      float* to = dx.data + b * dx.pitch + column;
      V sum = V::load(to);
      sum.add_product(by[b], w);
      sum.store(to);
    }
  }
  V gradient = V::zero();
  if constexpr (Weights) {
    gradient = by[0] * V::load(x.data + column);
    for (int b = 1; b < B; ++b)
      gradient.add_product(by[b], V::load(x.data + b * x.pitch + column));
  }
  return gradient;
}

// What a register of gradients writes beyond its own is written after it: it belongs to words or to rows
// to come, whose own follow. But it must not be beyond these rows, nor, where words are a part of their
// rows, beyond the row.
template <int B, bool Input, bool Weights, class W>
void backward_few(const Bitmap& bitmap, Span rows, Span words, const W* values,
                  Dense<const float> dy, Dense<const float> x, Dense<float> dx, W* result) {
  const bool whole = words.end - words.begin == bitmap.words;
  for (int64_t row = rows.begin; row < rows.end; ++row) {
    V by[B];
    for (int b = 0; b < B; ++b) by[b] = V::fill(dy.data[b * dy.pitch + row]);
    const uint64_t* bits = bitmap.bits + row * bitmap.words;
    const uint16_t* before = bitmap.before + row * bitmap.words;
    const int64_t last = bitmap.starts[whole ? rows.end : row + 1];
    const Coming<W> coming(bitmap, row, words, values);
    for (int64_t word = words.begin; word < words.end; ++word) {
      const int64_t first = bitmap.starts[row] + before[word], column = word * word_places;
      const int count = __builtin_popcountll(bits[word]);
      const bool inside = first + count + N <= last;
      W room[reach<V>], aside[reach<V>];
      const W* from = nullptr;
      W* to = nullptr;
      if constexpr (Input) {
        coming.fetch(word);
        from = values + first;
        if (!inside) from = static_cast<W*>(__builtin_memcpy(room, from, count * sizeof(W)));
      }
      if constexpr (Weights) to = inside ? result + first : aside;
      for_registers<V>(bits + word, int64_t{0}, [&](int i, uint32_t some, int64_t at) {
        const V gradient = of_register<B, Input, Weights>(
            by, column + i * N, x, dx, [&] { return spread<V, false>(from + at, some); });
        if constexpr (Weights) gather_to(to + at, gradient, some);
      });
      if constexpr (Weights)
        if (!inside) __builtin_memcpy(result + first, aside, count * sizeof(W));
    }
  }
}

template <class W>
void add(const float* from, int64_t step, int64_t count, int64_t length, const W* also, W* to) {
  for (int64_t k = 0; k < length; k += N) {
    const int there = static_cast<int>(smaller<int64_t>(N, length - k));
    V total = V::load(from + k);
    for (int64_t i = 1; i < count; ++i) total += V::load(from + i * step + k);
    if (there == N) {
      if (also) total += V::load(also + k);
      total.store(to + k);
    } else {
      if (also) total += V::load(also + k, there);
      total.store(to + k, there);
    }
  }
}

template <class W>
constexpr BitmapFewLoops<W> loops_of() {
#define SB_BACKWARD(B)                                                            \
  {backward_few<B, true, false, W>, backward_few<B, false, true, W>,              \
   backward_few<B, true, true, W>}
  return {{multiply_few<1, W>, multiply_few<2, W>, multiply_few<3, W>, multiply_few<4, W>},
          {SB_BACKWARD(1), SB_BACKWARD(2), SB_BACKWARD(3), SB_BACKWARD(4)},
          add<W>};
#undef SB_BACKWARD
}

}  // namespace

const sparsebench::BitmapFewLoopsOfAll sparsebench::SB_ISA::bitmaps_few = {loops_of<float>(),
                                                                           loops_of<bfloat16>()};
