// The products of a sparse convolution over packed planes (planes.h).
//
// A window's pixels lie at the same distance from each other everywhere in the planes. So the
// result's plane is a sum of shifted planes, each times one weight, and its lanes are as good as
// those of a batch: `pitch − cols` of each row are computed in vain, and not written.
#pragma once

#include <omp.h>

#include "blocks.h"
#include "planes.h"
#include "scratch.h"

namespace {

using sparsebench::Memory;
using sparsebench::Room;

// Numbers that one thread, or a team, works in: whole lines, and zeros to read behind the end.
constexpr int64_t behind = 64;
template <class T>
SB_INLINE int64_t with_room_behind(int64_t count) {
  constexpr int64_t line = 64 / sizeof(T);
  return (count + behind + line - 1) / line * line;
}
template <class T>
SB_INLINE T* room_for(const Room& room, int64_t before, int64_t count) {
  T* data = reinterpret_cast<T*>(room.data) + before;
  clear(data + count, behind);
  return data;
}

// to[lane] = bias + Σ_p values[p] · x[offset p + lane] for R registers.
template <class V, int R, class T = typename V::Scalar>
void correlate_tile(const Taps& taps, int64_t begin, int64_t end, const T* values, T bias,
                    const T* x, T* to) {
  constexpr int U = R >= 4 ? 1 : R >= 2 ? 2 : 4;  // sums that need not wait for each other
  V sums[U][R];
  for (int u = 0; u < U; ++u)
    for (int r = 0; r < R; ++r) sums[u][r] = V::fill(u ? T(0) : bias);
  const auto add = [&](V(&sum)[R], int64_t p) {
    const V weight = V::fill(values[p]);
    const T* from = x + taps.offset[p];
    for (int r = 0; r < R; ++r) sum[r].add_product(weight, V::load(from + r * V::lanes));
  };
  int64_t p = begin;
  for (; p + U <= end; p += U)
    for (int u = 0; u < U; ++u) add(sums[u], p + u);
  for (; p < end; ++p) add(sums[0], p);
  for (int u = 1; u < U; ++u)
    for (int r = 0; r < R; ++r) sums[0][r] += sums[u][r];
  for (int r = 0; r < R; ++r) sums[0][r].store(to + r * V::lanes);
}

template <class V, class T = typename V::Scalar>
SB_INLINE void correlate_run(const Taps& taps, int64_t begin, int64_t end, const T* values, T bias,
                             const T* x, int64_t length, T* to, Ahead<T> written, Ahead<T> read) {
  const int64_t registers = (length + V::lanes - 1) / V::lanes;
  const int64_t tiles = (registers + max_tile - 1) / max_tile;
  written.cut(tiles), read.cut(tiles);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t width = registers / tiles + (tile < registers % tiles);
    written.template fetch<1>();
    read.template fetch<0>();
    switch (width) {
#define SB_TILE(R) \
  case R: \
    if constexpr (R <= max_tile)                                                               \
      correlate_tile<V, R>(taps, begin, end, values, bias, x, to);                             \
    break;
      SB_TILE(1) SB_TILE(2) SB_TILE(3) SB_TILE(4) SB_TILE(5) SB_TILE(6) SB_TILE(7) SB_TILE(8)
      SB_TILE(9) SB_TILE(10) SB_TILE(11) SB_TILE(12) SB_TILE(13) SB_TILE(14) SB_TILE(15) SB_TILE(16)
#undef SB_TILE
    }
    x += width * V::lanes, to += width * V::lanes;
  }
}

// Where the result of one of a plane's runs goes, if its pixels lie there side by side.
template <class T>
SB_INLINE Ahead<T> destination(const Images<T>& to, const Blocking& blocking, int64_t image,
                                     int64_t row, int64_t height, int64_t channel, int64_t run,
                                     int64_t runs) {
  if (blocking.inner > 1 || to.row_step > 1 || to.col_step > 1) return {};
  const int64_t area = to.rows * to.cols;
  const int64_t first = larger<int64_t>(0, row - to.row_shift);
  const int64_t count = larger<int64_t>(0, smaller(height, to.rows - first)) * to.cols;
  const int64_t begin = count * run / runs;
  return {to.data + (image * to.channels + channel) * area + first * to.cols + begin,
          count * (run + 1) / runs - begin};
}

