// The three products of a sparse layer over one arranged block of a batch.
//
// Rows are cut into parts of equally many connections, which threads take as they become free. They
// take the rows of a part in panels and the columns in tiles, so that a tile of the one operand
// stays in the L1 or L2 cache while the panel of the other streams from L2:
//
//   for block of the batch, for part: for panel of rows: for tile of columns: for row: for connection
#pragma once

#include <cstdlib>
#include <type_traits>

#include "pack.h"

namespace {

using sparsebench::Input;
using sparsebench::Rows;

template <class Index> using Pointer = typename Index::Pointer;

constexpr int64_t tile_bytes = 64 << 10;    // of features: smaller tiles are joined
// Rows that meet most features of a tile read it from end to end: of one that is larger than L1, each
// line has just been thrown out when its turn comes again. Others find much of it.
constexpr int64_t full_tile_bytes = 44 << 10;
constexpr double full_density = 0.4;
constexpr int64_t gather_bytes = 512 << 10; // of features that are gathered one by one, from L2
constexpr int64_t panel_bytes = 256 << 10;  // of rows
constexpr int64_t prefetch_rows = 4;
constexpr int64_t prefetch_connections = 256;
constexpr int64_t line_bytes = 64;
constexpr int64_t far_bytes = 2 << 20;  // of features: more are fetched in advance, see fetch_feature
constexpr int64_t far_connections = 64;
constexpr int64_t parts_per_thread = 2;
constexpr int64_t pieces_per_thread = 4;  // of a row that is long

// How much work comes before `part` of `parts`. A row counts as two connections more than it has:
// starting and storing it takes about that long.
template <class Index>
SB_INLINE int64_t work_before(const Rows<Index>& rows, int64_t part, int64_t parts) {
  const int64_t total = rows.ptr[rows.count] + 2 * rows.count;
  return static_cast<int64_t>(static_cast<double>(total) * part / parts);
}

// The first row of `part` of `parts` of about equal work.
template <class Index>
SB_INLINE int64_t first_row(const Rows<Index>& rows, int64_t part, int64_t parts) {
  if (part == parts) return rows.count;
  const int64_t work = work_before(rows, part, parts);
  int64_t low = 0, high = rows.count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (rows.ptr[middle] + 2 * middle < work) low = middle + 1; else high = middle;
  }
  return low;
}

// Where such a part begins if it may do so in the middle of a row.
struct Cut { int64_t row, connection; };
template <class Index>
SB_INLINE Cut first_connection(const Rows<Index>& rows, int64_t part, int64_t parts) {
  const int64_t next = first_row(rows, part, parts);
  if (part == parts || next == 0) return {next, static_cast<int64_t>(rows.ptr[next])};
  const int64_t row = next - 1;
  const int64_t work = work_before(rows, part, parts) - 2 * row;
  return {row, smaller<int64_t>(work, rows.ptr[next])};
}

// Calls body(row) for the rows that are more than one of `pieces` equal pieces of all work, which
// threads share out. Such a row holds the beginning of a piece.
template <class Index, class Body>
SB_INLINE void for_long_rows(const Rows<Index>& rows, int64_t pieces, Body body) {
  const int64_t total = rows.ptr[rows.count] + 2 * rows.count;
  if (pieces < 2 || rows.longest * pieces <= total) return;
  int64_t before = -1;
  for (int64_t piece = 1; piece < pieces; ++piece) {
    const int64_t row = first_connection(rows, piece, pieces).row;
    if (row != before && (rows.ptr[row + 1] - rows.ptr[row]) * pieces > total) body(row);
    before = row;
  }
}

// Calls body(first, last) for the rows [begin, end) between long ones.
template <class Index, class Body>
SB_INLINE void between_long_rows(const Rows<Index>& rows, int64_t pieces, int64_t begin,
                                 int64_t end, Body body) {
  for_long_rows(rows, pieces, [&](int64_t row) {
    if (row < begin || row >= end) return;
    if (begin < row) body(begin, row);
    begin = row + 1;
  });
  if (begin < end) body(begin, end);
}

