// Moving activations between PyTorch's layouts and the arranged one (blocks.h), tile by tile in
// registers; the gradient of the bias.
#include "pack.h"
#include "transpose.h"
#include "widths.h"

namespace {

using sparsebench::strip_features;

// to[feature * pitch + row] = from[row, feature].
template <class V, class W, class T = typename V::Scalar>
void pack_tile(Activations<const W> from, int64_t batch, int64_t features,
                         Arranged<T> to) {
  constexpr int N = V::lanes;
  for (int64_t lane = 0; lane < batch; lane += N) {
    const int rows = static_cast<int>(smaller<int64_t>(N, batch - lane));
    const W* source = from.data + lane * from.batch_stride;
    T* target = to.data + lane;
    int64_t feature = 0;
    if (from.feature_stride == 1) {
      for (; feature + N <= features; feature += N) {
        V tile[N];
        for (int i = 0; i < N; ++i)
          tile[i] = i < rows ? V::load(source + i * from.batch_stride + feature) : V::zero();
        transpose(tile);
        for (int i = 0; i < N; ++i) tile[i].store(target + (feature + i) * to.pitch);
      }
    } else if (from.batch_stride == 1 && rows == N) {
      for (; feature < features; ++feature)
        V::load(source + feature * from.feature_stride).store(target + feature * to.pitch);
    }
    for (; feature < features; ++feature)
      for (int i = 0; i < rows; ++i)
        target[feature * to.pitch + i] =
            widened(source[i * from.batch_stride + feature * from.feature_stride]);
  }
}

// How many elements before `to` reaches the start of a line.
template <class W>
SB_INLINE int64_t before_line(const W* to) {
  constexpr uintptr_t line = 64;
  return static_cast<int64_t>((line - reinterpret_cast<uintptr_t>(to) % line) % line / sizeof(W));
}

// The way back: to[row, feature] = from[feature * pitch + row].
template <class V, class W, class T = typename V::Scalar>
void unpack_tile(Arranged<const T> from, int64_t batch, int64_t features, Activations<W> to) {
  constexpr int N = V::lanes;
  for (int64_t lane = 0; lane < batch; lane += N) {
    const int rows = static_cast<int>(smaller<int64_t>(N, batch - lane));
    const T* source = from.data + lane;
    W* target = to.data + lane * to.batch_stride;
    int64_t feature = 0;
    if (N > 1 && to.feature_stride == 1) {
      T strip[N][strip_features];
      const int64_t head = before_line(target);
      while (feature < features) {
        const int64_t most = feature == 0 && head > 0 ? head : strip_features;
        const int64_t count = smaller(most, features - feature), full = count / N * N;
        const int rest = static_cast<int>(count - full);
        V tile[N];
        for (int64_t f = 0; f < full; f += N) {
          for (int i = 0; i < N; ++i) tile[i] = V::load(source + (feature + f + i) * from.pitch);
          transpose(tile);
          for (int i = 0; i < N; ++i) tile[i].store(&strip[i][f]);
        }
        if (rest > 0) {
          for (int i = 0; i < N; ++i)
            tile[i] = i < rest ? V::load(source + (feature + full + i) * from.pitch) : V::zero();
          transpose(tile);
        }
        for (int i = 0; i < rows; ++i) {
          W* row = target + i * to.batch_stride + feature;
          for (int64_t f = 0; f < full; f += N) V::load(&strip[i][f]).store(row + f);
          if (rest > 0) tile[i].store(row + full, rest);
        }
        feature += count;
      }
    } else if (to.batch_stride == 1 && rows == N) {
      for (; feature < features; ++feature)
        V::load(source + feature * from.pitch).store(target + feature * to.feature_stride);
    }
    for (; feature < features; ++feature)
      for (int i = 0; i < rows; ++i)
        keep(source[feature * from.pitch + i],
             target[i * to.batch_stride + feature * to.feature_stride]);
  }
}

// result[feature] (+)= Σ over the batch.
template <class W, class T = Compute<W>>
void add_over_batch(Arranged<const T> x, int64_t batch, int64_t features, bool first, W* result) {
  using V = Vector<T, native<T>>;
  for (int64_t feature = 0; feature < features; ++feature) {
    const T* from = x.data + feature * x.pitch;
    V total = V::zero();
    int64_t lane = 0;
    for (; lane + V::lanes <= batch; lane += V::lanes) total += V::load(from + lane);
    if (lane < batch) total += V::load(from + lane, static_cast<int>(batch - lane));
    keep(total.sum() + (first ? T(0) : widened(result[feature])), result[feature]);
  }
}

template <class T>
void clear(T* numbers, int64_t count) {
  for (int64_t i = 0; i < count; ++i) numbers[i] = 0;
}

template <class T>
void add(T* __restrict to, const T* __restrict from, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] += from[i];
}

template <class W>
struct Make {
  using T = Compute<W>;
  using Loop = typename sparsebench::Packing<W>::Loop;
  template <class V, int>
  struct Of {
    static constexpr Loop loop = {pack_tile<V, W>, unpack_tile<V, W>};
  };
  static constexpr sparsebench::Packing<W> table() {
    return {by_unit<Loop, T, Of>(), add_over_batch<W>, clear<T>, add<T>};
  }
};

}  // namespace

const sparsebench::PackingOfAll sparsebench::SB_ISA::packing = {
    Make<float>::table(), Make<double>::table(), Make<bfloat16>::table()};