// The first plane of `part` of `parts` that hold about equally many connections.
// A block of planes is not cut.
SB_INLINE int64_t first_plane(const Taps& taps, int64_t part, int64_t parts) {
  const int64_t total = taps.ptr[taps.planes] + 2 * taps.planes;
  const auto share = static_cast<int64_t>(static_cast<double>(total) * part / parts);
  int64_t low = 0, high = taps.planes;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (taps.ptr[middle] + 2 * middle < share) low = middle + 1; else high = middle;
  }
  return part == parts ? taps.planes : low / taps.together * taps.together;
}

// Threads take blocks of their own where there are enough; otherwise all work on the same block.
struct Team {
  int64_t blocks, bands;
  bool apart;
  SB_INLINE Team(const Blocking& b, int threads) {
    bands = (b.rows + b.band - 1) / b.band;
    blocks = (b.images + b.inner - 1) / b.inner * bands;
    apart = threads == 1 || blocks % threads == 0 || blocks >= 4 * threads;
  }
  // Bands differ by one row at most, so that threads get about equally many.
  SB_INLINE int64_t first_row(const Blocking& b, int64_t block) const {
    return b.rows * (block % bands) / bands;
  }
  SB_INLINE int64_t height(const Blocking& b, int64_t block) const {
    return b.rows * (block % bands + 1) / bands - first_row(b, block);
  }
};

// What the next block will read: the same rows of each of the channels [begin, end).
template <class T>
struct Next {
  const T* data = nullptr;
  int64_t begin = 0, end = 0, area = 0, length = 0;
  Next(const Images<const T>& from, const Blocking& b, const Team& team, int64_t block,
       int64_t stop, int64_t part, int64_t parts) {
    if (block >= stop || b.inner > 1 || from.row_step > 1) return;
    const int64_t row = team.first_row(b, block) - from.row_shift;
    const int64_t first = larger<int64_t>(0, row);
    const int64_t last = smaller(from.rows, row + b.band + b.extra_rows);
    begin = from.channels * part / parts, end = from.channels * (part + 1) / parts;
    area = from.rows * from.cols, length = larger<int64_t>(0, last - first) * from.cols;
    data = from.data + block / team.bands * from.channels * area + first * from.cols;
  }
  // That of channel number ⌊(end − begin) · index / parts⌋, cut once more.
  SB_INLINE Ahead<T> of(int64_t index, int64_t parts, int64_t run, int64_t runs) const {
    const int64_t now = (end - begin) * index / parts, then = (end - begin) * (index + 1) / parts;
    if (now == then || !data) return {};
    const int64_t cut = length * run / runs;
    return {data + (begin + now) * area + cut, length * (run + 1) / runs - cut};
  }
};

// correlate_tile for the last lanes of a plane as it is: what lies behind belongs to others.
template <class V, class T = typename V::Scalar>
void correlate_rest(const Taps& taps, int64_t begin, int64_t end, const T* values, T bias,
                    const T* x, int count, T* to) {
  V sum = V::fill(bias);
  for (int64_t p = begin; p < end; ++p)
    sum.add_product(V::fill(values[p]), V::load(x + taps.offset[p], count));
  sum.store(to, count);
}

// One band of an image whose channels are planes as they are: nothing is copied.
template <class V, class T = typename V::Scalar>
void correlate_in_place(const Taps& taps, int64_t begin, int64_t end, const T* values,
                        const T* bias, const T* x, int64_t length, T* to, int64_t area,
                        const Next<T>& next) {
  const int64_t whole = length / V::lanes * V::lanes;
  const int rest = static_cast<int>(length - whole);
  const int64_t together = taps.together;
  for (int64_t first = begin; first < end; first += together) {
    const Ahead<T> read = next.of((first - begin) / together, (end - begin) / together, 0, 1);
    if (together > 1) {
      Ahead<T> written[block_planes];
      correlate_block<V>(taps, first, values, bias, x, whole, to + first * area, area, written, read);
    }
    for (int64_t plane = first; plane < first + together; ++plane) {
      const int64_t from = taps.ptr[plane], last = taps.ptr[plane + 1];
      const T start = bias ? bias[plane] : T(0);
      T* y = to + plane * area;
      if (together == 1)
        correlate_run<V>(taps, from, last, values, start, x, whole, y, Ahead<T>{}, read);
      if (rest) correlate_rest<V>(taps, from, last, values, start, x + whole, rest, y + whole);
    }
  }
}

