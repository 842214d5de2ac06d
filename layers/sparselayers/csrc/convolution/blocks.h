// Blocks of output channels: planes that have the same offsets, four at a time. One load of pixels, which
// mostly lie across lines of the cache, serves four planes from registers, where otherwise each loads them
// by itself.
#pragma once

#include "runs.h"
#include "sums.h"

namespace {

using sparsebench::block_planes;

// to[g][lane] = bias[g] + Σ_p values[g][p] · x[offset p + lane] for R registers of each plane; values are
// `count` apart, and planes of the result `pitch`.
template <class V, int R, class T = typename V::Scalar>
void correlate_tile_of_block(const int32_t* offset, int64_t count, const T* values, const T* bias,
                             const T* x, T* to, int64_t pitch) {
  constexpr int G = block_planes, U = R == 1 ? 2 : 1;  // sums that need not wait for each other
  V sums[U][G][R];
  for (int u = 0; u < U; ++u)
    for (int g = 0; g < G; ++g)
      for (int r = 0; r < R; ++r) sums[u][g][r] = V::fill(u || !bias ? T(0) : bias[g]);
  const auto add = [&](V(&sum)[G][R], int64_t p) {
    const T* from = x + offset[p];
    V met[R];
    for (int r = 0; r < R; ++r) {
      met[r] = V::load(from + r * V::lanes);
      met[r].keep_in_register();
    }
    for (int g = 0; g < G; ++g) {
      const V weight = V::fill(values[g * count + p]);
      for (int r = 0; r < R; ++r) sum[g][r].add_product(weight, met[r]);
    }
  };
  int64_t p = 0;
  for (; p + U <= count; p += U)
    for (int u = 0; u < U; ++u) add(sums[u], p + u);
  for (; p < count; ++p) add(sums[0], p);
  for (int g = 0; g < G; ++g)
    for (int r = 0; r < R; ++r) {
      for (int u = 1; u < U; ++u) sums[0][g][r] += sums[u][g][r];
      sums[0][g][r].store(to + g * pitch + r * V::lanes);
    }
}

// A run of the planes of the block that begins with `plane`. What `written` and `read` name is fetched.
template <class V, class T = typename V::Scalar>
SB_INLINE void correlate_block(const Taps& taps, int64_t plane, const T* values, const T* bias,
                               const T* x, int64_t length, T* to, int64_t pitch,
                               Ahead<T> (&written)[block_planes], Ahead<T> read) {
  constexpr int most = max_tile / block_planes;
  const int64_t first = taps.ptr[plane], count = taps.ptr[plane + 1] - first;
  const int64_t registers = (length + V::lanes - 1) / V::lanes;
  const int64_t tiles = (registers + most - 1) / most;
  for (Ahead<T>& of : written) of.cut(tiles);
  read.cut(tiles);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t width = registers / tiles + (tile < registers % tiles);
    for (Ahead<T>& of : written) of.template fetch<1>();
    read.template fetch<0>();
    switch (width) {
#define SB_TILE(R) \
  case R: \
    if constexpr (R <= most) \
      correlate_tile_of_block<V, R>(taps.offset + first, count, values + first, \
                                    bias ? bias + plane : nullptr, x, to, pitch); \
    break;
      SB_TILE(1) SB_TILE(2) SB_TILE(3) SB_TILE(4)
#undef SB_TILE
    }
    x += width * V::lanes, to += width * V::lanes;
  }
}

// terms[g][at + i] = Σ dy[g][lane] · x[offset i + lane] over all lanes, for K connections of each plane.
template <class V, int K, class T = typename V::Scalar>
void correlate_group_of_block(const int32_t* offset, const T* x, const T* dy, int64_t pitch,
                              const Runs& runs, V (&terms)[block_planes][V::lanes], int at) {
  constexpr int N = V::lanes, G = block_planes;
  V sum[G][K];
  for (int g = 0; g < G; ++g)
    for (int k = 0; k < K; ++k) sum[g][k] = V::zero();
  for (int64_t run = 0; run < runs.count; ++run) {
    const int64_t first = run * runs.stride, last = first + runs.length;
    const auto add = [&](int64_t lane, auto load) __attribute__((always_inline)) {
      V met[K];
      for (int k = 0; k < K; ++k) {
        met[k] = load(x + offset[k] + lane);
        met[k].keep_in_register();
      }
      for (int g = 0; g < G; ++g) {
        const V y = load(dy + g * pitch + lane);
        for (int k = 0; k < K; ++k) sum[g][k].add_product(y, met[k]);
      }
    };
    int64_t lane = first;
    for (; lane + N <= last; lane += N) add(lane, [](const T* from) __attribute__((always_inline)) { return V::load(from); });
    const int rest = static_cast<int>(last - lane);  // what lies behind belongs to others, and may be NaN
    if (rest)
      add(lane, [rest](const T* from) __attribute__((always_inline)) { return V::load(from, rest); });
  }
  for (int g = 0; g < G; ++g)
    for (int k = 0; k < K; ++k) terms[g][at + k] = sum[g][k];
}

// result[g][p] += Σ dy[g][lane] · x[offset p + lane] for connections [begin, end) of a block's first plane, of
// which those of the others are `count` apart.
template <class V, class T = typename V::Scalar>
void grad_values_block(const Taps& taps, int64_t begin, int64_t end, int64_t count, const T* x,
                       const T* dy, int64_t pitch, const Runs& runs, T* result) {
  constexpr int N = V::lanes, K = max_tile == 16 ? 4 : 2;  // sums, dy and x fit the registers
  for (int64_t p = begin; p < end; p += N) {
    const int some = static_cast<int>(smaller<int64_t>(N, end - p));
    V terms[block_planes][N];
    for (auto& of_plane : terms)
      for (V& term : of_plane) term = V::zero();
    int k = 0;
    for (; k + K <= some; k += K)
      correlate_group_of_block<V, K>(taps.offset + p + k, x, dy, pitch, runs, terms, k);
    for (; k < some; ++k)
      correlate_group_of_block<V, 1>(taps.offset + p + k, x, dy, pitch, runs, terms, k);
    for (int g = 0; g < block_planes; ++g) {
      V total = sums(terms[g]);
      T* to = result + p + g * count;
      if (some == N) {
        total += V::load(to);
        total.store(to);
      } else {
        total += V::load(to, some);
        total.store(to, some);
      }
    }
  }
}

}  // namespace
