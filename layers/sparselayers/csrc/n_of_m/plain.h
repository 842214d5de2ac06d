// Where registers have fewer than eight lanes: plain loops, the same for every N and M. What connections meet is
// loaded one by one, so samples are arranged as they are, with zeros behind the last.
#pragma once

#include "n_of_m.h"
#include "simd.h"

namespace {

using sparsebench::at_once;
using sparsebench::NofM;
using Four = Vector<float, 4>;

// Where the inputs of eight connections are among those that they meet.
struct Groups {
  int64_t met;          // inputs of eight connections
  int first[at_once];   // input of each one's group

  explicit SB_INLINE Groups(const NofM& layer) : met(at_once * layer.m / layer.n) {
    for (int i = 0; i < at_once; ++i) first[i] = static_cast<int>(i / layer.n * layer.m);
  }
  SB_INLINE int64_t input(uint32_t places, int i) const {
    return first[i] + static_cast<int64_t>(places >> 4 * i & 15);
  }
  SB_INLINE void inputs(uint32_t places, int64_t (&at)[at_once]) const {
    for (int i = 0; i < at_once; ++i) at[i] = input(places, i);
  }
};
SB_INLINE Four four_of(const float* x, const int64_t* at) {
  return {Four::Raw{x[at[0]], x[at[1]], x[at[2]], x[at[3]]}};
}

template <class W>
void arrange(const NofM& layer, const W* from, float* to) {
  int64_t k = 0;
  for (; k < layer.columns; k += Four::lanes) Four::load(from + k).store(to + k);
  for (; k < layer.turns() * Groups(layer).met; k += Four::lanes) Four::zero().store(to + k);
}
template <class W>
void restore(const NofM& layer, const float* from, W* to) {
  for (int64_t k = 0; k < layer.columns; k += Four::lanes) Four::load(from + k).store(to + k);
}

template <int B, class W>
void multiply(const NofM& layer, int64_t begin, int64_t end, const W* values, const W* bias,
              const float* x, W* y, int64_t y_pitch) {
  const Groups groups(layer);
  const int64_t length = layer.length(), whole = length / at_once, pitch = layer.pitch();
  const int rest = static_cast<int>(length % at_once);
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t* places = layer.places + row * layer.turns();
    const W* w = values + row * length;
    const float* from = x;
    Four sums[2][B];  // of the first and the last four of eight
    for (int b = 0; b < B; ++b) sums[0][b] = sums[1][b] = Four::zero();
    for (int64_t turn = 0; turn < whole; ++turn, w += at_once, from += groups.met) {
      int64_t at[at_once];
      groups.inputs(*places++, at);
      for (int half = 0; half < 2; ++half) {
        const Four weight = Four::load(w + half * Four::lanes);
        for (int b = 0; b < B; ++b)
          sums[half][b].add_product(weight, four_of(from + b * pitch, at + half * Four::lanes));
      }
    }
    for (int b = 0; b < B; ++b) {
      sums[0][b] += sums[1][b];
      float total = sums[0][b].sum();
      for (int i = 0; i < rest; ++i)
        total += widened(w[i]) * from[b * pitch + groups.input(*places, i)];
      keep(bias ? total + widened(bias[row]) : total, y[b * y_pitch + row]);
    }
  }
}

// dx += dy w of one row.
template <int B, class W>
SB_INLINE void add_to_inputs(const Groups& groups, int64_t length, const uint32_t* places,
                             const W* w, const float (&by)[B], float* dx, int64_t pitch) {
  const auto add = [&](int i, int64_t at) __attribute__((always_inline)) {
    const float weight = widened(w[i]);
    for (int b = 0; b < B; ++b) dx[b * pitch + at] += by[b] * weight;
  };
  for (int64_t turn = 0; turn < length / at_once; ++turn, w += at_once, dx += groups.met) {
    const uint32_t word = *places++;
    for (int i = 0; i < at_once; ++i) add(i, groups.input(word, i));
  }
  for (int i = 0; i < length % at_once; ++i) add(i, groups.input(*places, i));
}

// result (+)= dy x of one row.
template <int B, class W>
SB_INLINE void find_gradients(const Groups& groups, int64_t length, const uint32_t* places,
                              const float (&by)[B], const float* x, int64_t pitch, bool first,
                              W* result) {
  for (int64_t turn = 0; turn < length / at_once; ++turn, x += groups.met) {
    int64_t at[at_once];
    groups.inputs(*places++, at);
    for (int half = 0; half < 2; ++half, result += Four::lanes) {
      Four sum = first ? Four::zero() : Four::load(result);
      for (int b = 0; b < B; ++b)
        sum.add_product(Four::fill(by[b]), four_of(x + b * pitch, at + half * Four::lanes));
      sum.store(result);
    }
  }
  for (int i = 0; i < length % at_once; ++i) {
    float sum = first ? 0.0f : widened(result[i]);
    for (int b = 0; b < B; ++b) sum += by[b] * x[b * pitch + groups.input(*places, i)];
    keep(sum, result[i]);
  }
}

template <int B, class W>
void backward(const NofM& layer, int64_t begin, int64_t end, const W* values, const uint32_t*,
              const float* dy, int64_t dy_pitch, const float* x, float* dx, bool first, W* result) {
  const Groups groups(layer);
  const int64_t length = layer.length(), pitch = layer.pitch();
  for (int64_t row = begin; row < end; ++row) {
    const uint32_t* places = layer.places + row * layer.turns();
    float by[B];
    for (int b = 0; b < B; ++b) by[b] = dy[b * dy_pitch + row];
    if (dx) add_to_inputs<B>(groups, length, places, values + row * length, by, dx, pitch);
    if (result)
      find_gradients<B>(groups, length, places, by, x, pitch, first, result + row * length);
  }
}

template <class W>
constexpr sparsebench::EachNofM<W> each() {
  constexpr sparsebench::NofMLoops<W> loops = {
      arrange<W>,
      restore<W>,
      {multiply<1, W>, multiply<2, W>, multiply<3, W>, multiply<4, W>},
      {backward<1, W>, backward<2, W>, backward<3, W>, backward<4, W>}};
  return {loops, loops, loops, loops};
}

}  // namespace
