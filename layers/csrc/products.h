// The three products of a sparse layer over arranged activations.
//
// Rows are cut into parts of equally many connections, which threads take as they become free. They
// take the rows of a part in panels and the columns in tiles, so that a tile of the one operand
// stays in the L1 or L2 cache while the panel of the other streams from L2:
//
//   for block of the batch, for part: for panel of rows: for tile of columns: for row: for connection
#pragma once

#include <cstdlib>

#include "pack.h"

namespace {

using sparsebench::Rows;

constexpr int64_t tile_bytes = 64 << 10;    // of features: smaller tiles are joined
constexpr int64_t gather_bytes = 512 << 10; // of features that are gathered one by one, from L2
constexpr int64_t panel_bytes = 256 << 10;  // of rows
constexpr int64_t prefetch_rows = 4;
constexpr int64_t prefetch_connections = 256;
constexpr int64_t line_bytes = 64;
constexpr int64_t far_bytes = 2 << 20;  // of features: more are fetched in advance, see fetch_feature
constexpr int64_t far_connections = 64;
constexpr int64_t parts_per_thread = 4;

// The first row of `part` of `parts` that hold about equally many connections. A row counts as
// two more than it has: starting and storing it takes about that long.
template <class Index>
SB_INLINE int64_t first_row(const Rows<Index>& rows, int64_t part, int64_t parts) {
  if (part == parts) return rows.count;
  const int64_t total = rows.ptr[rows.count] + 2 * rows.count;
  const auto share = static_cast<int64_t>(static_cast<double>(total) * part / parts);
  int64_t low = 0, high = rows.count;
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (rows.ptr[middle] + 2 * middle < share) low = middle + 1; else high = middle;
  }
  return low;
}

// More parts than threads even out what else the machine does, but not of very few rows.
template <class Index>
SB_INLINE int64_t parts_of(const Rows<Index>& rows, int threads) {
  if (threads == 1) return 1;
  return larger<int64_t>(threads, smaller(threads * parts_per_thread, rows.count / 128));
}

// Where the connections of each row begin and end within one tile.
template <class Index>
struct Tile {
  const Index *begin, *end;
  bool first;
};

