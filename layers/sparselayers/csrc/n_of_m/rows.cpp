// The products of some rows with a few of the batch: lanes hold connections, in the order of memory. What they
// meet is selected in registers of eight, so nothing is gathered.
#include <type_traits>

#include "simd.h"

#if !defined(__AVX2__)
#include "plain.h"
#else

#include "groups.h"
#include "sums.h"

namespace {

using sparsebench::NofM;

// What is to be read is fetched so many bytes ahead.
constexpr int64_t ahead_bytes = 1024;

template <int N, int M, class W>
void arrange(const NofM& layer, const W* from, float* to) {
  const int64_t count = layer.columns / Four::lanes;
  for (int64_t four = 0; four < count; ++four)
    Four::load(from + four * Four::lanes).store(to + arranged<N, M>(four));
  for (int64_t four = count; four < layer.turns() * 2 * met<N, M>; ++four)
    Four::zero().store(to + arranged<N, M>(four));
}
template <int N, int M, class W>
void restore(const NofM& layer, const float* from, W* to) {
  for (int64_t four = 0; four < layer.columns / Four::lanes; ++four)
    Four::load(from + arranged<N, M>(four)).store(to + four * Four::lanes);
}

// The first `count` lanes, by way of the stack: to store some lanes alone takes AMD's processors as long
// as twenty whole stores.
template <class W>
SB_INLINE void store_some(V v, W* to, int64_t count) {
  W aside[V::lanes];
  v.store(aside);
  for (int64_t i = 0; i < count; ++i) to[i] = aside[i];
}

// Calls body(turn, how many connections it has) for the turns of a row, all eight but for the last, maybe;
// `U` of them one after the other where there are so many.
template <int U, class Body>
SB_INLINE void in_turns(int64_t length, Body body) {
  const int64_t whole = length / V::lanes;
  int64_t turn = 0;
  for (; turn + U <= whole; turn += U) {
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) body(u, turn + u, std::integral_constant<int, V::lanes>{});
  }
  for (; turn < whole; ++turn) body(0, turn, std::integral_constant<int, V::lanes>{});
  if (turn * V::lanes < length) body(U - 1, turn, static_cast<int>(length - turn * V::lanes));
}
template <class W>
SB_INLINE V some_of(const W* from, std::integral_constant<int, V::lanes>) { return V::load(from); }
template <class W>
SB_INLINE V some_of(const W* from, int count) { return V::load(from, count); }

// terms[b] = the products of one row's values with what they meet, not added up yet.
template <int N, int M, int B, class W>
SB_INLINE void row_products(const NofM& layer, int64_t row, const W* values, const float* x,
                            V (&terms)[B]) {
  constexpr int U = B == 1 ? 4 : B == 2 ? 2 : 1;  // sums of their own: additions wait for each other
  const int64_t length = layer.length(), pitch = layer.pitch();
  const W* w = values + row * length;
  const uint32_t* places = layer.places + row * layer.turns();
  V partial[U][B];
  for (int u = 0; u < U; ++u)
    for (int b = 0; b < B; ++b) partial[u][b] = V::zero();
  in_turns<U>(length, [&](int u, int64_t turn, auto count) __attribute__((always_inline)) {
    if (u == 0)
      for (int64_t byte = 0; byte < int64_t{U * V::lanes * sizeof(W)}; byte += 64)
        __builtin_prefetch(reinterpret_cast<const char*>(w + turn * V::lanes) + ahead_bytes + byte);
    const V weight = some_of(w + turn * V::lanes, count);
    const Places at(places[turn]);
    const float* from = x + turn * (met<N, M> * V::lanes);
    for (int b = 0; b < B; ++b)
      partial[u][b].add_product(weight, select<N, M>(from + b * pitch, at));
  });
  for (int b = 0; b < B; ++b) {
    terms[b] = partial[0][b];
    for (int u = 1; u < U; ++u) terms[b] += partial[u][b];
  }
}

