// The backward pass of tiny batches, where memory limits and not arithmetic: one pass over the
// connections for both products. dx is added up by scattering, so each thread has a dx of its own,
// and the transposed connectivity is not needed.
#pragma once

#include "passes.h"

namespace {

// dx[col] += values[p] · dy[row] and result[p] = dy[row] · x[col] from `begin` to `end`. Both x and dy
// may hold anything in lanes beyond `batch`, as dx may; those are not added to the result.
template <class V, bool Tail, bool Far, class W, class Index, class T = typename V::Scalar>
void scatter_rows(const Rows<Index>& rows, Cut begin, Cut end, const W* values,
                  Arranged<const T> dy, Arranged<const T> x, int batch, T* __restrict dx,
                  W* __restrict result) {
  constexpr int N = V::lanes;
  const int64_t connections = rows.ptr[rows.count];
  const auto load = [batch](const T* from) { return Tail ? V::load(from, batch) : V::load(from); };
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

// dx and the gradient of the values of a batch of one register at most. `workspace` has room for
// threads × features × unit numbers.
template <class W, class Index, class T = Compute<W>>
void backward_narrow(Rows<Index> rows, const W* values, Arranged<const T> dy, Arranged<const T> x,
                     int64_t batch, T* workspace, Activations<W> dx, W* result, W* grad_bias,
                     int threads) {
  const int64_t features = rows.features;
  const Blocks<T> blocks(batch);
  if (blocks.registers != 1) return;
  with_block(blocks, 0, [&](auto vector, auto) {
    using V = decltype(vector);
    const int64_t length = features * V::lanes;
    const auto run =
        is_far<V, 1>(features)
            ? batch < V::lanes ? scatter_rows<V, true, true, W, Index>
                               : scatter_rows<V, false, true, W, Index>
            : batch < V::lanes ? scatter_rows<V, true, false, W, Index>
                               : scatter_rows<V, false, false, W, Index>;
#pragma omp parallel num_threads(threads) if (threads > 1)
    {
      const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
      if (grad_bias) add_over_batch<W>(dy, batch, rows.count, true, grad_bias);
      T* own = workspace + part * length;
      for (int64_t i = 0; i < length; ++i) own[i] = 0;
      const Cut first = first_connection(rows, part, parts);
      const Cut last = first_connection(rows, part + 1, parts);
      if constexpr (V::lanes == 1)
        sparsebench::single_loads
            ? scatter_row_by_row<true>(rows, first, last, values, dy.data, x.data, own, result)
            : scatter_row_by_row<false>(rows, first, last, values, dy.data, x.data, own, result);
      else
        run(rows, first, last, values, dy, x, static_cast<int>(batch), own, result);
#pragma omp barrier
      const int64_t begin = features * part / parts, end = features * (part + 1) / parts;
      for (int64_t other = 1; other < parts; ++other)
        for (int64_t i = begin * V::lanes; i < end * V::lanes; ++i)
          workspace[i] += workspace[other * length + i];
      unpack_tile<V, W>({workspace + begin * V::lanes, V::lanes}, batch, end - begin,
                        {dx.data + begin * dx.feature_stride, dx.batch_stride, dx.feature_stride});
    }
  });
}

}  // namespace
