// The passes of a layer, forward and backward: every block of the batch is arranged when its turn
// comes, and goes through all products that want it while the caches hold it.
#pragma once

#include "products.h"

namespace {

using sparsebench::Entry;

// A block goes through dx and the gradient of the values in turn while both find what they read in the
// caches: connections of more bytes than these push each other out, and one product takes all blocks
// before the other does.
constexpr int64_t apart_bytes = 8 << 20;

// Blocks that are arranged here, and the pieces of long rows.
thread_local Scratch block_scratch, row_scratch;

// Room for one block of so many features, if blocks have to be arranged.
template <class T>
SB_INLINE T* room_for_block(const Blocks<T>& blocks, int64_t features) {
  if (blocks.count < 2) return nullptr;
  return block_scratch.get<T>(features * blocks.width(0) * blocks.unit);
}

template <class T>
SB_INLINE T* room_for_long_rows(const Blocks<T>& blocks, int threads) {
  return row_scratch.get<T>(pieces_of(threads) * blocks.width(0) * blocks.unit);
}

// The rows of the batch from `lane` on.
template <class W>
SB_INLINE Activations<W> from_lane(Activations<W> x, int64_t lane) {
  return {x.data + lane * x.batch_stride, x.batch_stride, x.feature_stride};
}

// One block of the batch, arranged in `room` where it is not.
template <class V, int R, class W, class T = typename V::Scalar>
SB_INLINE Arranged<const T> take_block(const Blocks<T>& blocks, const Input<W>& x, int64_t lane,
                                       int64_t width, int64_t features, T* room) {
  if (blocks.count < 2) return x.arranged();
  const Arranged<T> block{room, R * V::lanes};
  pack_block<V, W>(from_lane(x.as_it_is(), lane), width, features, block);
  return {block.data, block.pitch};
}

// y = x Wᵀ + bias.
template <class W, class Index, class T = Compute<W>>
void multiply(Rows<Index> rows, const W* values, const W* bias, Input<W> x, int64_t batch,
              Activations<W> result, int threads) {
  const Blocks<T> blocks(batch);
  if (blocks.count == 0) return;
  T* room = room_for_block(blocks, rows.features);
  T* sums = room_for_long_rows(blocks, threads);
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks.count; ++block)
    with_block(blocks, block, [&](auto vector, auto registers) {
      using V = decltype(vector);
      constexpr int R = decltype(registers)::value;
      const int64_t lane = blocks.first_lane(block);
      const int64_t width = smaller<int64_t>(R * V::lanes, batch - lane);
      multiply_rows<V, R, false>(rows, values, bias,
                                 take_block<V, R>(blocks, x, lane, width, rows.features, room),
                                 width, sums, from_lane(result, lane), threads);
    });
}

// The gradients of which there is an address, from one arrangement of dy: dx, which needs the
// transposed connectivity (`columns`); of the values; of the bias, Σ dy.
template <class W, class Index, class T = Compute<W>>
void backward(Rows<Index> rows, const Rows<Index>* columns, const W* values, Input<W> dy,
              Input<W> x, int64_t batch, Activations<W> dx, W* grad_values, W* grad_bias,
              int threads) {
  const Blocks<T> blocks(batch);
  if (blocks.count == 0) {
    for (int64_t p = 0; grad_values && p < rows.ptr[rows.count]; ++p) grad_values[p] = {};
    for (int64_t row = 0; grad_bias && row < rows.count; ++row) grad_bias[row] = {};
    return;
  }
  T* room = room_for_block(blocks, rows.count + rows.features);
  T* sums = room_for_long_rows(blocks, threads);
  constexpr int64_t connection_bytes =
      sizeof(Entry<Index>) + sizeof(typename Index::Feature) + 2 * sizeof(W);
  const int64_t bytes = rows.ptr[rows.count] * connection_bytes;
  const bool apart = blocks.count > 1 && dx.data && grad_values && bytes > apart_bytes;
  const auto take = [&](int64_t block, bool with_dx, bool with_values) {
    with_block(blocks, block, [&](auto vector, auto registers) {
      using V = decltype(vector);
      constexpr int R = decltype(registers)::value;
      const int64_t lane = blocks.first_lane(block);
      const int64_t width = smaller<int64_t>(R * V::lanes, batch - lane);
      const bool first = block == 0;
      const Arranged<const T> dy_block =
          take_block<V, R>(blocks, dy, lane, width, rows.count, room);
      if (grad_bias && with_values)
        add_over_batch<W>(dy_block, width, rows.count, first, grad_bias);
      if (dx.data && with_dx)
        multiply_rows<V, R, true>(*columns, values, static_cast<const W*>(nullptr), dy_block, width,
                                  sums, from_lane(dx, lane), threads);
      if (grad_values && with_values)
        grad_values_rows<V, R>(rows, dy_block,
                               take_block<V, R>(blocks, x, lane, width, rows.features,
                                                room ? room + rows.count * R * V::lanes : nullptr),
                               width, first, grad_values, threads);
    });
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    for (int64_t block = 0; block < blocks.count; ++block) take(block, true, !apart);
    if (apart)
      for (int64_t block = 0; block < blocks.count; ++block) take(block, false, true);
  }
}

}  // namespace
