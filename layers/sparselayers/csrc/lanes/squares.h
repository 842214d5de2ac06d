// The loops of dx by bits (squares.cpp).
#pragma once

#include "loops.h"

namespace sparsebench {

// Adds to dx what rows [row, row + word_places) pass on to the columns of words [begin, end), where dy
// is that of these rows; of the first rows it begins at zero. `sums` has room for all columns of the
// words.
template <class W>
using AddSquares = void (*)(const Rows<Bits>&, int64_t row, int64_t begin, int64_t end,
                            const W* values, Arranged<const Compute<W>> dy,
                            Arranged<Compute<W>> sums);
template <class W>
struct Squares {
  ByWidth<AddSquares<W>> loops;
};
struct SquaresOfAll {
  Squares<float> f32;
  Squares<double> f64;
  Squares<bfloat16> bf16;
};
namespace scalar { extern const SquaresOfAll squares; }
namespace avx2 { extern const SquaresOfAll squares; }
namespace avx512 { extern const SquaresOfAll squares; }

}  // namespace sparsebench
