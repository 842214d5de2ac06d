#include "row_blocks/passes.h"

#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "lanes/passes.h"
#include "scratch.h"
#include "teams.h"

namespace sparsebench {

const OfBlocks<ManyLoops>* many_loops = nullptr;
const OfBlocks<GradientLoops>* gradient_loops = nullptr;
const OfBlocks<FewLoops>* few_loops = nullptr;

namespace {

constexpr int64_t spans_per_thread = 4;  // more than one even out what else the machine does
constexpr int64_t span_rows = 256;       // at most, whose sums L2 holds
constexpr int64_t tile_bytes = 200 << 10;  // of features that are read or written at random, in L2

// The loops for one type of values and kind of columns.
template <class W, class F, template <class, class> class Table>
const Table<W, F>& of(const OfBlocks<Table>* all) {
  const auto& columns = [all]() -> const auto& {
    if constexpr (std::is_same_v<F, uint16_t>) return all->of16;
    else return all->of32;
  }();
  if constexpr (std::is_same_v<W, float>) return columns.f32;
  else return columns.bf16;
}

// How activations of one type are moved, in registers of so many lanes.
template <class W>
const typename Packing<W>::Loop& moves(int lanes = native_lanes<W>()) {
  if constexpr (std::is_same_v<W, float>) return loops->packing->f32.loops.at(lanes, native_lanes<W>());
  else return loops->packing->bf16.loops.at(lanes, native_lanes<W>());
}

float number(float value) { return value; }
float number(bfloat16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// One block of the batch, cut into tiles.
template <class W>
struct Block {
  int64_t first, batch;
  Tiles tiles;
  Block(int64_t index, int64_t count, int64_t all)
      : first(begin(index, count, all)), batch(begin(index + 1, count, all) - first),
        tiles(batch, native_lanes<W>()) {}
  int64_t rows(int64_t tile) const {
    return std::min(tiles.pitch(tile), batch - tiles.first_lane(tile));
  }
  template <class X>
  Activations<X> of(Activations<X> x, int64_t tile, int64_t feature) const {
    return {x.data + (first + tiles.first_lane(tile)) * x.batch_stride + feature * x.feature_stride,
            x.batch_stride, x.feature_stride};
  }
  static int64_t count(int64_t batch, int sharing) {
    return even_blocks((batch + block_lanes - 1) / block_lanes, sharing);
  }
  // The batch and zeros behind it, as the gradient of the values wants them.
  int64_t padded() const { return (batch + batch_unit - 1) / batch_unit * batch_unit; }
  // Of the largest block, of which tiles follow each other or lie side by side.
  static int64_t pitch(int64_t batch) {
    const Tiles most(std::min(batch, block_lanes), native_lanes<W>());
    return most.pitch();
  }

 private:
  // Blocks are whole registers, but the last.
  static int64_t begin(int64_t index, int64_t count, int64_t all) {
    const int64_t lanes = native_lanes<W>(), registers = (all + lanes - 1) / lanes;
    return std::min(all, registers * index / count * lanes);
  }
};

// Arranges a block of the batch, tile after tile or (`Whole`) each feature with all tiles. Lanes behind
// the batch are zeros.
template <bool Whole, class W>
void take(const Team& team, const Block<W>& block, Activations<const W> from, int64_t features,
          float* to) {
  constexpr int64_t chunk = 64;
  const int64_t chunks = (features + chunk - 1) / chunk;
  team.share(block.tiles.count * chunks, 1, [&](int64_t item) {
    const int64_t tile = item % block.tiles.count, feature = item / block.tiles.count * chunk;
    const int64_t pitch = Whole ? block.tiles.pitch() : block.tiles.pitch(tile);
    const int64_t rows = block.rows(tile), lane = block.tiles.first_lane(tile);
    const int64_t count = std::min(chunk, features - feature);
    float* target = to + (Whole ? lane : lane * features) + feature * pitch;
    moves<W>().pack(block.of(from, tile, feature), rows, count, {target, pitch});
    for (int64_t behind = rows; behind < block.tiles.pitch(tile); ++behind)
      for (int64_t i = 0; i < count; ++i) target[i * pitch + behind] = 0.0f;
  });
}

// Arranges dy for the gradient of the values, by pieces of whole lines, in the order
// of memory. Of any other order than PyTorch's a copy is arranged.
template <class W, class F>
void take_rows(const Team& team, const RowBlocks<F>& blocks, const Block<W>& block,
               Activations<const W> dy, float* to) {
  const int64_t height = blocks.height, padded = block.padded(), chunk = strip_features / height;
  team.share(blocks.count, chunk, [&](int64_t first) {
    const int64_t count = std::min(chunk, blocks.count - first);
    const W* from = dy.data + block.first * dy.batch_stride + first * height * dy.feature_stride;
    float* target = to + first * padded * height;
    if (dy.feature_stride == 1) {
      of<W, F>(gradient_loops).arrange(from, dy.batch_stride, block.batch, height, count, padded,
                                       target);
    } else {
      float strip[block_lanes * strip_features];
      moves<W>().pack({from, dy.feature_stride, dy.batch_stride}, count * height, block.batch,
                      {strip, strip_features});
      of<float, F>(gradient_loops).arrange(strip, strip_features, block.batch, height, count,
                                           padded, target);
    }
  });
}

// How many rows a thread takes at a time, of `items` that each have all of them: whole blocks.
template <class F>
int64_t span_of(const RowBlocks<F>& blocks, int64_t items, int threads) {
  constexpr int64_t strip = strip_features;
  const int64_t spans = (threads * spans_per_thread + items - 1) / items;
  const int64_t rows = threads == 1 ? span_rows : (blocks.rows + spans - 1) / spans;
  const int64_t unit = rows < strip ? blocks.height : strip;
  return std::clamp((rows + unit - 1) / unit * unit, blocks.height, span_rows);
}

// How many parts of the columns to take at once, for features of so many numbers.
template <class F>
int64_t step_of(const RowBlocks<F>& blocks, int64_t pitch) {
  const int64_t bytes = blocks.part_columns * pitch * sizeof(float);
  return std::clamp<int64_t>(tile_bytes / bytes, 1, blocks.parts);
}

template <class W, class F>
void multiply_block(const Team& team, const RowBlocks<F>& blocks, const Block<W>& block,
                    const W* values, const W* bias, const float* x, Activations<W> y, float* room) {
  const int64_t span = span_of(blocks, block.tiles.count, team.threads);
  const int64_t spans = (blocks.rows + span - 1) / span;
  team.take(block.tiles.count * spans, 1, [&](int64_t item) {
    const int64_t tile = item / spans, pitch = block.tiles.pitch(tile);
    const int64_t first = item % spans * span, last = std::min(first + span, blocks.rows);
    float* sums = room + team.thread * (span_rows * most_registers * block.tiles.lanes);
    const int64_t step = step_of(blocks, pitch);
    for (int64_t part = 0; part < blocks.parts; part += step)
      of<W, F>(many_loops).multiply[block.tiles.width(tile) - 1](
          blocks, Parts(blocks, part, step), first / blocks.height, last / blocks.height, values, bias,
          x + block.tiles.first_lane(tile) * blocks.columns, sums);
    for (int64_t row = first; row < last; row += strip_features)
      moves<W>().unpack({sums + (row - first) * pitch, pitch}, block.rows(tile),
                        std::min(strip_features, last - row), block.of(y, tile, row));
  });
}

// Numbers that a thread adds dx up in.
template <class F>
int64_t grad_input_room(const RowBlocks<F>& blocks, int64_t step, int lanes) {
  return std::min(step * blocks.part_columns, blocks.columns) * most_registers * lanes;
}

template <class W, class F>
void grad_input_block(const Team& team, const RowBlocks<F>& blocks, const Block<W>& block,
                      const W* values, const float* dy, Activations<W> dx, int64_t step,
                      float* room) {
  const int64_t spans = (blocks.parts + step - 1) / step;
  team.take(block.tiles.count * spans, 1, [&](int64_t item) {
    const int64_t tile = item / spans, pitch = block.tiles.pitch(tile);
    const Parts parts(blocks, item % spans * step, step);
    float* sums = room + team.thread * grad_input_room(blocks, step, block.tiles.lanes);
    of<W, F>(many_loops).grad_input[block.tiles.width(tile) - 1](
        blocks, parts, values, dy + block.tiles.first_lane(tile), block.tiles.pitch(), sums);
    for (int64_t column = parts.first_column; column < parts.last_column;
         column += strip_features)
      moves<W>().unpack({sums + (column - parts.first_column) * pitch, pitch}, block.rows(tile),
                        std::min(strip_features, parts.last_column - column),
                        block.of(dx, tile, column));
  });
}

template <class W, class F>
void grad_values_block(const Team& team, const RowBlocks<F>& blocks, const Block<W>& block,
                       const float* dy, const float* x, bool first, W* result) {
  const int64_t pitch = block.tiles.pitch(), step = step_of(blocks, pitch);
  const int64_t turns = (blocks.parts + step - 1) / step;
  const int64_t span = span_of(blocks, turns, team.threads);
  const int64_t spans = (blocks.rows + span - 1) / span;
  team.take(turns * spans, 1, [&](int64_t item) {
    const int64_t begin = item % spans * span, end = std::min(begin + span, blocks.rows);
    of<W, F>(gradient_loops).grad_values(
        blocks, Parts(blocks, item / spans * step, step), begin / blocks.height,
        end / blocks.height, dy, x, pitch, block.padded(), first, result);
  });
}

// What the connections of a layer, their values and gradients take, that a pass goes through.
template <class W, class F>
int64_t bytes_of(const RowBlocks<F>& blocks) {
  return blocks.ptr[blocks.count] * (sizeof(F) + 2 * blocks.height * sizeof(W));
}

// The first block of `part` of `parts` of about equal work.
template <class F>
int64_t first_block(const RowBlocks<F>& blocks, int64_t part, int64_t parts) {
  const int64_t work = (blocks.ptr[blocks.count] + blocks.count) * part / parts;
  int64_t low = 0, high = blocks.count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (blocks.ptr[middle] + middle < work) low = middle + 1; else high = middle;
  }
  return part == parts ? blocks.count : low;
}

// A few rows of a batch as floats, `pitch` apart: where they are, or in `room`.
struct FewRows {
  const float* data;
  int64_t pitch;
};
template <class W>
constexpr bool is_wide = std::is_same_v<W, float>;
template <class W>
FewRows few_rows(Activations<const W> x, int64_t batch, int64_t features, float* room) {
  if constexpr (is_wide<W>) return {x.data, x.batch_stride};
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < features; ++i)
      room[b * features + i] = number(x.data[b * x.batch_stride + i]);
  return {room, features};
}

template <class W, class F>
size_t multiply_few(const RowBlocks<F>& blocks, const W* values, const W* bias,
                    Activations<const W> x, int64_t batch, Activations<W> y, int threads) {
  const int64_t each = few_room(blocks), widened = is_wide<W> ? 0 : batch * blocks.columns;
  const Room room(Memory::panels, (threads * each + widened) * sizeof(float));
  if (room.missing()) return room.missing();
  float* memory = reinterpret_cast<float*>(room.data);
  const FewRows from = few_rows(x, batch, blocks.columns, memory + threads * each);
  const int64_t parts = threads == 1 ? 1 : threads * spans_per_thread;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (int64_t part = 0; part < parts; ++part)
    of<W, F>(few_loops).multiply[batch - 1](
        blocks, first_block(blocks, part, parts), first_block(blocks, part + 1, parts), values, bias,
        from.data, from.pitch, memory + omp_get_thread_num() * each, y.data, y.batch_stride);
  return 0;
}

// Every thread adds to a dx of its own; they are added in order.
template <class W, class F>
size_t backward_few(const RowBlocks<F>& blocks, const W* values, Activations<const W> dy,
                    Activations<const W> x, int64_t batch, Activations<W> dx, W* grad_values,
                    int threads) {
  const int64_t each = few_room(blocks), length = dx.data ? batch * blocks.columns : 0;
  const int64_t widened = is_wide<W> ? 0 : batch * (blocks.columns + blocks.rows);
  const Room room(Memory::blocks, (threads * (each + length) + widened) * sizeof(float));
  if (room.missing()) return room.missing();
  float* memory = reinterpret_cast<float*>(room.data);
  float *sums = memory + threads * each, *wide = sums + threads * length;
  const FewRows by = few_rows(dy, batch, blocks.rows, wide);
  const FewRows from = grad_values
      ? few_rows(x, batch, blocks.columns, wide + batch * blocks.rows) : FewRows{};
  const Packing<float>& packing = loops->packing->f32;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    float* own = dx.data ? sums + part * length : nullptr;
    packing.clear(own, length);
    of<W, F>(few_loops).backward[batch - 1](
        blocks, first_block(blocks, part, parts), first_block(blocks, part + 1, parts), values,
        by.data, by.pitch, from.data, from.pitch, memory + part * each, own, grad_values);
    if (dx.data) {
#pragma omp barrier
      const int64_t begin = length * part / parts, end = length * (part + 1) / parts;
      for (int64_t other = 1; other < parts; ++other)
        packing.add(sums + begin, sums + other * length + begin, end - begin);
#pragma omp barrier
      constexpr int64_t chunk = 64;
#pragma omp for
      for (int64_t column = 0; column < blocks.columns; column += chunk)
        for (int64_t b = 0; b < batch; ++b)
          moves<W>(1).unpack({sums + b * blocks.columns + column, 1}, 1,
                             std::min(chunk, blocks.columns - column),
                             {dx.data + b * dx.batch_stride + column, dx.batch_stride, 1});
    }
  }
  return 0;
}

}  // namespace

