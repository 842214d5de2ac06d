// The loops of the gradient of the values (gradient.cpp).
#pragma once

#include "loops.h"

namespace sparsebench {

// result[p] (+)= Σ dy[row p] · x[col p] over one block for the rows of a tile. Loops [1] are for
// blocks whose last register is not full: what lies behind the batch must not be added.
template <class W, class Index>
using GradientTile = void (*)(const Rows<Index>&, const Tile<Index>&, Range,
                              Arranged<const Compute<W>> dy, Arranged<const Compute<W>> x,
                              int64_t batch, bool first, W* result);
template <class W, class Index>
struct Gradient {
  struct Loop {
    GradientTile<W, Index> near[2], far[2];
  };
  ByWidth<Loop> loops;
};
namespace scalar { extern const OfAll<Gradient> gradient; }
namespace avx2 { extern const OfAll<Gradient> gradient; }
namespace avx512 { extern const OfAll<Gradient> gradient; }

}  // namespace sparsebench
