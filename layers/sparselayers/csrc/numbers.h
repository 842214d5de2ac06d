// How numbers are kept, and in what type they are computed.
#pragma once

#include <cstdint>

namespace sparsebench {

// The upper half of a float. Weights and activations may be kept so; nothing is computed in it.
struct bfloat16 {
  uint16_t bits;
};

// In what type numbers kept as W are arranged, multiplied and added up.
template <class W> struct ComputeOf { using type = W; };
template <> struct ComputeOf<bfloat16> { using type = float; };
template <class W> using Compute = typename ComputeOf<W>::type;

}  // namespace sparsebench
