// What the loops share: the registers they compute in.
#pragma once

#include "row_blocks.h"
#include "simd.h"
#include "sums.h"

namespace {

using sparsebench::Parts;
using sparsebench::RowBlocks;

constexpr int N = SB_VECTOR_BYTES / sizeof(float);
using V = Vector<float, N>;

// The first `count` lanes, by way of the stack: to store some lanes alone takes AMD's processors as long
// as twenty whole stores.
template <class W>
SB_INLINE void store_some(V v, W* to, int64_t count) {
  W aside[N];
  v.store(aside);
  for (int64_t i = 0; i < count; ++i) to[i] = aside[i];
}

}  // namespace
