// y of small batches whose inputs are mostly zeros: the connections of the others alone are visited.
#pragma once

#include <cstddef>

#include "layer.h"

namespace sparsebench {

// How many inputs are not zero (NaN is not).
template <class W>
int64_t nonzero(Activations<const W> x, int64_t batch, int64_t features);

// How many connections the inputs meet that are not zero, of all samples. `columns` is the transposed layer.
template <class W, class Index>
int64_t visited(const Rows<Index>& columns, Activations<const W> x, int64_t batch);

// y = x Wᵀ + bias. Returns how many bytes of memory it wanted in vain, or 0. Then it did nothing.
template <class W, class Index>
size_t multiply_nonzero(const Rows<Index>& columns, const W* values, const W* bias,
                        Activations<const W> x, int64_t batch, Activations<W> y, int threads);

}  // namespace sparsebench