// More parts than threads even out what else the machine does, but not of very few rows.
template <class Index>
SB_INLINE int64_t parts_of(const Rows<Index>& rows, int threads) {
  if (threads == 1) return 1;
  return larger<int64_t>(threads, smaller(threads * parts_per_thread, rows.count / 128));
}

// Into how many pieces all connections must fall for a row of more than one to be shared out.
SB_INLINE int64_t pieces_of(int threads) { return threads == 1 ? 1 : threads * pieces_per_thread; }

// Where the connections of each row begin and end within one tile.
template <class Index>
struct Tile {
  const Pointer<Index>*begin, *end;
  bool first;
};

// Where the strip (pack.h) of a row ends.
SB_INLINE int64_t after_strip(int64_t row) { return (row / strip_features + 1) * strip_features; }

// How many of `rows` rows to take together: whole strips, in panels of about equal length.
template <class T>
SB_INLINE int64_t panel_rows(int64_t pitch, int64_t rows) {
  const int64_t most = panel_bytes / (pitch * sizeof(T));
  const int64_t panels = larger<int64_t>(1, (rows + most / 2) / most);
  return after_strip(rows / panels);
}

// Calls body(Tile, first row, last row) for all panels and tiles of rows [begin, end). Panels end
// where strips do.
template <class Index, class Body>
SB_INLINE void for_tiles(const Rows<Index>& rows, int64_t begin, int64_t end, int64_t panel,
                         int64_t step, Body body) {
  for (int64_t top = begin, bottom; top < end; top = bottom) {
    bottom = smaller(top - top % strip_features + panel, end);
    if (rows.tiles <= step) {
      body(Tile<Index>{rows.ptr, rows.ptr + 1, true}, top, bottom);
      continue;
    }
    for (int64_t tile = 0; tile < rows.tiles; tile += step) {
      const int64_t next = smaller(tile + step, rows.tiles);
      body(Tile<Index>{rows.tile_ptr + tile * rows.count, rows.tile_ptr + next * rows.count,
                       tile == 0},
           top, bottom);
    }
  }
}

// How many of the given tiles to take at once, for features of so many bytes. Few tiles serve a
// batch of one best: a row's start costs as much as its gathers from L1 gain. Where a feature is one
// line at most, the few instructions of a connection leave the processor room to fetch many lines at
// a time, and one tile is best however many features there are.
template <class Index>
SB_INLINE int64_t tile_step(const Rows<Index>& rows, int64_t feature_bytes,
                            int64_t room = tile_bytes) {
  if (feature_bytes <= line_bytes && feature_bytes > line_bytes / 8) return rows.tiles;
  if (room == tile_bytes && rows.ptr[rows.count] > full_density * rows.filled * rows.features)
    room = full_tile_bytes;
  const int64_t bytes = rows.features * feature_bytes / rows.tiles + 1;
  return larger<int64_t>(1, room / bytes);
}

// Memory that a thread keeps for its panel of results.
struct Scratch {
  void* data = nullptr;
  size_t size = 0;
  ~Scratch() { std::free(data); }
  template <class T>
  T* get(size_t count) {
    if (count * sizeof(T) > size) {
      std::free(data);
      size = (count * sizeof(T) + 4095) / 4096 * 4096;
      data = std::aligned_alloc(4096, size);
    }
    return static_cast<T*>(data);
  }
};
thread_local Scratch scratch;

// Streams of connections are longer than what the hardware's prefetcher learns from one row.
template <bool Transposed, class W, class Index>
SB_INLINE void prefetch(const Rows<Index>& rows, const W* values, int64_t p) {
  if constexpr (Transposed) {
    __builtin_prefetch(rows.entries + p);
  } else {
    __builtin_prefetch(rows.col + p);
    __builtin_prefetch(values + p);
  }
}

