// The products of layers of N of every M inputs, shared out between threads.
#pragma once

#include "n_of_m.h"

namespace sparsebench {

extern const NofMLoopsOfAll* n_of_m_loops;  // that are in use

// Rows of the batch lie `x_pitch`, `dy_pitch` … apart, and their features side by side. Each returns how many
// bytes of memory it wanted in vain, or 0. Then it did nothing.

// y = x Wᵀ + bias.
template <class W>
size_t multiply(const NofM&, const W* values, const W* bias, const W* x, int64_t x_pitch,
                int64_t batch, W* y, int64_t y_pitch, int threads);

// The gradients of which there is an address: dx, and of the values, which of a batch of more than
// most_samples must be float.
template <class W>
size_t backward(const NofM&, const W* values, const uint32_t* sources, const W* dy,
                int64_t dy_pitch, const W* x, int64_t x_pitch, int64_t batch, W* dx,
                int64_t dx_pitch, W* grad_values, int threads);

// Fills the places of all connections; and what the inputs that eight connections meet have of them, in the
// order in which they are arranged: at 2:4 two bits, 0 or 1 for the first or second value of its group or else
// 2, else one bit, whether there is a connection. Each where there is an address.
void fill(const NofM& shape, const int32_t* col, uint32_t* places, uint32_t* sources,
          int threads);

}  // namespace sparsebench