template <class T>
size_t correlate(Blocking blocking, Images<const T> from, Taps taps, const T* values, const T* bias,
               Images<T> to, int threads) {
  using V = Vector<T, SB_VECTOR_BYTES / sizeof(T)>;
  const Team team(blocking, threads);
  const int64_t phases = from.row_phases * from.col_phases;
  const int64_t line = blocking.pitch * blocking.inner;
  const int64_t size = from.channels * phases * (blocking.band + blocking.extra_rows) * line;
  const int64_t biases = to.row_phases * to.col_phases;
  const int64_t result_pitch = blocking.band * line + max_tile * V::lanes;
  const int64_t result_size = taps.together * result_pitch;
  const int64_t own = with_room_behind<T>(size), results = (team.apart ? threads : 1) * own;
  const int64_t result_own = with_room_behind<T>(result_size);
  const Room room(Memory::blocks, (results + threads * result_own) * sizeof(T));
  if (const size_t missing = room.missing()) return missing;
  T* shared = room_for<T>(room, 0, size);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    const int64_t part = team.apart ? 0 : me, parts = team.apart ? 1 : all;
    T* result = room_for<T>(room, results + me * result_own, result_size);
    T* planes = team.apart ? room_for<T>(room, me * own, size) : shared;
    const int64_t start = team.apart ? team.blocks * me / all : 0;
    const int64_t stop = team.apart ? team.blocks * (me + 1) / all : team.blocks;
    const int64_t begin = first_plane(taps, part, parts), end = first_plane(taps, part + 1, parts);
    for (int64_t block = start; block < stop; ++block) {
      const int64_t image = block / team.bands * blocking.inner;
      const int64_t row = team.first_row(blocking, block), height = team.height(blocking, block);
      const Next<T> next(from, blocking, team, block + 1, stop, part, parts);
      if (in_place(blocking)) {
        const int64_t area = to.rows * to.cols, first = row * to.cols;
        correlate_in_place<V>(taps, begin, end, values, bias,
                              from.data + image * from.channels * area + first, height * to.cols,
                              to.data + image * to.channels * area + first, area, next);
        continue;
      }
      // Offsets are those of the highest bands, so the others are packed like them.
      pack<V>(from, blocking, image, row, blocking.band + blocking.extra_rows,
              from.channels * part / parts, from.channels * (part + 1) / parts, planes);
      if (!team.apart) {
#pragma omp barrier
      }
      const Runs runs = runs_of(blocking, height, V::lanes);
      for (int64_t plane = begin; plane < end; plane += taps.together) {
        const int64_t turn = (plane - begin) / taps.together, turns = (end - begin) / taps.together;
        for (int64_t run = 0; run < runs.count; ++run) {
          const Ahead<T> read = next.of(turn, turns, run, runs.count);
          const T* pixels = planes + run * runs.stride;
          Ahead<T> written[block_planes];
          for (int64_t g = 0; g < taps.together; ++g)
            written[g] = destination(to, blocking, image, row, height, plane + g, run, runs.count);
          if (taps.together == 1)
            correlate_run<V>(taps, taps.ptr[plane], taps.ptr[plane + 1], values,
                             bias ? bias[plane / biases] : T(0), pixels, runs.length,
                             result + run * runs.stride, written[0], read);
          else
            correlate_block<V>(taps, plane, values, bias, pixels, runs.length,
                               result + run * runs.stride, result_pitch, written, read);
        }
        for (int64_t g = 0; g < taps.together; ++g)
          unpack<V>(result + g * result_pitch, to, blocking, image, row, height, plane + g);
      }
      if (!team.apart) {
#pragma omp barrier
      }
    }
  }
  return 0;
}