// Calls body(Tile, first row, last row) for all panels and tiles of rows [begin, end).
template <class Index, class Body>
SB_INLINE void for_tiles(const Rows<Index>& rows, int64_t begin, int64_t end, int64_t panel,
                         int64_t step, Body body) {
  for (int64_t top = begin; top < end; top += panel) {
    const int64_t bottom = smaller(top + panel, end);
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
SB_INLINE int64_t tile_step(const Rows<Index>& rows, int64_t features, int64_t feature_bytes,
                            int64_t room = tile_bytes) {
  if (feature_bytes <= line_bytes && feature_bytes > line_bytes / 8) return rows.tiles;
  const int64_t bytes = features * feature_bytes / rows.tiles + 1;
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
thread_local Scratch scratch, block_scratch;

// Lines of one feature that belong to other blocks would be prefetched in vain and crowd the cache,
// so a block that is not the whole batch is copied together first.
template <class T>
SB_INLINE T* room_for_block(const Blocks<T>& blocks, int64_t features, int64_t rows) {
  if (blocks.count < 2) return nullptr;
  return block_scratch.get<T>((features + rows) * blocks.width(0) * blocks.unit);
}
template <int64_t Lanes, class T>
SB_INLINE Arranged<const T> take_block(const Blocks<T>& blocks, Arranged<const T> x, int64_t lane,
                                       int64_t features, T* copy) {
  if (blocks.count < 2) return {x.data + lane, x.pitch};
#pragma omp for
  for (int64_t feature = 0; feature < features; ++feature)
    __builtin_memcpy(copy + feature * Lanes, x.data + lane + feature * x.pitch, Lanes * sizeof(T));
  return {copy, Lanes};
}

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

// Fetches what the connection that comes far_connections after p reads at random; `last` is the last
// connection of all.
template <bool Transposed, class W, class Index, class T>
SB_INLINE void fetch_feature(const Rows<Index>& rows, const W* values, Arranged<const T> x,
                             int64_t p, int64_t last) {
  const int64_t next = smaller(p + far_connections, last);
  if constexpr (Transposed) {
    __builtin_prefetch(values + rows.entries[next].place);
    __builtin_prefetch(x.data + rows.entries[next].row * x.pitch);
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
  if constexpr (sizeof(Index) == 4 && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
    uint64_t both;
    __builtin_memcpy(&both, rows.entries + p, sizeof both);
    return {static_cast<uint32_t>(both), widened(values[both >> 32])};
  }
  return {rows.entries[p].row, widened(values[rows.entries[p].place])};
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

// The same for a batch of one, where lanes hold connections: a gather instead of broadcasts.
template <class W, class Index, class T>
SB_INLINE T dot_product(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                        const T* x) {
  using V = Vector<T, Blocks<T>::native>;
  V even = V::zero(), odd = V::zero();
  int64_t p = begin;
  for (; p + 2 * V::lanes <= end; p += 2 * V::lanes) {
    prefetch<false>(rows, values, p + prefetch_connections);
    prefetch<false>(rows, values, p + prefetch_connections + V::lanes);
    even.add_product(V::load(values + p), V::gather(x, rows.col + p));
    odd.add_product(V::load(values + p + V::lanes), V::gather(x, rows.col + p + V::lanes));
  }
  even += odd;
  T rest = 0;
  for (; p < end; ++p) rest += widened(values[p]) * x[rows.col[p]];
  return even.sum() + rest;
}

// One block of the batch times rows [begin, end).
template <class V, int R, bool Transposed, bool Far, class W, class Index,
          class T = typename V::Scalar>
void multiply_block(const Rows<Index>& rows, int64_t begin, int64_t end, const W* values,
                    const W* bias, Arranged<const T> x, int64_t step, int64_t batch,
                    Activations<W> result) {
  constexpr int64_t pitch = R * V::lanes;
  const bool tiled = rows.tiles > step;
  const int64_t panel = tiled ? panel_bytes / (pitch * sizeof(T)) : 16;
  T* sums_of_panel = scratch.get<T>(panel * pitch);
  for_tiles(rows, begin, end, panel, step, [&](Tile<Index> tile, int64_t top, int64_t bottom) {
    for (int64_t row = top; row < bottom; ++row) {
      T* to = sums_of_panel + (row - top) * pitch;
      if (tiled && row + prefetch_rows < bottom) {
        const Index ahead = tile.begin[row + prefetch_rows];
        prefetch<Transposed>(rows, values, ahead);
        for (int r = 0; r < R; ++r) __builtin_prefetch(to + 2 * pitch + r * V::lanes, 1);
      }
      V sums[R];
      for (int r = 0; r < R; ++r)
        sums[r] = tile.first ? V::fill(bias ? widened(bias[row]) : T(0)) : V::load(to + r * V::lanes);
      if constexpr (V::lanes == 1 && !Transposed)
        sums[0].raw += dot_product(rows, tile.begin[row], tile.end[row], values, x.data);
      else
        row_product<V, R, Transposed, Far, W>(sums, rows, tile.begin[row], tile.end[row], values, x);
      for (int r = 0; r < R; ++r) sums[r].store(to + r * V::lanes);
    }
    if (tiled && tile.end != rows.tile_ptr + rows.tiles * rows.count) return;
    unpack_tile<V, W>({sums_of_panel, pitch}, batch, bottom - top,
                      {result.data + top * result.feature_stride, result.batch_stride,
                       result.feature_stride});
  });
}

template <class W, class Index, class T = Compute<W>>
void multiply(Rows<Index> rows, const W* values, const W* bias, Arranged<const T> x,
              int64_t features, int64_t batch, Activations<W> result, int threads) {
  const Blocks<T> blocks(batch);
  const int64_t parts = parts_of(rows, threads);
  T* copy = room_for_block<T>(blocks, features, 0);
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks.count; ++block)
    with_block(blocks, block, [&](auto vector, auto registers) {
      using V = decltype(vector);
      constexpr int R = decltype(registers)::value;
      constexpr int64_t lanes = R * V::lanes;
      const int64_t lane = blocks.first_lane(block);
      const Arranged<const T> x_block = take_block<lanes>(blocks, x, lane, features, copy);
      const int64_t room = lanes == 1 && !rows.entries ? gather_bytes : tile_bytes;
      const auto run = is_far<V, R>(features)
                           ? rows.entries ? multiply_block<V, R, true, R == 1, W, Index>
                                          : multiply_block<V, R, false, R == 1, W, Index>
                           : rows.entries ? multiply_block<V, R, true, false, W, Index>
                                          : multiply_block<V, R, false, false, W, Index>;
#pragma omp for schedule(dynamic)
      for (int64_t part = 0; part < parts; ++part)
        run(rows, first_row(rows, part, parts), first_row(rows, part + 1, parts), values, bias,
            x_block, tile_step(rows, features, lanes * sizeof(T), room), smaller(lanes, batch - lane),
            {result.data + lane * result.batch_stride, result.batch_stride, result.feature_stride});
    });
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
  const int64_t panel = panel_bytes / (R * N * sizeof(T)), last = rows.ptr[rows.count] - 1;
  for_tiles(rows, begin, end, panel, step, [&](Tile<Index> tile, int64_t top, int64_t bottom) {
    for (int64_t row = top; row < bottom; ++row) {
      const T* from_y = dy.data + row * dy.pitch;
      if (row + prefetch_rows < bottom) {
        const Index ahead = tile.begin[row + prefetch_rows];
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

template <class W, class Index, class T = Compute<W>>
void grad_values(Rows<Index> rows, Arranged<const T> dy, Arranged<const T> x, int64_t features,
                 int64_t batch, W* result, int threads) {
  const Blocks<T> blocks(batch);
  const int64_t parts = parts_of(rows, threads);
  if (blocks.count == 0)
    for (int64_t p = 0; p < rows.ptr[rows.count]; ++p) result[p] = {};
  T* copy = room_for_block<T>(blocks, features, rows.count);
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t block = 0; block < blocks.count; ++block)
    with_block(blocks, block, [&](auto vector, auto registers) {
      using V = decltype(vector);
      constexpr int R = decltype(registers)::value;
      constexpr int64_t lanes = R * V::lanes;
      const int64_t lane = blocks.first_lane(block);
      const Arranged<const T> x_block = take_block<lanes>(blocks, x, lane, features, copy);
      const Arranged<const T> dy_block =
          take_block<lanes>(blocks, dy, lane, rows.count, copy ? copy + features * lanes : copy);
      const auto run = is_far<V, R>(features)
                           ? batch - lane < lanes ? grad_values_block<V, R, true, R == 1, W, Index>
                                                  : grad_values_block<V, R, false, R == 1, W, Index>
                           : batch - lane < lanes ? grad_values_block<V, R, true, false, W, Index>
                                                  : grad_values_block<V, R, false, false, W, Index>;
#pragma omp for schedule(dynamic)
      for (int64_t part = 0; part < parts; ++part)
        run(rows, first_row(rows, part, parts), first_row(rows, part + 1, parts), dy_block, x_block,
            tile_step(rows, features, lanes * sizeof(T)), smaller(lanes, batch - lane), block == 0,
            result);
    });
}

}  // namespace
