// The passes of a layer, forward and backward, with the loops of whatever instruction set is in use.
#pragma once

#include <cstddef>
#include <type_traits>

#include "gradient.h"
#include "multiply.h"
#include "narrow.h"
#include "pack.h"
#include "squares.h"

namespace sparsebench {

// What an instruction set's copy of the loops offers.
struct Loops {
  int bytes;  // of a register
  const OfAll<Multiply>* multiply;
  const OfAll<Gradient>* gradient;
  const OfAll<Narrow>* narrow;
  const PackingOfAll* packing;
  const SquaresOfAll* squares;
};
extern const Loops* loops;  // that are in use

// What a product reads. A batch that one register holds is arranged already: T, whose batch stride is 1. So
// is one of one block (blocks.h) where W is T, if its batch stride is 1. All others come as they are, W with
// any strides, and each block is arranged in its turn, where the next level of the cache still holds it.
template <class W>
struct Input {
  const void* data;
  int64_t batch_stride, feature_stride;
  bool is_arranged(int64_t registers) const {
    return registers == 1 || (registers <= max_registers && batch_stride == 1 &&
                              std::is_same_v<W, Compute<W>>);
  }
  Arranged<const Compute<W>> arranged() const {
    return {static_cast<const Compute<W>*>(data), feature_stride};
  }
  Activations<const W> as_it_is() const {
    return {static_cast<const W*>(data), batch_stride, feature_stride};
  }
};

// What a pass returns: how many bytes of memory it wanted in vain, or 0. Then it did nothing.
using Missing = size_t;

// y = x Wᵀ + bias.
template <class W, class Index>
Missing multiply(const Rows<Index>&, const W* values, const W* bias, Input<W> x, int64_t batch,
                 Activations<W> result, int threads);

// The gradients of which there is an address, from one arrangement of dy: dx, which needs the
// transposed connectivity (`columns`), unless rows are bits; of the values; of the bias, Σ dy. Of several blocks the sums
// go through the gradients of values and bias: W must be Compute<W> for these.
template <class W, class Index>
Missing backward(const Rows<Index>&, const Rows<Index>* columns, const W* values, Input<W> dy,
                 Input<W> x, int64_t batch, Activations<W> dx, W* grad_values, W* grad_bias,
                 int threads);

// Rows by bits, for the passes above: of blocks of bits_registers registers and more, on layers whose
// rows, and words of columns, are enough for all threads, as none is shared between them.
Rows<Bits> rows_by_bits(const Bitmap&);

// All gradients, those of x and values in one pass, for batches of one register (batch ≤ unit).
// `workspace` has room for threads × features × unit numbers.
template <class W, class Index>
void backward_narrow(const Rows<Index>&, const W* values, Arranged<const Compute<W>> dy,
                     Arranged<const Compute<W>> x, int64_t batch, Compute<W>* workspace,
                     Activations<W> dx, W* grad_values, W* grad_bias, int threads);

// A batch of one block: those of several are arranged block by block in their passes.
template <class W>
void pack(Activations<const W> from, int64_t batch, int64_t features, Arranged<Compute<W>> to,
          int threads);

// Lanes of a register in which numbers of type W are computed.
template <class W>
int native_lanes();

}  // namespace sparsebench
