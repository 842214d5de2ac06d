// The three products of bfloat16 by AMX: tiles of the weight are laid out as the units for products of matrices
// take them, and tiles without a connection are left out. See README.md for how it works.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitmaps/bitmaps.h"

namespace sparsebench {

// Each returns how many bytes to work in it wanted in vain, or 0. Numbers that zeros would pass on (x of y,
// dy of dx) are finite. `scattered`: connections are in no blocks, so that hardly a tile is empty.
size_t amx_multiply(const Bitmap&, const bfloat16* values, const bfloat16* bias,
                    Dense<const bfloat16> x, int64_t batch, Dense<bfloat16> y, bool scattered,
                    int threads);
size_t amx_grad_input(const Bitmap&, const bfloat16* values, Dense<const bfloat16> dy,
                      int64_t batch, Dense<bfloat16> dx, int threads);
size_t amx_grad_values(const Bitmap&, Dense<const bfloat16> dy, Dense<const bfloat16> x,
                       int64_t batch, bfloat16* result, int threads);

}  // namespace sparsebench
