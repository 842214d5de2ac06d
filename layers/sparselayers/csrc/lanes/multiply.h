// The loops of y and dx (multiply.cpp).
#pragma once

#include "loops.h"

namespace sparsebench {

// sums += values · x for the rows of a tile, or with their bias in the first tile. `sums` is where
// those of the first row go. A batch of one may write its result where it belongs, at `single`.
template <class W, class Index>
using MultiplyTile = void (*)(const Rows<Index>&, const Tile<Index>&, Range, const W* values,
                              const W* bias, Arranged<const Compute<W>> x,
                              Arranged<Compute<W>> sums, Activations<W> single);
template <class W, class Index>
struct Multiply {
  struct Loop {
    MultiplyTile<W, Index> near[2], far[2];  // of a layer, and of its transpose
  };
  ByWidth<Loop> loops;
};
namespace scalar { extern const OfAll<Multiply> multiply; }
namespace avx2 { extern const OfAll<Multiply> multiply; }
namespace avx512 { extern const OfAll<Multiply> multiply; }

}  // namespace sparsebench
