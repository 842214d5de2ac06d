// The three products of bfloat16 by AMX: tiles of the weight are laid out as the units for products of matrices
// take them, and tiles without a connection are left out. See README.md for how it works.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitmaps/bitmaps.h"

namespace sparsebench {

// Each returns how many bytes to work in it wanted in vain, or 0. Zeros would pass on what is not finite: where x
// of y or dy of dx has such numbers, `finite` becomes false, and the result is none. `alike`: every 16 rows have the
// same connections, and their number has no rest.
size_t amx_multiply(const Bitmap&, const bfloat16* values, const bfloat16* bias,
                    Dense<const bfloat16> x, int64_t batch, Dense<bfloat16> y, bool alike, int threads,
                    bool* finite);
size_t amx_grad_input(const Bitmap&, const bfloat16* values, Dense<const bfloat16> dy,
                      int64_t batch, Dense<bfloat16> dx, bool alike, int threads, bool* finite);
size_t amx_grad_values(const Bitmap&, Dense<const bfloat16> dy, Dense<const bfloat16> x,
                       int64_t batch, bfloat16* result, bool alike, int threads);

}  // namespace sparsebench