// Whether connections to come are to have their features fetched. Those that are beyond the caches
// take longer than the processor sees ahead by itself; elsewhere it is a waste, of a third of the
// time at the worst. Blocks of several registers run slowly enough.
template <class V, int R>
SB_INLINE bool is_far(int64_t features) {
  constexpr int64_t bytes = V::lanes * sizeof(typename V::Scalar);
  return R == 1 && V::lanes > 1 && features * bytes > far_bytes;
}

// The row and the value's place of connection p of the transposed layer.
struct Located { int64_t row, place; };
template <class Index>
SB_INLINE Located located(const Rows<Index>& rows, int64_t p) {
  using Feature = typename Index::Feature;
  constexpr int bits = 8 * sizeof(Feature);
  Located at;
  if constexpr (bits <= 32 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
    // By one load, which compilers do not make of two; both numbers are positive.
    using Both = std::conditional_t<bits == 16, uint32_t, uint64_t>;
    Both both;
    __builtin_memcpy(&both, rows.entries + p, sizeof both);
    at = {static_cast<int64_t>(both & (~Both{} >> bits)), static_cast<int64_t>(both >> bits)};
  } else {
    at = {rows.entries[p].row, rows.entries[p].place};
  }
  if constexpr (Index::half) at.place += rows.starts[at.row];
  return at;
}

// Fetches what the connection that comes far_connections after p reads at random; `last` is the last
// connection of all.
template <bool Transposed, class W, class Index, class T>
SB_INLINE void fetch_feature(const Rows<Index>& rows, const W* values, Arranged<const T> x,
                             int64_t p, int64_t last) {
  const int64_t next = smaller(p + far_connections, last);
  if constexpr (Transposed) {
    const Located at = located(rows, next);
    __builtin_prefetch(values + at.place);
    __builtin_prefetch(x.data + at.row * x.pitch);
  } else {
    __builtin_prefetch(x.data + rows.col[next] * x.pitch);
  }
}

// What connection p multiplies by what.
template <class T>
struct Term {
  int64_t feature;
  T weight;
};
template <bool Transposed, class W, class Index, class T = Compute<W>>
SB_INLINE Term<T> term(const Rows<Index>& rows, const W* values, int64_t p) {
  if constexpr (!Transposed) return {rows.col[p], widened(values[p])};
  const Located at = located(rows, p);
  return {at.row, widened(values[at.place])};
}

// sums[r] += Σ_p values[p] · x[col p], U connections at a time with accumulators of their own, so
// that additions need not wait for each other.
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
SB_INLINE void row_product(V (&sums)[R], const Rows<Index>& rows, int64_t begin, int64_t end,
                           const W* values, Arranged<const T> x) {
  constexpr int U = R >= 4 ? 1 : R >= 2 ? 2 : 4;
  V partial[U][R];
  for (int r = 0; r < R; ++r) partial[0][r] = sums[r];
  for (int u = 1; u < U; ++u)
    for (int r = 0; r < R; ++r) partial[u][r] = V::zero();
  const int64_t last = rows.ptr[rows.count] - 1;
  const auto add = [&](V(&to)[R], int64_t p) {
    if constexpr (Far) fetch_feature<Transposed>(rows, values, x, p, last);
    const Term<T> at = term<Transposed>(rows, values, p);
    const V weight = V::fill(at.weight);
    const T* from = x.data + at.feature * x.pitch;
    for (int r = 0; r < R; ++r) to[r].add_product(weight, V::load(from + r * V::lanes));
  };
  int64_t p = begin;
  for (; p + U <= end; p += U) {
    if constexpr (R == 1) prefetch<Transposed>(rows, values, p + prefetch_connections);
    for (int u = 0; u < U; ++u) add(partial[u], p + u);
  }
  for (; p < end; ++p) add(partial[0], p);
  for (int r = 0; r < R; ++r) sums[r] = partial[0][r];
  for (int u = 1; u < U; ++u)
    for (int r = 0; r < R; ++r) sums[r] += partial[u][r];
}

