// The three products of layers of row blocks, shared out between threads.
#pragma once

#include "lanes/layer.h"
#include "row_blocks.h"

namespace sparsebench {

extern const OfBlocks<ManyLoops>* many_loops;  // that are in use
extern const OfBlocks<GradientLoops>* gradient_loops;
extern const OfBlocks<FewLoops>* few_loops;

// Each returns how many bytes of memory it wanted in vain, or 0. Then it did nothing.

// y = x Wᵀ + bias.
template <class W, class F>
size_t multiply(const RowBlocks<F>&, const W* values, const W* bias, Activations<const W> x,
                int64_t batch, Activations<W> y, int threads);

// The gradients of which there is an address: dx, and of the values, which of a batch of several
// blocks (block_lanes) must be float.
template <class W, class F>
size_t backward(const RowBlocks<F>&, const W* values, Activations<const W> dy,
                Activations<const W> x, int64_t batch, Activations<W> dx, W* grad_values,
                int threads);

// Names the columns of all blocks, those of their first rows, and finds where parts of the columns
// begin: `ptr` (count + 1), `col` and `begin` (parts + 1, count) of a RowBlocks.
template <class F>
void fill(const RowBlocks<F>& shape, const int32_t* row_ptr, const int32_t* of_rows, int32_t* ptr,
          F* col, int32_t* begin);

}  // namespace sparsebench
