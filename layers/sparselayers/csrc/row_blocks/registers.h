// What the loops share: the registers they compute in, and where a block's columns and values are.
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

// Where the columns of a block in some parts are, and the values of its first row there.
template <class W>
struct Run {
  int64_t begin, count, length;
  W* values;
  template <class F>
  SB_INLINE Run(const RowBlocks<F>& blocks, const Parts& parts, int64_t block, W* of_layer)
      : begin(blocks.begin[parts.first * blocks.count + block]),
        count(blocks.begin[parts.last * blocks.count + block] - begin),
        length(blocks.ptr[block + 1] - blocks.ptr[block]),
        values(of_layer + blocks.ptr[block] * blocks.height + begin - blocks.ptr[block]) {}
};

}  // namespace