// The numbers of a batch of one that so many connections in a row meet, where lanes hold connections:
// gathered, or (`Single`) loaded one by one, into half as wide a register with AVX-512.
template <class T, bool Single>
struct Met {
  static constexpr int lanes =
      Single ? smaller<int>(Blocks<T>::native, 32 / sizeof(T)) : Blocks<T>::native;
  using V = Vector<T, lanes>;
  template <class Index>
  static SB_INLINE V by(const Index* col, const T* x) {
    if constexpr (Single) return V::collect(x, col);
    return V::gather(x, col);
  }
};

// row_product for a batch of one.
template <bool Single, class W, class Index, class T>
SB_INLINE T dot_product(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                        const T* x) {
  using M = Met<T, Single>;
  using V = typename M::V;
  constexpr int N = M::lanes;
  V even = V::zero(), odd = V::zero();
  int64_t p = begin;
  for (; p + 2 * N <= end; p += 2 * N) {
    prefetch<false>(rows, values, p + prefetch_connections);
    if (N * sizeof(T) == line_bytes) prefetch<false>(rows, values, p + prefetch_connections + N);
    even.add_product(V::load(values + p), M::by(rows.col + p, x));
    odd.add_product(V::load(values + p + N), M::by(rows.col + p + N, x));
  }
  if (p + N <= end) {
    even.add_product(V::load(values + p), M::by(rows.col + p, x));
    p += N;
  }
  even += odd;
  T rest = 0;
  for (; p < end; ++p) rest += widened(values[p]) * x[rows.col[p]];
  return even.sum() + rest;
}

template <class W, class Index, class T>
SB_INLINE T dot_product(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                        const T* x) {
  return sparsebench::single_loads ? dot_product<true>(rows, begin, end, values, x)
                                   : dot_product<false>(rows, begin, end, values, x);
}

// One block of the batch times rows [begin, end). Sums go to the result strip by strip, while they
// are in L1; strips end at multiples of their length, so that few stores meet two lines.
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
void multiply_block(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                    const W* bias, Arranged<const T> x, int64_t step, int64_t batch,
                    Activations<W> result) {
  constexpr int64_t pitch = R * V::lanes;
  const bool tiled = rows.tiles > step;
  const int64_t panel = tiled ? panel_rows<T>(pitch, end - begin) : strip_features;
  T* sums_of_panel = scratch.get<T>(panel * pitch);
  for_tiles(rows, begin, end, panel, step, [&](Tile<Index> tile, int64_t top, int64_t bottom) {
    const bool last = !tiled || tile.end == rows.tile_ptr + rows.tiles * rows.count;
    const bool direct = last && pitch == 1;  // single numbers need no strip
    const auto add_tile = [&](int64_t from, int64_t to) {
      for (int64_t row = from; row < to; ++row) {
        T* at = sums_of_panel + (row - top) * pitch;
        if (!tile.first && !direct && tile.begin[row] == tile.end[row]) continue;
        if (tiled && row + prefetch_rows < bottom) {
          const Pointer<Index> ahead = tile.begin[row + prefetch_rows];
          prefetch<Transposed>(rows, values, ahead);
          for (int r = 0; r < R; ++r) __builtin_prefetch(at + 2 * pitch + r * V::lanes, 1);
        }
        V sums[R];
        for (int r = 0; r < R; ++r)
          sums[r] =
              tile.first ? V::fill(bias ? widened(bias[row]) : T(0)) : V::load(at + r * V::lanes);
        if constexpr (V::lanes == 1 && !Transposed)
          sums[0].raw += dot_product(rows, tile.begin[row], tile.end[row], values, x.data);
        else
          row_product<V, R, Transposed, Far, W>(sums, rows, tile.begin[row], tile.end[row], values,
                                                x);
        if (direct)
          keep(sums[0].raw[0], result.data[row * result.feature_stride]);
        else
          for (int r = 0; r < R; ++r) sums[r].store(at + r * V::lanes);
      }
    };
    if (direct || !last) return add_tile(top, bottom);
    for (int64_t strip = top, next; strip < bottom; strip = next) {
      next = smaller(after_strip(strip), bottom);
      add_tile(strip, next);
      unpack_tile<V, W>({sums_of_panel + (strip - top) * pitch, pitch}, batch, next - strip,
                        {result.data + strip * result.feature_stride, result.batch_stride,
                         result.feature_stride});
    }
  });
}

