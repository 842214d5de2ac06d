// Connections before and after: merged row by row, and what belongs to each taken along.
#include <algorithm>
#include <memory>
#include <new>

#include "rows.h"

namespace sparsebench {
namespace {

// Connections, old and new, that are taken along together: what is worked in fits L2.
constexpr int64_t block_connections = 1 << 17;

// For each new connection of a row the number of the old one counted from `before`, or `none`.
template <class I, class Place>
void match(const I* old, const I* old_end, const I* now, const I* now_end, Place before, Place none,
           Place* places) {
  while (old < old_end && now < now_end) {
    const I a = *old, b = *now;
    *places = a == b ? before : none;
    old += a <= b, before += a <= b;
    now += b <= a, places += b <= a;
  }
  std::fill_n(places, now_end - now, none);
}

// Rows are cut into blocks, and blocks are taken in an order in which no number is overwritten that
// is still to be read: where rows have moved back in memory from the first block to the last, where
// they have moved on from the last to the first.
template <class I>
std::vector<int64_t> cut(const Pattern<I>& old, const Pattern<I>& now) {
  std::vector<int64_t> bounds{0};
  for (int64_t row = 1; row < old.rows; ++row) {
    const int64_t begin = bounds.back();
    if (old.ptr[row] - old.ptr[begin] + now.ptr[row] - now.ptr[begin] >= block_connections)
      bounds.push_back(row);
  }
  bounds.push_back(old.rows);
  return bounds;
}
template <class I>
std::vector<int64_t> in_order(const Pattern<I>& old, const Pattern<I>& now,
                              const std::vector<int64_t>& bounds) {
  const int64_t blocks = static_cast<int64_t>(bounds.size()) - 1;
  std::vector<int64_t> order;
  for (int64_t block = 0, next; block < blocks; block = next) {
    next = block + 1;
    while (next < blocks && now.ptr[bounds[next]] > old.ptr[bounds[next]]) ++next;
    for (int64_t each = next; each > block; --each) order.push_back(each - 1);
  }
  return order;
}

// All new numbers of a block; saved[0] is 0, for what has grown. Called by all threads of a region.
template <class Bits, class I>
void gather(const char* saved, const I* places, int64_t first, int64_t last, char* to) {
  const Bits* from = reinterpret_cast<const Bits*>(saved);
  Bits* result = reinterpret_cast<Bits*>(to);
#pragma omp for
  for (int64_t p = first; p < last; ++p) result[p] = from[places[p - first]];
}

}  // namespace

template <class I>
void kept_of_rows(const Pattern<I>& pattern, const bool* keep, I* kept, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < pattern.rows; ++row) {
    I count = 0;
    for (I p = pattern.ptr[row]; p < pattern.ptr[row + 1]; ++p) count += keep[p];
    kept[row] = count;
  }
}

template <class I>
bool merge(const Pattern<I>& old, const bool* keep, const Pattern<I>& grown, const I* ptr, I* col,
           int threads) {
  const int64_t at_a_time = rows_at_a_time(old.rows, threads);
  bool twice = false;
#pragma omp parallel for schedule(dynamic, at_a_time) num_threads(threads) if (threads > 1) \
    reduction(|| : twice)
  for (int64_t row = 0; row < old.rows; ++row) {
    const I *fresh = grown.col + grown.ptr[row], *end = grown.col + grown.ptr[row + 1];
    I* out = col + ptr[row];
    // What is kept is first put at the end of the row, where the merge does not overtake it.
    const int64_t kept = ptr[row + 1] - ptr[row] - (end - fresh);
    const I *at = out + (end - fresh), *const stop = at + kept;
    I* to = out + (end - fresh);
    for (int64_t p = old.ptr[row], found = 0; found < kept; ++p) {
      to[found] = old.col[p];
      found += keep[p];
    }
    while (at < stop && fresh < end) {
      const I a = *at, b = *fresh;
      const bool first = a < b;
      twice |= a == b;
      *out++ = first ? a : b;
      at += first;
      fresh += !first;
    }
    std::copy(fresh, end, out);
  }
  return twice;
}

template <class I>
void find_places(const Pattern<I>& old, const Pattern<I>& now, int64_t* places, int threads) {
  const int64_t at_a_time = rows_at_a_time(old.rows, threads);
#pragma omp parallel for schedule(dynamic, at_a_time) num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < old.rows; ++row)
    match<I, int64_t>(old.col + old.ptr[row], old.col + old.ptr[row + 1], now.col + now.ptr[row],
                      now.col + now.ptr[row + 1], old.ptr[row], -1, places + now.ptr[row]);
}

template <class I>
size_t carry(const Pattern<I>& old, const Pattern<I>& now, const std::vector<Carried>& all,
             int threads) {
  const std::vector<int64_t> bounds = cut(old, now), order = in_order(old, now, bounds);
  int64_t most_old = 0, most_now = 0, widest = 0;
  for (size_t block = 0; block + 1 < bounds.size(); ++block) {
    const int64_t first = bounds[block], last = bounds[block + 1];
    most_old = std::max<int64_t>(most_old, old.ptr[last] - old.ptr[first]);
    most_now = std::max<int64_t>(most_now, now.ptr[last] - now.ptr[first]);
  }
  for (const Carried& each : all) widest = std::max(widest, each.bytes);
  const size_t places_bytes = most_now * sizeof(I), saved_bytes = (most_old + 1) * widest;
  const std::unique_ptr<I[]> places(new (std::nothrow) I[most_now + 1]);
  const std::unique_ptr<char[]> saved(new (std::nothrow) char[saved_bytes]);
  if (!places || !saved) return places_bytes + saved_bytes;
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (const int64_t block : order) {
    const int64_t top = bounds[block], bottom = bounds[block + 1];
    const int64_t before = old.ptr[top], first = now.ptr[top], last = now.ptr[bottom];
    const int64_t at_a_time = rows_at_a_time(bottom - top, threads);
#pragma omp for schedule(dynamic, at_a_time)
    for (int64_t row = top; row < bottom; ++row)
      match<I, I>(old.col + old.ptr[row], old.col + old.ptr[row + 1], now.col + now.ptr[row],
                  now.col + now.ptr[row + 1], static_cast<I>(old.ptr[row] - before + 1), I{0},
                  places.get() + (now.ptr[row] - first));
    for (const Carried& each : all) {
      const int64_t bytes = each.bytes;
#pragma omp single
      {
        std::fill_n(saved.get(), bytes, char{0});
        std::copy_n(each.from + before * bytes, (old.ptr[bottom] - before) * bytes,
                    saved.get() + bytes);
      }
      switch (bytes) {
        case 1: gather<uint8_t>(saved.get(), places.get(), first, last, each.to); break;
        case 2: gather<uint16_t>(saved.get(), places.get(), first, last, each.to); break;
        case 4: gather<uint32_t>(saved.get(), places.get(), first, last, each.to); break;
        default: gather<uint64_t>(saved.get(), places.get(), first, last, each.to);
      }
    }
  }
  return 0;
}

#define SB_MERGES(I)                                                                         \
  template void kept_of_rows(const Pattern<I>&, const bool*, I*, int);                       \
  template bool merge(const Pattern<I>&, const bool*, const Pattern<I>&, const I*, I*, int); \
  template void find_places(const Pattern<I>&, const Pattern<I>&, int64_t*, int);            \
  template size_t carry(const Pattern<I>&, const Pattern<I>&, const std::vector<Carried>&, int);
SB_MERGES(int32_t)
SB_MERGES(int64_t)

}  // namespace sparsebench
