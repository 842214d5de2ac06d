// The arranged layout of activations: the numbers of one feature lie side by side, `pitch` apart
// from those of the next, so that a connection is one broadcast weight times a few whole registers.
// The batch is cut into blocks of at most 8 registers, as many accumulators as keep the FMA units
// busy. The lanes between the batch and the pitch may hold anything, but may be read. Threads that share
// out blocks have as many each.
#pragma once

#include <algorithm>

#include "loops.h"
#include "teams.h"

namespace sparsebench {

struct Blocks {
  int unit;           // lanes of the registers in use: narrower than native for tiny batches
  int64_t registers;  // that the whole batch takes
  int64_t count;

  // `few`: connections are so few that threads share out the registers of one block as well.
  Blocks(int64_t batch, int native, int threads = 1, bool few = false) : unit(native) {
    while (unit > 4 && batch <= unit / 2) unit /= 2;
    if (batch == 1) unit = 1;
    registers = (batch + unit - 1) / unit;
    count = (registers + max_registers - 1) / max_registers;
    count = even_blocks(count, threads);
    if (few && count == 1 && pays_to_cut(threads)) count = threads;
  }
  int64_t lanes() const { return registers * unit; }
  // Blocks differ by one register at most; the larger ones come first.
  Width width(int64_t block) const {
    return {unit, static_cast<int>(registers / count + (block < registers % count))};
  }
  int64_t lanes(int64_t block) const { return int64_t{width(block).registers} * unit; }
  int64_t first_lane(int64_t block) const {
    return (registers / count * block + std::min(block, registers % count)) * unit;
  }

 private:
  // A connection of two registers takes some 0.6 of the time of two of one, of one of eight less than half
  // of four of two. Nor is one thread to have much more than another.
  bool pays_to_cut(int64_t threads) const {
    const int64_t most = (registers + threads - 1) / threads;
    return registers >= 2 && most >= (threads == 2 ? 1 : 2) && 5 * most * threads <= 6 * registers;
  }
};

}  // namespace sparsebench