// terms[i] = Σ dy[lane] · x[offset i + lane] over all lanes, for G connections together.
template <class V, int G, class T = typename V::Scalar>
void correlate_group(const int32_t* offset, const T* x, const T* dy, const Runs& runs, V* terms) {
  constexpr int N = V::lanes;
  const T* from[G];
  for (int i = 0; i < G; ++i) from[i] = x + offset[i];
  V sum[G];
  for (int i = 0; i < G; ++i) sum[i] = V::zero();
  for (int64_t run = 0; run < runs.count; ++run) {
    const int64_t first = run * runs.stride, last = first + runs.length;
    int64_t lane = first;
    for (; lane + N <= last; lane += N) {
      const V y = V::load(dy + lane);
      for (int i = 0; i < G; ++i) sum[i].add_product(y, V::load(from[i] + lane));
    }
    if (lane < last) {  // what lies behind belongs to others, and may be NaN
      const int rest = static_cast<int>(last - lane);
      const V y = V::load(dy + lane, rest);
      for (int i = 0; i < G; ++i) sum[i].add_product(y, V::load(from[i] + lane, rest));
    }
  }
  for (int i = 0; i < G; ++i) terms[i] = sum[i];
}

// result[p] += Σ dy[lane] · x[offset p + lane] for connections of one plane of dy. Up to eight at a
// time run over all lanes together; their sums stay in registers.
template <class V, class T = typename V::Scalar>
void grad_values_plane(const Taps& taps, int64_t begin, int64_t end, const T* x, const T* dy,
                       const Runs& runs, T* result) {
  constexpr int N = V::lanes;
  for (int64_t p = begin; p < end; p += N) {
    const int count = static_cast<int>(smaller<int64_t>(N, end - p));
    V terms[N];
    for (int i = count; i < N; ++i) terms[i] = V::zero();
    for (int g = 0; g < count; g += 8) {
      const int32_t* offset = taps.offset + p + g;
      switch (smaller(8, count - g)) {
#define SB_GROUP(G) \
  case G: if constexpr (G <= N) correlate_group<V, G>(offset, x, dy, runs, terms + g); break;
        SB_GROUP(1) SB_GROUP(2) SB_GROUP(3) SB_GROUP(4) SB_GROUP(5) SB_GROUP(6) SB_GROUP(7)
        SB_GROUP(8)
#undef SB_GROUP
      }
    }
    V total = sums(terms);
    if (count == N) {
      total += V::load(result + p);
      total.store(result + p);
    } else {
      total += V::load(result + p, count);
      total.store(result + p, count);
    }
  }
}

// The same for plane number `plane` of those that a thread works on, [begin, end), or the block of planes
// that begins there, `pitch` apart, while what the next block reads is fetched.
template <class V, class T = typename V::Scalar>
SB_INLINE void grad_values_ahead(const Taps& taps, int64_t plane, int64_t begin, int64_t end,
                                 const T* x, const T* dy, int64_t pitch, const Runs& runs, T* result,
                                 const Next<T>& next_x, const Next<T>& next_dy) {
  int64_t p = taps.ptr[plane];
  const int64_t last = taps.ptr[plane + 1], count = last - p;
  const int64_t groups = (count + V::lanes - 1) / V::lanes;
  const int64_t turn = (plane - begin) / taps.together, turns = (end - begin) / taps.together;
  Ahead<T> x_ahead = next_x.of(turn, turns, 0, 1);
  Ahead<T> dy_ahead = next_dy.of(turn, turns, 0, 1);
  x_ahead.cut(groups), dy_ahead.cut(groups);
  const auto take = [&](int64_t stop) {
    if (taps.together == 1) grad_values_plane<V>(taps, p, stop, x, dy, runs, result);
    else grad_values_block<V>(taps, p, stop, count, x, dy, pitch, runs, result);
    p = stop;
  };
  while (p < last && (x_ahead.length || dy_ahead.length)) {
    x_ahead.template fetch<0>();
    dy_ahead.template fetch<0>();
    take(smaller(last, p + V::lanes));
  }
  take(last);
}

