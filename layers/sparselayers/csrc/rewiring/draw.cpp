// Places for connections to grow in, drawn uniformly or with given chances.
#include <algorithm>

#include "rows.h"
#include "streams.h"

namespace sparsebench {
namespace {

// Streams of the rows count from here; below are those of a whole draw.
constexpr uint64_t first_row_stream = 1;

// Rows have about as many free places where so many times those of all would do for all to have as many as
// the emptiest.
constexpr int64_t about = 4;

// One row in which more than half of the places are to be taken: each free one is looked at
// (algorithm S, Knuth, The Art of Computer Programming, section 3.4.2).
template <class I>
void draw_crowded(const I* at, const I* end, const bool* keep, int64_t free, Stream& stream,
                  int64_t count, I* col) {
  const I* const begin = at;
  for (I place = 0; count > 0; ++place) {
    if (at < end && *at == place) {
      const bool taken = !keep || keep[at - begin];
      ++at;
      if (taken) continue;
    }
    if (stream.below(free) < count) *col++ = place, --count;
    --free;
  }
}

// One row: what is taken, or was drawn before, is drawn again until nothing is missing.
template <class I>
void draw_scattered(const I* at, const I* end, const bool* keep, int64_t columns, Stream& stream,
                    int64_t count, I* col) {
  for (int64_t left = 0; left < count;) {
    for (int64_t i = left; i < count; ++i) col[i] = static_cast<I>(stream.below(columns));
    sort_columns(col, count, columns);
    left = leave_absent(col, count, at, end, keep);
  }
}

template <class I>
int64_t drawn(const Chances<I>& chances, Stream& stream) {
  const int64_t index = stream.below(chances.size);
  if (!chances.own) return index;
  const int64_t other = chances.other[index];  // read in any case: nobody could predict the branch
  return stream.unit() < chances.own[index] ? index : other;
}

struct Place { int64_t row, number; };

// Draws places until so many were not drawn before, and counts them by rows.
template <class I, class Next>
void draw_until(int64_t missing, const I* free, I* drawn, Next next) {
  while (missing > 0) {
    const auto [row, place] = next();
    const bool accepted = place < free[row] - drawn[row];
    drawn[row] += accepted;
    missing -= accepted;
  }
}

}  // namespace

// An urn: a place is drawn, and counts where its row has so many left. Of more than half of all places
// those are drawn that stay free, so that O(connections) draws suffice. A place is a row and one of as
// many as the emptiest row has free; where rows differ a lot that is hardly ever one, and it is looked up
// among all that are free.
template <class I>
void spread(const I* free, int64_t rows, int64_t count, uint64_t seed, I* drawn) {
  int64_t total = 0, widest = 0;
  for (int64_t row = 0; row < rows; ++row) {
    total += free[row];
    widest = std::max<int64_t>(widest, free[row]);
    drawn[row] = 0;
  }
  const bool left_out = count > total - count;
  const int64_t missing = left_out ? total - count : count;
  Stream stream(seed, 0);
  if (rows * widest / about <= total) {
    draw_until(missing, free, drawn, [&] {
      const int64_t row = stream.below(rows);
      return Place{row, stream.below(widest)};
    });
  } else {
    std::vector<int64_t> ends(rows);
    for (int64_t row = 0, end = 0; row < rows; ++row) ends[row] = end += free[row];
    draw_until(missing, free, drawn, [&] {
      const int64_t place = stream.below(total);
      const int64_t row = std::upper_bound(ends.begin(), ends.end(), place) - ends.begin();
      return Place{row, place - (ends[row] - free[row])};
    });
  }
  if (left_out)
    for (int64_t row = 0; row < rows; ++row) drawn[row] = free[row] - drawn[row];
}

template <class I>
void draw(const Pattern<I>& taken, const bool* keep, const I* ptr, uint64_t seed, I* col,
          int threads) {
  const int64_t at_a_time = rows_at_a_time(taken.rows, threads);
#pragma omp parallel for schedule(dynamic, at_a_time) num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < taken.rows; ++row) {
    const int64_t count = ptr[row + 1] - ptr[row], first = taken.ptr[row];
    if (count == 0) continue;
    const I *at = taken.col + first, *end = taken.col + taken.ptr[row + 1];
    const bool* own = keep ? keep + first : nullptr;
    const int64_t there = own ? std::count(own, own + (end - at), true) : end - at;
    Stream stream(seed, first_row_stream + row);
    if (2 * (there + count) > taken.columns)
      draw_crowded(at, end, own, taken.columns - there, stream, count, col + ptr[row]);
    else
      draw_scattered(at, end, own, taken.columns, stream, count, col + ptr[row]);
  }
}