template <int N, int M, int B, class W>
void multiply(const NofM& layer, int64_t begin, int64_t end, const W* values, const W* bias,
              const float* x, W* y, int64_t y_pitch) {
  V terms[B][V::lanes];
  for (int b = 0; b < B; ++b)
    for (int i = 0; i < V::lanes; ++i) terms[b][i] = V::zero();
  for (int64_t first = begin; first < end; first += V::lanes) {
    const int64_t count = smaller<int64_t>(V::lanes, end - first);
    for (int64_t i = 0; i < count; ++i) {
      V found[B];
      row_products<N, M, B>(layer, first + i, values, x, found);
      for (int b = 0; b < B; ++b) terms[b][i] = found[b];
    }
    for (int b = 0; b < B; ++b) {
      V total = ::sums(terms[b]);
      if (bias) total += V::load(bias + first, static_cast<int>(count));
      store_some(total, y + b * y_pitch + first, count);
    }
  }
}

template <int N, int M, int B, bool Input, bool Values, class W>
SB_INLINE void backward_rows(const NofM& layer, int64_t begin, int64_t end, const W* values,
                             const uint32_t* sources, const float* dy, int64_t dy_pitch,
                             const float* x, float* dx, bool first, W* result) {
  const int64_t length = layer.length(), turns = layer.turns(), pitch = layer.pitch();
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t* places = layer.places + row * turns;
    const uint32_t* of_row = Input ? sources + row * turns : nullptr;
    V by[B];
    for (int b = 0; b < B; ++b) by[b] = V::fill(dy[b * dy_pitch + row]);
    in_turns<1>(length, [&](int, int64_t turn, auto count) __attribute__((always_inline)) {
      const int64_t at = row * length + turn * V::lanes, place = turn * (met<N, M> * V::lanes);
      if constexpr (Input) {
        __builtin_prefetch(reinterpret_cast<const char*>(values + at) + ahead_bytes);
        V spread_out[met<N, M>];
        spread<N, M>(some_of(values + at, count), of_row[turn], spread_out);
        for (int b = 0; b < B; ++b)
          for (int i = 0; i < met<N, M>; ++i) {
            float* to = dx + b * pitch + place + i * V::lanes;
            V sum = V::load(to);
            sum.add_product(by[b], spread_out[i]);
            sum.store(to);
          }
      }
      if constexpr (Values) {
        const Places from(places[turn]);
        V sum = by[0] * select<N, M>(x + place, from);
        for (int b = 1; b < B; ++b)
          sum.add_product(by[b], select<N, M>(x + b * pitch + place, from));
        if (!first) sum += some_of(result + at, count);
        if constexpr (std::is_same_v<decltype(count), int>) store_some(sum, result + at, count);
        else sum.store(result + at);
      }
    });
  }
}

template <int N, int M, int B, class W>
void backward(const NofM& layer, int64_t begin, int64_t end, const W* values,
              const uint32_t* sources, const float* dy, int64_t dy_pitch, const float* x, float* dx,
              bool first, W* result) {
  if (dx && result)
    backward_rows<N, M, B, true, true>(layer, begin, end, values, sources, dy, dy_pitch, x, dx,
                                       first, result);
  else if (dx)
    backward_rows<N, M, B, true, false>(layer, begin, end, values, sources, dy, dy_pitch, x, dx,
                                        first, result);
  else if (result)
    backward_rows<N, M, B, false, true>(layer, begin, end, values, sources, dy, dy_pitch, x, dx,
                                        first, result);
}

template <int N, int M, class W>
constexpr sparsebench::NofMLoops<W> loops_of() {
  return {arrange<N, M, W>,
          restore<N, M, W>,
          {multiply<N, M, 1, W>, multiply<N, M, 2, W>, multiply<N, M, 3, W>, multiply<N, M, 4, W>},
          {backward<N, M, 1, W>, backward<N, M, 2, W>, backward<N, M, 3, W>, backward<N, M, 4, W>}};
}
template <class W>
constexpr sparsebench::EachNofM<W> each() {
  return {loops_of<1, 4, W>(), loops_of<2, 4, W>(), loops_of<2, 8, W>(), loops_of<4, 8, W>()};
}

}  // namespace

#endif

const sparsebench::NofMLoopsOfAll sparsebench::SB_ISA::n_of_m = {each<float>(), each<bfloat16>()};