template <class T>
size_t grad_values(Blocking blocking, Images<const T> x, Images<const T> dy, Taps taps, T* result,
                 int threads) {
  using V = Vector<T, SB_VECTOR_BYTES / sizeof(T)>;
  const Team team(blocking, threads);
  const int64_t phases = x.row_phases * x.col_phases, line = blocking.pitch * blocking.inner;
  const int64_t size = x.channels * phases * (blocking.band + blocking.extra_rows) * line;
  const int64_t dy_plane = blocking.band * line, dy_size = dy.channels * dy_plane;
  const int64_t copies = team.apart ? threads : 1, others = team.apart ? threads - 1 : 0;
  const int64_t own = with_room_behind<T>(size), dy_own = with_room_behind<T>(dy_size);
  const int64_t sums_own = with_room_behind<T>(taps.count);
  const int64_t dy_first = copies * own, sums_first = dy_first + copies * dy_own;
  const Room room(Memory::blocks, (sums_first + others * sums_own) * sizeof(T));
  if (const size_t missing = room.missing()) return missing;
  T* shared = room_for<T>(room, 0, size);
  T* dy_shared = room_for<T>(room, dy_first, dy_size);
  const auto sums_of = [&](int64_t thread) {  // of all but the first, which has the result
    return room_for<T>(room, sums_first + (thread - 1) * sums_own, taps.count);
  };
  clear(result, taps.count);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t me = omp_get_thread_num(), all = omp_get_num_threads();
    const int64_t part = team.apart ? 0 : me, parts = team.apart ? 1 : all;
    T* planes = team.apart ? room_for<T>(room, me * own, size) : shared;
    T* dy_planes = team.apart ? room_for<T>(room, dy_first + me * dy_own, dy_size) : dy_shared;
    T* mine = team.apart && me > 0 ? sums_of(me) : result;
    if (mine != result) clear(mine, taps.count);
    const int64_t start = team.apart ? team.blocks * me / all : 0;
    const int64_t stop = team.apart ? team.blocks * (me + 1) / all : team.blocks;
    const int64_t begin = first_plane(taps, part, parts), end = first_plane(taps, part + 1, parts);
    for (int64_t block = start; block < stop; ++block) {
      const int64_t image = block / team.bands * blocking.inner;
      const int64_t row = team.first_row(blocking, block), height = team.height(blocking, block);
      const Next<T> next_x(x, blocking, team, block + 1, stop, part, parts);
      const Next<T> next_dy(dy, blocking, team, block + 1, stop, part, parts);
      if (in_place(blocking)) {
        const int64_t area = x.rows * x.cols, first = row * x.cols;
        const Runs whole{1, height * x.cols, 0};
        const T* source = x.data + image * x.channels * area + first;
        const T* target = dy.data + image * dy.channels * area + first;
        for (int64_t plane = begin; plane < end; plane += taps.together)
          grad_values_ahead<V>(taps, plane, begin, end, source, target + plane * area, area, whole,
                               mine, next_x, next_dy);
        continue;
      }
      pack<V>(x, blocking, image, row, blocking.band + blocking.extra_rows,
              x.channels * part / parts, x.channels * (part + 1) / parts, planes);
      pack<V>(dy, blocking, image, row, blocking.band, dy.channels * part / parts,
              dy.channels * (part + 1) / parts, dy_planes);
      if (!team.apart) {
#pragma omp barrier
      }
      const Runs runs = runs_of(blocking, height, V::lanes);
      for (int64_t plane = begin; plane < end; plane += taps.together)
        grad_values_ahead<V>(taps, plane, begin, end, planes, dy_planes + plane * dy_plane, dy_plane,
                             runs, mine, next_x, next_dy);
      if (!team.apart) {
#pragma omp barrier
      }
    }
    if (team.apart && all > 1) {
#pragma omp barrier
      const int64_t low = taps.count * me / all, high = taps.count * (me + 1) / all;
      for (int64_t other = 1; other < all; ++other) {
        const T* theirs = sums_of(other);
        for (int64_t p = low; p < high; ++p) result[p] += theirs[p];
      }
    }
  }
  return 0;
}

template <class T>
constexpr sparsebench::ConvolutionOf<T> convolution_of() {
  return {SB_VECTOR_BYTES / sizeof(T), correlate<T>, grad_values<T>};
}

}  // namespace
