// How rows, or words, fall to threads.
#pragma once

#include <omp.h>

#include <algorithm>

#include "bitmaps.h"

namespace sparsebench {

// Calls body(span, thread) for spans that threads take as they become free: several for each, so that
// one that is held up does not hold up all, of `most` at most and a multiple of `unit`.
template <class Body>
void in_spans(int64_t count, int64_t unit, int64_t most, int threads, Body body) {
  constexpr int64_t for_each = 2;
  const int64_t wanted = threads == 1 ? most : (count + for_each * threads - 1) / (for_each * threads);
  const int64_t length = std::clamp((wanted + unit - 1) / unit * unit, unit, most);
  const int64_t spans = (count + length - 1) / length;
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (int64_t span = 0; span < spans; ++span)
    body(Span{span * length, std::min((span + 1) * length, count)}, omp_get_thread_num());
}

}  // namespace sparsebench