// One block of the batch times one row, whose connections threads share out. `sums` has room for a
// block for each of the pieces, which are added in order.
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
void multiply_long_row(const Rows<Index>& rows, int64_t row, int64_t pieces, const W* values,
                       const W* bias, Arranged<const T> x, int64_t batch, T* sums,
                       Activations<W> result) {
  constexpr int64_t pitch = R * V::lanes;
  const int64_t begin = rows.ptr[row], length = rows.ptr[row + 1] - begin;
#pragma omp for schedule(dynamic)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = begin + length * piece / pieces;
    const int64_t last = begin + length * (piece + 1) / pieces;
    V part[R];
    for (int r = 0; r < R; ++r) part[r] = V::zero();
    if constexpr (V::lanes == 1 && !Transposed)
      part[0].raw += dot_product(rows, first, last, values, x.data);
    else
      row_product<V, R, Transposed, Far, W>(part, rows, first, last, values, x);
    for (int r = 0; r < R; ++r) part[r].store(sums + piece * pitch + r * V::lanes);
  }
#pragma omp single
  {
    for (int r = 0; r < R; ++r) {
      V total = V::fill(bias ? widened(bias[row]) : T(0));
      for (int64_t piece = 0; piece < pieces; ++piece)
        total += V::load(sums + piece * pitch + r * V::lanes);
      total.store(sums + r * V::lanes);
    }
    unpack_tile<V, W>({sums, pitch}, batch, 1,
                      {result.data + row * result.feature_stride, result.batch_stride,
                       result.feature_stride});
  }
}

// One block of the batch times all rows, by all threads of a parallel region. `sums` has room for a
// block of each of pieces_of(threads).
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
void multiply_by_parts(const Rows<Index>& rows, const W* values, const W* bias, Arranged<const T> x,
                       int64_t batch, T* sums, Activations<W> result, int threads) {
  constexpr int64_t lanes = R * V::lanes;
  const int64_t parts = parts_of(rows, threads), pieces = pieces_of(threads);
  const int64_t tile = lanes == 1 && !Transposed ? gather_bytes : tile_bytes;
  const int64_t step = tile_step(rows, lanes * sizeof(T), tile);
  for_long_rows(rows, pieces, [&](int64_t row) {
    multiply_long_row<V, R, Transposed, Far>(rows, row, pieces, values, bias, x, batch, sums,
                                             result);
  });
#pragma omp for schedule(dynamic)
  for (int64_t part = 0; part < parts; ++part)
    between_long_rows(rows, pieces, first_row(rows, part, parts), first_row(rows, part + 1, parts),
                      [&](int64_t first, int64_t last) {
                        multiply_block<V, R, Transposed, Far>(rows, first, last, values, bias, x,
                                                              step, batch, result);
                      });
}

template <class V, int R, bool Transposed, class W, class Index, class T = typename V::Scalar>
SB_INLINE void multiply_rows(const Rows<Index>& rows, const W* values, const W* bias,
                             Arranged<const T> x, int64_t batch, T* sums, Activations<W> result,
                             int threads) {
  const auto run = is_far<V, R>(rows.features)
                       ? multiply_by_parts<V, R, Transposed, R == 1, W, Index>
                       : multiply_by_parts<V, R, Transposed, false, W, Index>;
  run(rows, values, bias, x, batch, sums, result, threads);
}

// result[p] (+)= Σ dy[row p] · x[col p] over one block, for rows [begin, end). `Tail`: the last
// register is not full, and what lies behind the batch must not be added (it may be NaN).
template <class V, int R, bool Tail, bool Far, class W, class Index,
          class T = typename V::Scalar>