template <class W, class F>
size_t multiply(const RowBlocks<F>& blocks, const W* values, const W* bias, Activations<const W> x,
                int64_t batch, Activations<W> y, int threads) {
  if (batch == 0) return 0;
  if (batch <= few && x.feature_stride == 1 && y.feature_stride == 1)
    return multiply_few(blocks, values, bias, x, batch, y, threads);
  const int sharing = sharing_blocks(threads, bytes_of<W>(blocks));
  const int64_t count = Block<W>::count(batch, sharing), lanes = native_lanes<W>();
  const int teams = teams_of(count, sharing);
  const int64_t each = blocks.columns * Block<W>::pitch(batch);
  const Room arranged(Memory::blocks, teams * each * sizeof(float));
  const Room sums(Memory::panels, threads * span_rows * most_registers * lanes * sizeof(float));
  if (arranged.missing() || sums.missing()) return arranged.missing() + sums.missing();
#pragma omp parallel num_threads(threads) if (threads > 1)
  for_blocks<false>(whole_team(), count, teams, [&](const Team& team, int64_t index) {
    const Block<W> block(index, count, batch);
    float* from = reinterpret_cast<float*>(arranged.data) + team.number * each;
    take<false>(team, block, x, blocks.columns, from);
    multiply_block(team, blocks, block, values, bias, from, y,
                   reinterpret_cast<float*>(sums.data));
  });
  return 0;
}

