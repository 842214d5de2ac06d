// The gradient of the values: the rows of one tile over one arranged block of a batch.
#include "connections.h"
#include "first_lanes.h"
#include "gradient.h"
#include "sums.h"

namespace {

// result[p] (+)= Σ dy[row p] · x[col p]. `Tail`: the last register is not full, and what lies behind
// the batch must not be added (it may be NaN). R = 0: of any number of registers, which reads dy's
// row anew for each connection.
template <class V, int R, bool Tail, bool Far, class W, class Index,
          class T = typename V::Scalar>
void gradient_tile(const Rows<Index>& rows, const Tile<Index>& tile, Range range,
                   Arranged<const T> dy, Arranged<const T> x, int64_t batch, bool first,
                   W* result) {
  constexpr int N = V::lanes;
  const int registers = R ? R : static_cast<int>((batch + N - 1) / N);
  const int rest = static_cast<int>(batch - (registers - 1) * N);
  constexpr bool masked = masks_cost_nothing<V>;  // one loop serves full registers too
  const auto load = [=](const T* from, int r) {
    return Tail && !masked && r == registers - 1 ? V::load(from + r * N, rest)
                                                 : V::load(from + r * N);
  };
  const int64_t last = rows.ptr[rows.count] - 1;
  for (int64_t row = range.begin; row < range.end; ++row) {
    const T* from_y = dy.data + row * dy.pitch;
    if (row + prefetch_rows < range.last) {
      const int64_t ahead = begin_of(rows, tile, row + prefetch_rows);
      if constexpr (by_bits<Index>) prefetch_bits(rows, tile, row + prefetch_rows);
      else __builtin_prefetch(rows.col + ahead);
      __builtin_prefetch(result + ahead, 1);
      for (int r = 0; r < registers; ++r) __builtin_prefetch(from_y + 2 * dy.pitch + r * N);
    }
    int64_t p = begin_of(rows, tile, row);
    const int64_t stop = end_of(rows, tile, row);
    if (p == stop) continue;
    const int64_t row_end = rows.ptr[row + 1];
    Features<Index> features(rows, tile, row);
    V y[R ? R : 1];
    for (int r = 0; r < R; ++r) y[r] = load(from_y, r);
    const auto dot = [&](int64_t at) {
      if constexpr (Far) fetch_feature<false>(rows, result, x, at, last);
      const T* from = x.data + features.of(at) * x.pitch;
      V total = V::zero();
      for (int r = 0; r < registers; ++r) {
        if constexpr (masked)
          if (r == registers - 1) {
            add_first(total, R ? y[r] : load(from_y, r), load(from, r), rest);
            break;
          }
        total.add_product(R ? y[r] : load(from_y, r), load(from, r));
      }
      return total;
    };
    while (p < stop) {
      const int count = static_cast<int>(smaller<int64_t>(N, stop - p));
      V terms[N];
      for (int i = 0; i < N; ++i) terms[i] = V::zero();
#pragma GCC unroll 16
      for (int i = 0; i < N; ++i) {
        if (i >= count) break;
        terms[i] = dot(p + i);
      }
      V total = sums(terms);
      // Behind the last of a tile comes what the next tile of the row will compute, to which zeros add
      // nothing: to store some lanes alone takes AMD's processors as long as twenty whole stores.
      const bool whole = p + N <= row_end;
      if (!first) total += whole ? V::load(result + p) : V::load(result + p, count);
      if (whole) total.store(result + p); else total.store(result + p, count);
      p += count;
    }
  }
}

template <class W, class Index>
struct Make {
  using Loop = typename sparsebench::Gradient<W, Index>::Loop;
  template <class V, int R>
  struct Of {
    static constexpr bool far = may_be_far<V, R, Index>(), tail = V::lanes > 1;
    static constexpr bool full = masks_cost_nothing<V>;  // the instance for others serves
    static constexpr int own = few_instances<Index> ? 0 : R;
    static constexpr Loop loop = {
        {gradient_tile<V, own, full, false, W, Index>,
         gradient_tile<V, own, tail, false, W, Index>},
        {gradient_tile<V, own, full, far, W, Index>,
         gradient_tile<V, own, tail, far, W, Index>}};
  };
  static constexpr sparsebench::Gradient<W, Index> table() {
    if constexpr (by_bits<Index>) return {by_many<Loop, Compute<W>, Of>()};
    else return {by_width<Loop, Compute<W>, Of>()};
  }
};

}  // namespace

const sparsebench::OfAll<sparsebench::Gradient> sparsebench::SB_ISA::gradient =
    of_all<sparsebench::Gradient, Make>();
