// Who works on a block of the batch: all threads of a pass together, or each on blocks of its own, where
// there are as many. Then none has to fetch what another arranged, or wait for it, but each goes through
// all connections. For what is compiled once (lanes/passes.cpp, row_blocks/passes.cpp).
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "scratch.h"

namespace sparsebench {

// All `threads` of a parallel region, or one of them by itself, which is 1 then. `thread` is which of the
// region's this is. Every one of a team calls its functions.
struct Team {
  int thread, threads;
  // body(begin) for every `step` of `count`; the next come when all are done.
  template <class Body>
  void share(int64_t count, int64_t step, Body body) const {
    if (threads == 1) {
      for (int64_t begin = 0; begin < count; begin += step) body(begin);
    } else {
#pragma omp for
      for (int64_t begin = 0; begin < count; begin += step) body(begin);
    }
  }
  // The same, as threads become free.
  template <class Body>
  void take(int64_t count, int64_t step, Body body) const {
    if (threads == 1) {
      for (int64_t begin = 0; begin < count; begin += step) body(begin);
    } else {
#pragma omp for schedule(dynamic)
      for (int64_t begin = 0; begin < count; begin += step) body(begin);
    }
  }
};

// All threads of the parallel region that this is in: perhaps fewer than were asked for.
inline Team whole_team() { return {omp_get_thread_num(), omp_get_num_threads()}; }

// Connections of more bytes do not stay in the caches from one block, or product, to the next.
constexpr int64_t cached_bytes = 8 << 20;

// Among how many threads to share out blocks, for connections of so many bytes: 1, where all threads work
// on each.
inline int sharing_blocks(int threads, int64_t bytes) { return bytes > cached_bytes ? 1 : threads; }

// So many blocks or more: as many for each of the threads, where there is one for each.
inline int64_t even_blocks(int64_t count, int threads) {
  return count < threads ? count : (count + threads - 1) / threads * threads;
}
inline bool have_own_blocks(int64_t count, int threads) {
  return threads > 1 && count > 0 && count % threads == 0;
}

// body(team, block) for all blocks by the threads of a parallel region. Which thread has which of its
// own blocks depends on how fast they are, or (`Fixed`), for sums over the blocks, does not.
template <bool Fixed, class Body>
void for_blocks(const Team& all, int64_t count, bool own_blocks, Body body) {
  const Team alone{all.thread, 1};
  if (!own_blocks)
    for (int64_t block = 0; block < count; ++block) body(all, block);
  else if (Fixed)
    for (int64_t block = all.thread; block < count; block += all.threads) body(alone, block);
  else
    all.take(count, 1, [&](int64_t block) { body(alone, block); });
}

// Where threads add up what is a sum over all blocks, `count` numbers: the first in the result, others
// with blocks of their own each in a place of its own, until all are done.
template <class W>
class Sums {
 public:
  Sums(W* result, int64_t count, Memory where, int threads)
      : result(result), count(result ? count : 0), threads(threads),
        others(where, (threads - 1) * this->count * sizeof(W)) {}
  size_t missing() const { return others.missing(); }
  W* of(int thread) const {
    const bool is_first = thread == 0 || threads == 1;
    return is_first || !result ? result : reinterpret_cast<W*>(others.data) + (thread - 1) * count;
  }
  // By all threads, after a barrier; in the order of the threads.
  template <class Add>
  void add(const Team& all, Add added) const {
    constexpr int64_t chunk = 4096;
    const int added_up = std::min(threads, all.threads);
    all.share(added_up == 1 ? 0 : count, chunk, [&](int64_t begin) {
      for (int thread = 1; thread < added_up; ++thread)
        added(result + begin, of(thread) + begin, std::min(chunk, count - begin));
    });
  }

 private:
  W* const result;
  const int64_t count;
  const int threads;
  const Room others;
};

}  // namespace sparsebench