template <class W, class F>
size_t backward(const RowBlocks<F>& blocks, const W* values, Activations<const W> dy,
                Activations<const W> x, int64_t batch, Activations<W> dx, W* grad_values,
                int threads) {
  if (batch == 0) {
    if (grad_values) std::fill_n(grad_values, blocks.ptr[blocks.count] * blocks.height, W{});
    return 0;
  }
  if (batch <= few && dy.feature_stride == 1 && (!grad_values || x.feature_stride == 1))
    return backward_few(blocks, values, dy, x, batch, dx, grad_values, threads);
  const int64_t connections = blocks.ptr[blocks.count] * blocks.height;
  // Of a batch of several blocks the gradient of the values is float.
  constexpr bool sums_by_thread = std::is_same_v<W, float>;
  const int sharing =
      sums_by_thread || !grad_values ? sharing_blocks(threads, bytes_of<W>(blocks)) : 1;
  const int64_t count = Block<W>::count(batch, sharing), lanes = native_lanes<W>();
  const int teams = teams_of(count, sharing);
  const int64_t pitch = Block<W>::pitch(batch);
  const int64_t rows = blocks.rows * pitch, by_feature = dx.data ? rows : 0;
  const int64_t each = by_feature + (grad_values ? rows + blocks.columns * pitch : 0);
  const Room arranged(Memory::blocks, teams * each * sizeof(float));
  // Threads of a team share out tiles of the batch and parts of the columns: at least one part for each.
  const int64_t step = std::min(step_of(blocks, most_registers * lanes),
                                std::max<int64_t>(1, blocks.parts / (threads / teams)));
  const Room sums(Memory::panels,
                  threads * grad_input_room(blocks, step, lanes) * sizeof(float));
  const Sums<W> of_values(grad_values, connections, Memory::values, teams);
  if (const size_t missing = arranged.missing() + sums.missing() + of_values.missing())
    return missing;
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Team all = whole_team();
    for_blocks<true>(all, count, teams, [&](const Team& team, int64_t index) {
      const Block<W> block(index, count, batch);
      float* by = reinterpret_cast<float*>(arranged.data) + team.number * each;
      float *by_row = by + by_feature, *from = by_row + rows;
      if (dx.data) take<true>(team, block, dy, blocks.rows, by);
      if (grad_values) {
        take_rows(team, blocks, block, dy, by_row);
        take<true>(team, block, x, blocks.columns, from);
      }
      if (dx.data)
        grad_input_block(team, blocks, block, values, by, dx, step,
                         reinterpret_cast<float*>(sums.data));
      if (grad_values)
        grad_values_block(team, blocks, block, by_row, from, index == team.number,
                          of_values.of(team.number));
    });
    if constexpr (sums_by_thread) {
#pragma omp barrier
      of_values.add(all, loops->packing->f32.add);
    }
  }
  return 0;
}