template <class I>
void make_chances(const double* weights, int64_t size, double* own, I* other) {
  double total = 0;
  for (int64_t i = 0; i < size; ++i) total += weights[i];
  // Whoever has less than an equal share is filled up by one that has more. Those that have less
  // wait at the front of the queue, those that have more at its back.
  std::vector<I> queue(size);
  int64_t less = 0, more = size;
  for (int64_t i = 0; i < size; ++i) {
    own[i] = weights[i] * static_cast<double>(size) / total;
    other[i] = static_cast<I>(i);
    if (own[i] < 1) queue[less++] = static_cast<I>(i);
    else queue[--more] = static_cast<I>(i);
  }
  while (less > 0 && more < size) {
    const I small = queue[--less], large = queue[more];
    other[small] = large;
    own[large] -= 1 - own[small];
    if (own[large] < 1) queue[less++] = large, ++more;
  }
  // What is left has an equal share, but for rounding.
  while (less > 0) own[queue[--less]] = 1;
  while (more < size) own[queue[more++]] = 1;
}

template <class I>
void draw_rows(const Chances<I>& chances, int64_t count, uint64_t seed, I* counts) {
  Stream stream(seed, 0);
  std::fill_n(counts, chances.size, I{0});
  for (int64_t i = 0; i < count; ++i) ++counts[drawn(chances, stream)];
}

template <class I>
void draw_absent(const Pattern<I>& pattern, int64_t first, int64_t last, const I* counts,
                 const Chances<I>& chances, uint64_t seed, I* ptr, I* col, int threads) {
  const int64_t rows = last - first, at_a_time = rows_at_a_time(rows, threads);
  std::vector<int64_t> begin(rows + 1);
  for (int64_t i = 0; i < rows; ++i) begin[i + 1] = begin[i] + counts[first + i];
#pragma omp parallel for schedule(dynamic, at_a_time) num_threads(threads) if (threads > 1)
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = first + i, count = begin[i + 1] - begin[i];
    I* own = col + begin[i];
    Stream stream(seed, first_row_stream + row);
    for (int64_t k = 0; k < count; ++k) own[k] = static_cast<I>(drawn(chances, stream));
    sort_columns(own, count, pattern.columns);
    ptr[i + 1] = static_cast<I>(leave_absent<I>(own, count, pattern.col + pattern.ptr[row],
                                                pattern.col + pattern.ptr[row + 1], nullptr));
  }
  ptr[0] = 0;
  for (int64_t i = 0; i < rows; ++i) {
    std::copy_n(col + begin[i], ptr[i + 1], col + ptr[i]);
    ptr[i + 1] += ptr[i];
  }
}

#define SB_DRAWS(I)                                                                          \
  template void spread(const I*, int64_t, int64_t, uint64_t, I*);                            \
  template void draw(const Pattern<I>&, const bool*, const I*, uint64_t, I*, int);           \
  template void make_chances(const double*, int64_t, double*, I*);                           \
  template void draw_rows(const Chances<I>&, int64_t, uint64_t, I*);                         \
  template void draw_absent(const Pattern<I>&, int64_t, int64_t, const I*, const Chances<I>&, \
                            uint64_t, I*, I*, int);
SB_DRAWS(int32_t)
SB_DRAWS(int64_t)

}  // namespace sparsebench
