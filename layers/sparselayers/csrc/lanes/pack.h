// The loops that move activations, and the gradient of the bias (pack.cpp).
#pragma once

#include "loops.h"

namespace sparsebench {

// Moving activations between PyTorch's layouts and the arranged one (pack.cpp).
template <class W>
struct Packing {
  using T = Compute<W>;
  struct Loop {
    void (*pack)(Activations<const W> from, int64_t batch, int64_t features, Arranged<T> to);
    void (*unpack)(Arranged<const T> from, int64_t batch, int64_t features, Activations<W> to);
  };
  ByUnit<Loop> loops;
  // result[feature] (+)= Σ over the batch, which is the gradient of the bias.
  void (*add_over_batch)(Arranged<const T> x, int64_t batch, int64_t features, bool first,
                         W* result);
  void (*clear)(T* numbers, int64_t count);
  void (*add)(T* to, const T* from, int64_t count);
};
struct PackingOfAll {
  Packing<float> f32;
  Packing<double> f64;
  Packing<bfloat16> bf16;
};
namespace scalar { extern const PackingOfAll packing; }
namespace avx2 { extern const PackingOfAll packing; }
namespace avx512 { extern const PackingOfAll packing; }

}  // namespace sparsebench
