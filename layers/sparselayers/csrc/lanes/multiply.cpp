// y, and dx over the transpose: the rows of one tile times one arranged block of a batch.
#include "connections.h"
#include "gathers.h"
#include "multiply.h"

namespace {

// sums[r] += Σ_p values[p] · x[col p], U connections at a time with accumulators of their own, so
// that additions need not wait for each other.
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
SB_INLINE void row_product(V (&sums)[R], const Rows<Index>& rows, Features<Index> features,
                           int64_t begin, int64_t end, const W* values, Arranged<const T> x) {
  constexpr int U = R >= 4 ? 1 : R >= 2 ? 2 : 4;
  V partial[U][R];
  for (int r = 0; r < R; ++r) partial[0][r] = sums[r];
  for (int u = 1; u < U; ++u)
    for (int r = 0; r < R; ++r) partial[u][r] = V::zero();
  const int64_t last = rows.ptr[rows.count] - 1;
  const auto add = [&](V(&to)[R], int64_t p) {
    if constexpr (Far) fetch_feature<Transposed>(rows, values, x, p, last);
    const Term<T> at = term<Transposed>(rows, features, values, p);
    const V weight = V::fill(at.weight);
    const T* from = x.data + at.feature * x.pitch;
    for (int r = 0; r < R; ++r) to[r].add_product(weight, V::load(from + r * V::lanes));
  };
  int64_t p = begin;
  for (; p + U <= end; p += U) {
    if constexpr (R == 1) prefetch<Transposed>(rows, values, p + prefetch_connections);
    for (int u = 0; u < U; ++u) add(partial[u], p + u);
  }
  for (; p < end; ++p) add(partial[0], p);
  for (int r = 0; r < R; ++r) sums[r] = partial[0][r];
  for (int u = 1; u < U; ++u)
    for (int r = 0; r < R; ++r) sums[r] += partial[u][r];
}

// row_product for a batch of one.
template <bool Single, class W, class Index, class T>
SB_INLINE T dot_product(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                        const T* x) {
  using M = Met<T, Single>;
  using V = typename M::V;
  constexpr int N = M::lanes;
  V even = V::zero(), odd = V::zero();
  int64_t p = begin;
  for (; p + 2 * N <= end; p += 2 * N) {
    prefetch<false>(rows, values, p + prefetch_connections);
    if (N * sizeof(T) == line_bytes) prefetch<false>(rows, values, p + prefetch_connections + N);
    even.add_product(V::load(values + p), M::by(rows.col + p, x));
    odd.add_product(V::load(values + p + N), M::by(rows.col + p + N, x));
  }
  if (p + N <= end) {
    even.add_product(V::load(values + p), M::by(rows.col + p, x));
    p += N;
  }
  even += odd;
  T rest = 0;
  for (; p < end; ++p) rest += widened(values[p]) * x[rows.col[p]];
  return even.sum() + rest;
}

template <class W, class Index, class T>
SB_INLINE T dot_product(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                        const T* x) {
  return sparsebench::single_loads ? dot_product<true>(rows, begin, end, values, x)
                                   : dot_product<false>(rows, begin, end, values, x);
}

// One block of the batch times the rows of one tile.
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
void multiply_tile(const Rows<Index>& rows, const Tile<Index>& tile, Range range, const W* values,
                   const W* bias, Arranged<const T> x, Arranged<T> to, Activations<W> single) {
  constexpr bool one = V::lanes == 1;
  for (int64_t row = range.begin; row < range.end; ++row, to.data += to.pitch) {
    const int64_t begin = begin_of(rows, tile, row), end = end_of(rows, tile, row);
    if (begin == end && !tile.first && !(one && single.data)) continue;
    if (row + prefetch_rows < range.last) {
      prefetch<Transposed>(rows, values, begin_of(rows, tile, row + prefetch_rows));
      prefetch_bits(rows, tile, row + prefetch_rows);
      for (int r = 0; r < R; ++r) __builtin_prefetch(to.data + 2 * to.pitch + r * V::lanes, 1);
    }
    V sums[R];
    if (tile.first)
      for (int r = 0; r < R; ++r) sums[r] = V::fill(bias ? widened(bias[row]) : T(0));
    else
      for (int r = 0; r < R; ++r) sums[r] = V::load(to.data + r * V::lanes);
    if constexpr (one && !Transposed)
      sums[0].raw += dot_product(rows, begin, end, values, x.data);
    else
      row_product<V, R, Transposed, Far, W>(sums, rows, {rows, tile, row}, begin, end, values, x);
    if (one && single.data)
      keep(sums[0].raw[0], single.data[row * single.feature_stride]);
    else
      for (int r = 0; r < R; ++r) sums[r].store(to.data + r * V::lanes);
  }
}

// The same, of what is compiled for few numbers of registers: the others are taken apart, 7 into 4, 2
// and 1 of them.
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
void multiply_in_turns(const Rows<Index>& rows, const Tile<Index>& tile, Range range,
                       const W* values, const W* bias, Arranged<const T> x, Arranged<T> to,
                       Activations<W> single) {
  constexpr int first = !few_instances<Index> || R == 8 ? R : R >= 4 ? 4 : R >= 2 ? 2 : 1;
  multiply_tile<V, first, Transposed, Far, W>(rows, tile, range, values, bias, x, to, single);
  if constexpr (first < R)
    multiply_in_turns<V, R - first, Transposed, Far, W>(
        rows, tile, range, values, bias, {x.data + first * V::lanes, x.pitch},
        {to.data + first * V::lanes, to.pitch}, single);
}

template <class W, class Index>
struct Make {
  using Loop = typename sparsebench::Multiply<W, Index>::Loop;
  template <class V, int R>
  struct Of {
    static constexpr bool far = may_be_far<V, R, Index>();
    static constexpr Loop loop = {
        {multiply_in_turns<V, R, false, false, W, Index>,
         multiply_in_turns<V, R, true, false, W, Index>},
        {multiply_in_turns<V, R, false, far, W, Index>,
         multiply_in_turns<V, R, true, far, W, Index>}};
  };
  template <class V, int R>
  struct OfBits {
    static constexpr Loop loop = {{multiply_tile<V, R, false, false, W, Index>, nullptr},
                                  {multiply_tile<V, R, false, false, W, Index>, nullptr}};
  };
  static constexpr sparsebench::Multiply<W, Index> table() {
    if constexpr (by_bits<Index>) return {by_many<Loop, Compute<W>, OfBits>()};
    else return {by_width<Loop, Compute<W>, Of>()};
  }
};

}  // namespace

const sparsebench::OfAll<sparsebench::Multiply> sparsebench::SB_ISA::multiply =
    of_all<sparsebench::Multiply, Make>();
