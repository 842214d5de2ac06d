// The smallest of many numbers, by their bits: a digit at a time, most significant first.
#include <algorithm>
#include <cstring>
#include <type_traits>

#include "rewiring.h"

namespace sparsebench {
namespace {

// Fewer digits of more bits are fewer passes, and counters that are further apart; of few numbers the
// counters would be the larger work.
constexpr int64_t few = 1 << 17;
constexpr int few_bits = 11, many_bits = 16;

template <class T> using Key = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;

// Integers in the order of the numbers; −0 and 0 are one, and all NaNs are the largest.
template <class T>
inline Key<T> key(T number) {
  if (number != number) return ~Key<T>{0};
  number += T(0);
  Key<T> bits;
  std::memcpy(&bits, &number, sizeof bits);
  constexpr Key<T> sign = Key<T>{1} << (8 * sizeof(T) - 1);
  return bits & sign ? ~bits : bits | sign;
}

// Calls each(i, key) for the i-th of `parts` pieces, which do not depend on who works on them.
template <class T, class Each>
void for_part(const T* worth, const bool* keep, int64_t size, int64_t part, int64_t parts,
              Each each) {
  const int64_t stop = size / parts * (part + 1) + size % parts * (part + 1) / parts;
  for (int64_t i = size / parts * part + size % parts * part / parts; i < stop; ++i)
    if (keep[i]) each(i, key(worth[i]));
}

}  // namespace

template <class T>
void drop_smallest(const T* worth, bool* keep, int64_t size, int64_t count, int threads) {
  if (count <= 0) return;
  const int digit_bits = size < few ? few_bits : many_bits;
  const int64_t bins = int64_t{1} << digit_bits;
  std::vector<int64_t> counts(threads * bins);
  Key<T> found = 0;  // the digits that are known of the count-th smallest key
  int64_t rank = count;  // its rank among those that have these digits
  int64_t bin = 0;
  for (int low = 8 * sizeof(T); low > 0;) {
    const int high = low, width = std::min(digit_bits, low);
    low -= width;
    const bool first = high == 8 * sizeof(T);
    const Key<T> mask = (Key<T>{1} << width) - 1;
    std::fill(counts.begin(), counts.end(), 0);
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int part = 0; part < threads; ++part) {
      int64_t* own = counts.data() + part * bins;
      if (first)
        for_part(worth, keep, size, part, threads,
                 [=](int64_t, Key<T> of) { ++own[of >> low & mask]; });
      else
        for_part(worth, keep, size, part, threads, [=](int64_t, Key<T> of) {
          if (of >> high == found) ++own[of >> low & mask];
        });
    }
    for (bin = 0; bin < bins - 1; ++bin) {
      int64_t here = 0;
      for (int part = 0; part < threads; ++part) here += counts[part * bins + bin];
      if (rank <= here) break;
      rank -= here;
    }
    found = found << (first ? 0 : width) | static_cast<Key<T>>(bin);
  }
  // Now `found` is the key itself, and of those that have it the first `rank` go.
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int part = 0; part < threads; ++part) {
    int64_t equal = rank;
    for (int before = 0; before < part; ++before) equal -= counts[before * bins + bin];
    for_part(worth, keep, size, part, threads, [&](int64_t i, Key<T> of) {
      keep[i] = of > found || (of == found && equal-- <= 0);
    });
  }
}

template <class T>
int64_t above(const T* numbers, int64_t size, T bar, int64_t* places) {
  constexpr int64_t together = 16;  // few pieces have any: they are looked at as a whole
  int64_t found = 0;
  for (int64_t begin = 0; begin < size; begin += together) {
    const int64_t end = std::min(begin + together, size);
    int any = 0;
    if (end - begin == together)
      for (int64_t i = 0; i < together; ++i) any |= !(numbers[begin + i] <= bar);
    else
      any = 1;
    if (!any) continue;
    for (int64_t i = begin; i < end; ++i) {
      places[found] = i;
      found += !(numbers[i] <= bar);
    }
  }
  return found;
}

template int64_t above(const float*, int64_t, float, int64_t*);
template int64_t above(const double*, int64_t, double, int64_t*);
template void drop_smallest(const float*, bool*, int64_t, int64_t, int);
template void drop_smallest(const double*, bool*, int64_t, int64_t, int);

}  // namespace sparsebench
