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
// region's this is, `number` which team: 0 of all together. Every one of a team calls its functions.
struct Team {
  int thread, threads, number;
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
inline Team whole_team() { return {omp_get_thread_num(), omp_get_num_threads(), 0}; }

// Connections of more bytes do not stay in the caches from one block, or product, to the next.
constexpr int64_t cached_bytes = 8 << 20;

// Among how many threads to share out blocks, for connections of so many bytes: 1, where all threads work
// on each.
inline int sharing_blocks(int threads, int64_t bytes) { return bytes > cached_bytes ? 1 : threads; }

// So many blocks or more: as many for each of the threads, where there is one for each.
inline int64_t even_blocks(int64_t count, int threads) {
  return count < threads ? count : (count + threads - 1) / threads * threads;
}
// Into how many teams that makes them: one of all, or each thread by itself.
inline int teams_of(int64_t count, int threads) {
  return count > 0 && count % threads == 0 ? threads : 1;
}

// body(team, block) for all blocks by the `teams` of a parallel region. Which thread has which of its
// own blocks depends on how fast they are, or (`Fixed`), for sums over the blocks, does not.
template <bool Fixed, class Body>
void for_blocks(const Team& all, int64_t count, int teams, Body body) {
  const Team alone{all.thread, 1, all.thread};
  if (teams == 1)
    for (int64_t block = 0; block < count; ++block) body(all, block);
  else if (Fixed)
    for (int64_t block = all.thread; block < count; block += all.threads) body(alone, block);
  else
    all.take(count, 1, [&](int64_t block) { body(alone, block); });
}

// Where teams add up what is a sum over all blocks, `count` numbers: the first in the result, others each
// in a place of its own, until all are done.
template <class W>
class Sums {
 public:
  Sums(W* result, int64_t count, Memory where, int teams)
      : result(result), count(result ? count : 0), teams(teams),
        others(where, (teams - 1) * this->count * sizeof(W)) {}
  size_t missing() const { return others.missing(); }
  W* of(int team) const {
    const bool is_first = team == 0 || !result;
    return is_first ? result : reinterpret_cast<W*>(others.data) + (team - 1) * count;
  }
  // By all threads, after a barrier; in the order of the teams, of which there may be fewer than asked for.
  template <class Add>
  void add(const Team& all, Add added) const {
    constexpr int64_t chunk = 4096;
    const int added_up = std::min(teams, all.threads);
    all.share(added_up == 1 ? 0 : count, chunk, [&](int64_t begin) {
      for (int team = 1; team < added_up; ++team)
        added(result + begin, of(team) + begin, std::min(chunk, count - begin));
    });
  }

 private:
  W* const result;
  const int64_t count;
  const int teams;
  const Room others;
};

}  // namespace sparsebench
