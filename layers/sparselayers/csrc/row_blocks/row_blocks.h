// What a layer of row blocks is to its kernels, and the loops that each instruction set's copy of them
// offers. See README.md ("Row blocks") for how they work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "numbers.h"

// Also of those that are compiled for each instruction set: no copy may be left for the linker to choose.
#define SB_ALWAYS inline __attribute__((always_inline))

namespace sparsebench {

// Blocks of `height` rows that have the same columns, named once for all of them. Values are those of
// the layer, in its order: those of one block lie together, row after row.
template <class F>
struct RowBlocks {
  using Feature = F;
  int64_t rows, columns;  // of the layer
  int64_t height, count;  // of blocks
  int64_t longest;        // columns of a block
  const int32_t* ptr;     // (count + 1): columns of all blocks before each
  const F* col;
  // Columns [begin[t · count + b], begin[(t + 1) · count + b]) of `col` are those of block b in part t
  // of all columns, each part of so many.
  int64_t parts, part_columns;
  const int32_t* begin;
};

// Parts [first, last) of the columns of a layer.
struct Parts {
  int64_t first, last, first_column, last_column;
  template <class F>
  SB_ALWAYS Parts(const RowBlocks<F>& blocks, int64_t first, int64_t step)
      : first(first), last(first + step < blocks.parts ? first + step : blocks.parts),
        first_column(first * blocks.part_columns),
        last_column(last < blocks.parts ? last * blocks.part_columns : blocks.columns) {}
};

// A block of the batch is cut into tiles of one to three registers. Forward, number (feature, lane) of a
// tile is at feature · pitch + lane, and tiles follow each other; backward a feature has all tiles of a
// block side by side.
constexpr int most_registers = 3;
constexpr int64_t block_lanes = 128;  // of the batch, that are arranged at a time

struct Tiles {
  int lanes;          // of a register
  int64_t registers;  // of the block
  int64_t count;

  SB_ALWAYS Tiles(int64_t batch, int lanes)
      : lanes(lanes), registers((batch + lanes - 1) / lanes),
        count((registers + most_registers - 1) / most_registers) {}
  // Tiles differ by one register at most; the larger ones come first.
  SB_ALWAYS int width(int64_t tile) const {
    return static_cast<int>(registers / count + (tile < registers % count));
  }
  SB_ALWAYS int64_t first_lane(int64_t tile) const {
    const int64_t larger = registers % count;
    return (registers / count * tile + (tile < larger ? tile : larger)) * lanes;
  }
  SB_ALWAYS int64_t pitch(int64_t tile) const { return int64_t{width(tile)} * lanes; }
  // Of registers of less than a line an odd number: those of several features that are wanted at once
  // then lie in both halves of the cache's lines, which are read side by side.
  SB_ALWAYS int64_t pitch() const { return whole_pitch(registers, lanes); }
  static SB_ALWAYS int64_t whole_pitch(int64_t registers, int lanes) {
    return (lanes < 16 ? registers | 1 : registers) * lanes;
  }
};

// Loops for larger batches, which lie in the lanes (many.cpp).
template <class W, class F>
struct ManyLoops {
  using Layer = RowBlocks<F>;
  // sums (blocks · height, pitch) += W x for blocks [begin, end), whose bias they begin with in the
  // first part. [registers of the tile − 1].
  void (*multiply[most_registers])(const Layer&, const Parts&, int64_t begin, int64_t end,
                                   const W* values, const W* bias, const float* x, float* sums);
  // dx (columns of the parts, pitch of the tile) = Wᵀ dy, whose features are `dy_pitch` apart.
  void (*grad_input[most_registers])(const Layer&, const Parts&, const W* values, const float* dy,
                                     int64_t dy_pitch, float* dx);
};

// Both for the gradient of the values of such batches (gradient.cpp), whose rows lie in the lanes.
constexpr int64_t batch_unit = 4;  // numbers of the batch that are taken at once, at most
template <class W, class F>
struct GradientLoops {
  using Layer = RowBlocks<F>;
  // to (blocks, padded, height) = dy (batch, blocks · height), whose rows are `stride` apart; but so many in
  // the batch that they fill a register lie beside each other, row by row. Zeros behind the batch.
  void (*arrange)(const W* dy, int64_t stride, int64_t batch, int64_t height, int64_t blocks,
                  int64_t padded, float* to);
  // result[p] (+)= Σ dy[row p] · x[col p] for blocks [begin, end), some parts of the columns. dy is so
  // arranged, and features of x are `pitch` apart; both have zeros behind the batch, up to `padded`, a
  // multiple of batch_unit.
  void (*grad_values)(const Layer&, const Parts&, int64_t begin, int64_t end, const float* dy,
                      const float* x, int64_t pitch, int64_t padded, bool first, W* result);
};

// At most so large a batch has columns in its lanes: it is bound by memory, and values come by whole
// registers (few.cpp).
constexpr int64_t few = 4;
template <class W, class F>
struct FewLoops {
  using Layer = RowBlocks<F>;
  // [batch − 1]: rows of x and dy are `pitch` apart. `room` is few_room() numbers.
  void (*multiply[few])(const Layer&, int64_t begin, int64_t end, const W* values, const W* bias,
                        const float* x, int64_t x_pitch, float* room, W* y, int64_t y_pitch);
  // Both gradients: dx (batch, columns) is added to, where there is one, as is `result` written.
  void (*backward[few])(const Layer&, int64_t begin, int64_t end, const W* values, const float* dy,
                        int64_t dy_pitch, const float* x, int64_t x_pitch, float* room, float* dx,
                        W* result);
};

// For every kind of columns and every type of values.
template <template <class, class> class Table>
struct OfBlocks {
  template <class F>
  struct OfColumns {
    Table<float, F> f32;
    Table<bfloat16, F> bf16;
  };
  OfColumns<uint16_t> of16;
  OfColumns<int32_t> of32;
};
#define SB_TABLES(set)                                                                       \
  namespace set {                                                                            \
  extern const OfBlocks<ManyLoops> many_loops;                                               \
  extern const OfBlocks<GradientLoops> gradient_loops;                                       \
  extern const OfBlocks<FewLoops> few_loops;                                                 \
  }
SB_TABLES(scalar)
SB_TABLES(avx2)
SB_TABLES(avx512)
#undef SB_TABLES

// Numbers that a batch of few wants for a thread: what a block meets, gathered, and what goes back.
template <class F>
SB_ALWAYS int64_t few_pitch(const RowBlocks<F>& blocks) { return (blocks.longest + 31) / 16 * 16; }
template <class F>
SB_ALWAYS int64_t few_room(const RowBlocks<F>& blocks) { return 2 * few * few_pitch(blocks); }

}  // namespace sparsebench
#undef SB_ALWAYS
