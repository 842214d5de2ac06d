// The arranged layout of activations: the numbers of one feature lie side by side, `pitch` apart
// from those of the next, so that a connection is one broadcast weight times a few whole registers.
// The batch is cut into blocks of at most 8 registers, as many accumulators as keep the FMA units
// busy. The lanes between the batch and the pitch may hold anything, but may be read.
#pragma once

#include "simd.h"

namespace {

constexpr int max_registers = 8;

template <class T>
struct Blocks {
  static constexpr int native = SB_VECTOR_BYTES / sizeof(T);

  int unit;           // lanes of the registers in use: narrower than native for tiny batches
  int64_t registers;  // that the whole batch takes
  int64_t count;

  explicit SB_INLINE Blocks(int64_t batch) {
    unit = native;
    while (unit > 4 && batch <= unit / 2) unit /= 2;
    if (batch == 1) unit = 1;
    registers = (batch + unit - 1) / unit;
    count = (registers + max_registers - 1) / max_registers;
  }
  SB_INLINE int64_t lanes() const { return registers * unit; }
  // Blocks differ by one register at most; the larger ones come first.
  SB_INLINE int width(int64_t block) const {
    return static_cast<int>(registers / count + (block < registers % count));
  }
  SB_INLINE int64_t first_lane(int64_t block) const {
    return (registers / count * block + smaller(block, registers % count)) * unit;
  }
};

template <int R> struct Constant { static constexpr int value = R; };

template <class T, int N, class Body>
SB_INLINE void with_registers(int width, Body body) {
  switch (width) {
    case 1: return body(Vector<T, N>{}, Constant<1>{});
    case 2: return body(Vector<T, N>{}, Constant<2>{});
    case 3: return body(Vector<T, N>{}, Constant<3>{});
    case 4: return body(Vector<T, N>{}, Constant<4>{});
    case 5: return body(Vector<T, N>{}, Constant<5>{});
    case 6: return body(Vector<T, N>{}, Constant<6>{});
    case 7: return body(Vector<T, N>{}, Constant<7>{});
    default: return body(Vector<T, N>{}, Constant<8>{});
  }
}

// Calls body(Vector{}, Constant<R>{}) with the type and the number of the block's registers.
template <class T, class Body>
SB_INLINE void with_block(const Blocks<T>& blocks, int64_t block, Body body) {
  constexpr int native = Blocks<T>::native;
  if (blocks.unit == 1) return body(Vector<T, 1>{}, Constant<1>{});
  if constexpr (native > 4)
    if (blocks.unit == 4) return body(Vector<T, 4>{}, Constant<1>{});
  if constexpr (native > 8)
    if (blocks.unit == 8) return body(Vector<T, 8>{}, Constant<1>{});
  with_registers<T, native>(blocks.width(block), body);
}

}  // namespace
