// The backward pass of tiny batches, where memory limits and not arithmetic: one pass over the
// connections for both products. dx is added up by scattering, so each thread has a dx of its own,
// and the transposed connectivity is not needed.
#include "gathers.h"
#include "narrow.h"
#include "prefetch.h"
#include "sums.h"

namespace {

using sparsebench::Cut;

// dx[col] += values[p] · dy[row] and result[p] = dy[row] · x[col] from `begin` to `end`. Both x and dy
// may hold anything in lanes beyond `batch`, as dx may; those are not added to the result.
template <class V, bool Tail, bool Far, class W, class Index, class T = typename V::Scalar>
void scatter_rows(const Rows<Index>& rows, Cut begin, Cut end, const W* values,
                  Arranged<const T> dy, Arranged<const T> x, int64_t batch, T* __restrict dx,
                  W* __restrict result) {
  constexpr int N = V::lanes;
  const int64_t connections = rows.ptr[rows.count];
  const int count = static_cast<int>(batch);
  const auto load = [count](const T* from) { return Tail ? V::load(from, count) : V::load(from); };
  for (int64_t row = begin.row; row < rows.count && rows.ptr[row] < end.connection; ++row) {
    const V y = load(dy.data + row * dy.pitch);
    const auto both = [&](int64_t p) {
      const int64_t feature = rows.col[p];
      if constexpr (Far) {
        const int64_t next = rows.col[smaller(p + far_connections, connections - 1)];
        __builtin_prefetch(x.data + next * x.pitch);
        __builtin_prefetch(dx + next * N, 1);
      }
      V sum = V::load(dx + feature * N);
      sum.add_product(V::fill(widened(values[p])), y);
      sum.store(dx + feature * N);
      V product = V::zero();
      product.add_product(y, load(x.data + feature * x.pitch));
      return product;
    };
    int64_t p = larger<int64_t>(rows.ptr[row], begin.connection);
    const int64_t stop = smaller<int64_t>(rows.ptr[row + 1], end.connection);
    for (; p + N <= stop; p += N) {
      prefetch<false>(rows, values, p + prefetch_connections);
      V terms[N];
      for (int i = 0; i < N; ++i) terms[i] = both(p + i);
      sums(terms).store(result + p);
    }
    for (; p < stop; ++p) keep(both(p).sum(), result[p]);
  }
}

// The same for a batch of one, where lanes hold connections: those of a row meet different features.
template <bool Single, class W, class Index, class T>
SB_INLINE void scatter_row_by_row(const Rows<Index>& rows, Cut begin, Cut end, const W* values,
                                  const T* dy, const T* x, T* __restrict dx,
                                  W* __restrict result) {
  using M = Met<T, Single>;
  using V = typename M::V;
  for (int64_t row = begin.row; row < rows.count && rows.ptr[row] < end.connection; ++row) {
    const T y = dy[row];
    int64_t p = larger<int64_t>(rows.ptr[row], begin.connection);
    const int64_t stop = smaller<int64_t>(rows.ptr[row + 1], end.connection);
    for (; p + V::lanes <= stop; p += V::lanes) {
      prefetch<false>(rows, values, p + prefetch_connections);
      (V::fill(y) * M::by(rows.col + p, x)).store(result + p);
      for (int i = 0; i < V::lanes; ++i) dx[rows.col[p + i]] += widened(values[p + i]) * y;
    }
    for (; p < stop; ++p) {
      keep(y * x[rows.col[p]], result[p]);
      dx[rows.col[p]] += widened(values[p]) * y;
    }
  }
}


template <class W, class Index, class T = Compute<W>>
void scatter_one(const Rows<Index>& rows, Cut begin, Cut end, const W* values, Arranged<const T> dy,
                 Arranged<const T> x, int64_t, T* dx, W* result) {
  sparsebench::single_loads
      ? scatter_row_by_row<true>(rows, begin, end, values, dy.data, x.data, dx, result)
      : scatter_row_by_row<false>(rows, begin, end, values, dy.data, x.data, dx, result);
}

template <class W, class Index>
struct Make {
  using Loop = typename sparsebench::Narrow<W, Index>::Loop;
  template <class V, int>
  struct Of {
    static constexpr Loop make() {
      constexpr bool far = may_be_far<V, 1, Index>();
      if constexpr (V::lanes == 1)
        return {{scatter_one<W, Index>, scatter_one<W, Index>}, {}};
      else
        return {{scatter_rows<V, false, false, W, Index>, scatter_rows<V, true, false, W, Index>},
                {scatter_rows<V, false, far, W, Index>, scatter_rows<V, true, far, W, Index>}};
    }
    static constexpr Loop loop = make();
  };
  static constexpr sparsebench::Narrow<W, Index> table() {
    if constexpr (by_bits<Index>) return {};
    else return {by_unit<Loop, Compute<W>, Of>()};
  }
};

}  // namespace

const sparsebench::OfAll<sparsebench::Narrow> sparsebench::SB_ISA::narrow =
    of_all<sparsebench::Narrow, Make>();
