// How the connections of a layer fall to threads, and to the caches.
//
// Rows are cut into parts of equally many connections, which threads take as they become free. They
// take the rows of a part in panels and the columns in tiles, so that a tile of the one operand
// stays in the L1 or L2 cache while the panel of the other streams from L2:
//
//   for block of the batch, for part: for panel of rows: for tile of columns: for row: for connection
#pragma once

#include <algorithm>

#include "loops.h"
#include "narrow.h"

namespace sparsebench {

constexpr int64_t tile_bytes = 64 << 10;    // of features: smaller tiles are joined
// Rows that meet most features of a tile read it from end to end: of one that is larger than L1, each
// line has just been thrown out when its turn comes again. Others find much of it. So these are what L1
// holds but for 4 KB, which is for the rest.
extern const int64_t full_tile_bytes;
constexpr double full_density = 0.4;
constexpr int64_t gather_bytes = 512 << 10; // of features that are gathered one by one, from L2
// Of rows. Layers that are bits are large, and panels not to add to them what bits save.
template <class Index>
constexpr int64_t panel_bytes = by_bits<Index> ? 64 << 10 : 256 << 10;
constexpr int64_t parts_per_thread = 2;
constexpr int64_t pieces_per_thread = 4;  // of a row that is long

// How much work comes before `part` of `parts`. A row counts as two connections more than it has:
// starting and storing it takes about that long.
template <class Index>
inline int64_t work_before(const Rows<Index>& rows, int64_t part, int64_t parts) {
  const int64_t total = rows.ptr[rows.count] + 2 * rows.count;
  return static_cast<int64_t>(static_cast<double>(total) * part / parts);
}

// The first row of `part` of `parts` of about equal work.
template <class Index>
inline int64_t first_row(const Rows<Index>& rows, int64_t part, int64_t parts) {
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
template <class Index>
inline Cut first_connection(const Rows<Index>& rows, int64_t part, int64_t parts) {
  const int64_t next = first_row(rows, part, parts);
  if (part == parts || next == 0) return {next, static_cast<int64_t>(rows.ptr[next])};
  const int64_t row = next - 1;
  const int64_t work = work_before(rows, part, parts) - 2 * row;
  return {row, std::min<int64_t>(work, rows.ptr[next])};
}

// Calls body(row) for the rows that are more than one of `pieces` equal pieces of all work, which
// threads share out. Such a row holds the beginning of a piece.
template <class Index, class Body>
inline void for_long_rows(const Rows<Index>& rows, int64_t pieces, Body body) {
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
inline void between_long_rows(const Rows<Index>& rows, int64_t pieces, int64_t begin,
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
inline int64_t parts_of(const Rows<Index>& rows, int threads) {
  if (threads == 1) return 1;
  return std::max<int64_t>(threads, std::min(threads * parts_per_thread, rows.count / 128));
}

// Into how many pieces all connections must fall for a row of more than one to be shared out.
inline int64_t pieces_of(int threads) { return threads == 1 ? 1 : threads * pieces_per_thread; }

// Where the strip (pack.cpp) of a row ends.
inline int64_t after_strip(int64_t row) { return (row / strip_features + 1) * strip_features; }

// How many of `rows` rows to take together: whole strips, in panels of about equal length.
template <class Index, class T>
inline int64_t panel_rows(int64_t pitch, int64_t rows) {
  const int64_t most = panel_bytes<Index> / (pitch * sizeof(T));
  const int64_t panels = std::max<int64_t>(1, (rows + most / 2) / most);
  return after_strip(rows / panels);
}

// Tiles [tile, next), and all of them.
template <class Index>
inline Tile<Index> tiles_of(const Rows<Index>& rows, int64_t tile, int64_t next) {
  return {rows.tile_ptr + tile * rows.count, rows.tile_ptr + next * rows.count, tile == 0};
}
inline Tile<Bits> tiles_of(const Rows<Bits>&, int64_t tile, int64_t next) {
  return {tile, next, tile == 0};
}
template <class Index>
inline Tile<Index> all_tiles(const Rows<Index>& rows) { return {rows.ptr, rows.ptr + 1, true}; }
inline Tile<Bits> all_tiles(const Rows<Bits>& rows) { return {0, rows.tiles, true}; }

// Whether a tile of several is the last.
template <class Index>
inline bool is_last(const Rows<Index>& rows, const Tile<Index>& tile) {
  return tile.end == rows.tile_ptr + rows.tiles * rows.count;
}
inline bool is_last(const Rows<Bits>& rows, const Tile<Bits>& tile) { return tile.end == rows.tiles; }

// Calls body(Tile, first row, last row) for all panels and tiles of rows [begin, end). Panels end
// where strips do.
template <class Index, class Body>
inline void for_tiles(const Rows<Index>& rows, int64_t begin, int64_t end, int64_t panel,
                         int64_t step, Body body) {
  for (int64_t top = begin, bottom; top < end; top = bottom) {
    bottom = std::min(top - top % strip_features + panel, end);
    if (rows.tiles <= step) {
      body(all_tiles(rows), top, bottom);
      continue;
    }
    for (int64_t tile = 0; tile < rows.tiles; tile += step) {
      const int64_t next = std::min(tile + step, rows.tiles);
      body(tiles_of(rows, tile, next), top, bottom);
    }
  }
}

// How many of the given tiles to take at once, for features of so many bytes. Few tiles serve a
// batch of one best: a row's start costs as much as its gathers from L1 gain. Where a feature is one
// line at most, the few instructions of a connection leave the processor room to fetch many lines at
// a time, and one tile is best however many features there are.
template <class Index>
inline int64_t tile_step(const Rows<Index>& rows, int64_t feature_bytes,
                            int64_t room = tile_bytes) {
  if (feature_bytes <= line_bytes && feature_bytes > line_bytes / 8) return rows.tiles;
  if (room == tile_bytes && rows.ptr[rows.count] > full_density * rows.filled * rows.features)
    room = full_tile_bytes;
  const int64_t bytes = rows.features * feature_bytes / rows.tiles + 1;
  return std::max<int64_t>(1, room / bytes);
}

// Whether connections to come are to have their features fetched. Those that are beyond the caches
// take longer than the processor sees ahead by itself; elsewhere it is a waste, of a third of the
// time at the worst. Blocks of several registers run slowly enough.
inline bool is_far(Width width, int64_t features, int64_t number_bytes) {
  return width.registers == 1 && width.unit > 1 && features * width.unit * number_bytes > far_bytes;
}

}  // namespace sparsebench