void grad_values_block(const Rows<Index>& rows, int64_t begin, int64_t end, Arranged<const T> dy,
                       Arranged<const T> x, int64_t step, int64_t batch, bool first, W* result) {
  constexpr int N = V::lanes;
  const int rest = static_cast<int>(batch - (R - 1) * N);
  const auto load = [rest](const T* from, int r) {
    return Tail && r == R - 1 ? V::load(from + r * N, rest) : V::load(from + r * N);
  };
  const int64_t panel = panel_rows<T>(R * N, end - begin), last = rows.ptr[rows.count] - 1;
  for_tiles(rows, begin, end, panel, step, [&](Tile<Index> tile, int64_t top, int64_t bottom) {
    for (int64_t row = top; row < bottom; ++row) {
      const T* from_y = dy.data + row * dy.pitch;
      if (row + prefetch_rows < bottom) {
        const Pointer<Index> ahead = tile.begin[row + prefetch_rows];
        __builtin_prefetch(rows.col + ahead);
        __builtin_prefetch(result + ahead, 1);
        for (int r = 0; r < R; ++r) __builtin_prefetch(from_y + 2 * dy.pitch + r * N);
      }
      int64_t p = tile.begin[row];
      const int64_t stop = tile.end[row];
      if (p == stop) continue;
      V y[R];
      for (int r = 0; r < R; ++r) y[r] = load(from_y, r);
      const auto dot = [&](int64_t at) {
        if constexpr (Far) fetch_feature<false>(rows, result, x, at, last);
        const T* from = x.data + rows.col[at] * x.pitch;
        V total = V::zero();
        for (int r = 0; r < R; ++r) total.add_product(y[r], load(from, r));
        return total;
      };
      while (p < stop) {
        const int count = static_cast<int>(smaller<int64_t>(N, stop - p));
        V terms[N];
        for (int i = 0; i < N; ++i) terms[i] = V::zero();
#pragma GCC unroll 16
        for (int i = 0; i < N; ++i) {
          if (i >= count) break;
          terms[i] = dot(p + i);
        }
        V total = sums(terms);
        if (!first) total += count == N ? V::load(result + p) : V::load(result + p, count);
        if (count == N) total.store(result + p); else total.store(result + p, count);
        p += count;
      }
    }
  });
}

// The gradient of all values over one block, by all threads of a parallel region; `first` of blocks.
template <class V, int R, class W, class Index, class T = typename V::Scalar>
void grad_values_rows(const Rows<Index>& rows, Arranged<const T> dy, Arranged<const T> x,
                      int64_t batch, bool first, W* result, int threads) {
  constexpr int64_t lanes = R * V::lanes;
  const int64_t parts = parts_of(rows, threads), pieces = pieces_of(threads);
  const bool tail = batch < lanes;
  const auto run = is_far<V, R>(rows.features)
                       ? tail ? grad_values_block<V, R, true, R == 1, W, Index>
                              : grad_values_block<V, R, false, R == 1, W, Index>
                       : tail ? grad_values_block<V, R, true, false, W, Index>
                              : grad_values_block<V, R, false, false, W, Index>;
  const int64_t step = tile_step(rows, lanes * sizeof(T));
  for_long_rows(rows, pieces, [&](int64_t row) {
    const int64_t begin = rows.ptr[row], length = rows.ptr[row + 1] - begin;
#pragma omp for schedule(dynamic)
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const Pointer<Index> ptr[] = {
          static_cast<Pointer<Index>>(begin + length * piece / pieces),
          static_cast<Pointer<Index>>(begin + length * (piece + 1) / pieces)};
      run({1, rows.features, 1, ptr[1] - ptr[0], ptr, rows.col, nullptr, nullptr, 1, nullptr}, 0, 1,
          {dy.data + row * dy.pitch, dy.pitch}, x, 1, batch, first, result);
    }
  });
#pragma omp for schedule(dynamic)
  for (int64_t part = 0; part < parts; ++part)
    between_long_rows(rows, pieces, first_row(rows, part, parts), first_row(rows, part + 1, parts),
                      [&](int64_t begin, int64_t end) {
                        run(rows, begin, end, dy, x, step, batch, first, result);
                      });
}

}  // namespace