template <class F>
void fill(const RowBlocks<F>& shape, const int32_t* row_ptr, const int32_t* of_rows, int32_t* ptr,
          F* col, int32_t* begin) {
  ptr[0] = 0;
  for (int64_t block = 0; block < shape.count; ++block) {
    const int32_t from = row_ptr[block * shape.height];
    const int32_t length = row_ptr[block * shape.height + 1] - from;
    ptr[block + 1] = ptr[block] + length;
    std::copy_n(of_rows + from, length, col + ptr[block]);
    const F* first = col + ptr[block];
    for (int64_t part = 0; part <= shape.parts; ++part) {
      const int64_t column = part < shape.parts ? part * shape.part_columns : shape.columns;
      begin[part * shape.count + block] = static_cast<int32_t>(
          std::lower_bound(first, first + length, column,
                           [](F a, int64_t b) { return static_cast<int64_t>(a) < b; }) - col);
    }
  }
}

#define SB_PASSES(W, F)                                                                        \
  template size_t multiply(const RowBlocks<F>&, const W*, const W*, Activations<const W>, int64_t, \
                           Activations<W>, int);                                               \
  template size_t backward(const RowBlocks<F>&, const W*, Activations<const W>,                \
                           Activations<const W>, int64_t, Activations<W>, W*, int);
SB_PASSES(float, uint16_t)
SB_PASSES(float, int32_t)
SB_PASSES(bfloat16, uint16_t)
SB_PASSES(bfloat16, int32_t)
template void fill(const RowBlocks<uint16_t>&, const int32_t*, const int32_t*, int32_t*, uint16_t*,
                   int32_t*);
template void fill(const RowBlocks<int32_t>&, const int32_t*, const int32_t*, int32_t*, int32_t*,
                   int32_t*);

}  // namespace sparsebench
