// What the loops over rows share.
#pragma once

#include <algorithm>

#include "rewiring.h"

namespace sparsebench {

// Rows that a thread takes at a time: enough to be worth it, few enough that threads end together.
inline int64_t rows_at_a_time(int64_t rows, int threads) {
  return std::max<int64_t>(1, std::min<int64_t>(256, rows / (8 * threads)));
}

// Leaves of ascending columns each once, and none that is taken: `at` to `end`, those that `keep`
// says (null: all). Returns how many are left.
template <class I>
int64_t leave_absent(I* col, int64_t count, const I* at, const I* end, const bool* keep) {
  const I* const begin = at;
  int64_t left = 0;
  for (int64_t i = 0; i < count; ++i) {
    const I each = col[i];
    if (left && col[left - 1] == each) continue;
    while (at < end && *at < each) ++at;
    if (at < end && *at == each && (!keep || keep[at - begin])) continue;
    col[left++] = each;
  }
  return left;
}

// Ascending order. Of columns that lie about evenly each is put near its place at once, and an insertion
// sort does the rest; where too many come near one place, or there are few or very many, it does not pay.
template <class I>
void sort_columns(I* col, int64_t count, int64_t columns) {
  constexpr int64_t few = 24, most = 2048, crowd = 16;
  if (count <= few || count > most) return std::sort(col, col + count);
  const double scale = static_cast<double>(count) / static_cast<double>(columns);
  const auto place = [=](I each) {
    return std::min<int64_t>(static_cast<int64_t>(static_cast<double>(each) * scale), count - 1);
  };
  uint16_t begin[most + 1];
  std::fill_n(begin, count + 1, uint16_t{0});
  for (int64_t i = 0; i < count; ++i) ++begin[place(col[i]) + 1];
  uint16_t largest = 0;
  for (int64_t i = 1; i <= count; ++i) {
    largest = std::max(largest, begin[i]);
    begin[i] += begin[i - 1];
  }
  if (largest > crowd) return std::sort(col, col + count);
  I near[most];
  for (int64_t i = 0; i < count; ++i) near[begin[place(col[i])]++] = col[i];
  for (int64_t i = 0; i < count; ++i) {
    int64_t at = i;
    for (; at > 0 && col[at - 1] > near[i]; --at) col[at] = col[at - 1];
    col[at] = near[i];
  }
}

}  // namespace sparsebench
