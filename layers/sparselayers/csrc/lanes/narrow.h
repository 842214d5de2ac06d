// The loops of both gradients of tiny batches (narrow.cpp).
#pragma once

#include "loops.h"

namespace sparsebench {

// A place among the connections: in the middle of a row, maybe.
struct Cut { int64_t row, connection; };

// dx[col] += values[p] · dy[row] and result[p] = dy[row] · x[col] between two cuts (narrow.cpp).
template <class W, class Index>
using ScatterRows = void (*)(const Rows<Index>&, Cut begin, Cut end, const W* values,
                             Arranged<const Compute<W>> dy, Arranged<const Compute<W>> x,
                             int64_t batch, Compute<W>* dx, W* result);
template <class W, class Index>
struct Narrow {
  struct Loop {
    ScatterRows<W, Index> near[2], far[2];  // [1]: the register is not full
  };
  ByUnit<Loop> loops;
};
namespace scalar { extern const OfAll<Narrow> narrow; }
namespace avx2 { extern const OfAll<Narrow> narrow; }
namespace avx512 { extern const OfAll<Narrow> narrow; }

}  // namespace sparsebench
