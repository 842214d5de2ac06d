// A batch of one, where the lanes of a register hold connections.
#pragma once

#include "widths.h"

namespace {

// The numbers of a batch of one that so many connections in a row meet, where lanes hold connections:
// gathered, or (`Single`) loaded one by one, into half as wide a register with AVX-512.
template <class T, bool Single>
struct Met {
  static constexpr int lanes =
      Single ? smaller<int>(native<T>, 32 / sizeof(T)) : native<T>;
  using V = Vector<T, lanes>;
  template <class Index>
  static SB_INLINE V by(const Index* col, const T* x) {
    if constexpr (Single) return V::collect(x, col);
    return V::gather(x, col);
  }
};

}  // namespace
