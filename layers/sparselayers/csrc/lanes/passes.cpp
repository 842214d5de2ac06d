// Every block of the batch is arranged when its turn comes, and goes through all products that want
// it while the caches hold it. Threads work on one block together, or, where blocks are enough, each on
// blocks of its own. Compiled once: what depends on an instruction set is behind `loops`.
#include "passes.h"

#include <omp.h>
#include <unistd.h>

#include "blocks.h"
#include "scratch.h"
#include "teams.h"
#include "tiles.h"

namespace sparsebench {

const Loops* loops = nullptr;

// A core's own cache; of 1 MB where the system does not tell.
const int64_t l2_bytes = [] {
#ifdef _SC_LEVEL2_CACHE_SIZE
  if (const long size = sysconf(_SC_LEVEL2_CACHE_SIZE); size > 0) return int64_t{size};
#endif
  return int64_t{1} << 20;
}();

// Of 48 KB where the system does not tell.
const int64_t full_tile_bytes = [] {
  int64_t l1_bytes = 48 << 10;
#ifdef _SC_LEVEL1_DCACHE_SIZE
  if (const long size = sysconf(_SC_LEVEL1_DCACHE_SIZE); size > 0) l1_bytes = size;
#endif
  return std::clamp<int64_t>(l1_bytes - (4 << 10), 24 << 10, tile_bytes);
}();

template <class W>
int native_lanes() { return loops->bytes / sizeof(Compute<W>); }

namespace {

float widened(float number) { return number; }
double widened(double number) { return number; }
float widened(bfloat16 number) {
  const uint32_t bits = uint32_t{number.bits} << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// The loops for one type of values and kind of indices.
template <class W, class Index, template <class, class> class Table>
const Table<W, Index>& of(const OfAll<Table>* all) {
  const auto& values = [all]() -> const OfValues<W, Table>& {
    if constexpr (std::is_same_v<W, float>) return all->f32;
    else if constexpr (std::is_same_v<W, double>) return all->f64;
    else return all->bf16;
  }();
  if constexpr (by_bits<Index>) return values.of_bits;
  else if constexpr (std::is_same_v<Index, Indices16>) return values.of16;
  else if constexpr (std::is_same_v<Index, Indices32>) return values.of32;
  else return values.of64;
}
// The same for what is compiled for all kinds of indices at once.
template <class W, class Tables>
const auto& of(const Tables* all) {
  if constexpr (std::is_same_v<W, float>) return all->f32;
  else if constexpr (std::is_same_v<W, double>) return all->f64;
  else return all->bf16;
}
template <class W>
const Packing<W>& packing() { return of<W>(loops->packing); }

// One block of a batch: which rows of it, in what registers, and with what it is moved.
template <class W>
struct Block {
  using T = Compute<W>;
  Width width;
  int64_t first_lane, batch, pitch;
  const typename Packing<W>::Loop& moves;
  Block(const Blocks& blocks, int64_t index, int64_t rows)
      : width(blocks.width(index)), first_lane(blocks.first_lane(index)),
        batch(std::min(blocks.lanes(index), rows - first_lane)), pitch(blocks.lanes(index)),
        moves(packing<W>().loops.at(width.unit, native_lanes<W>())) {}
  template <class X>
  Activations<X> of(Activations<X> x) const {
    return {x.data + first_lane * x.batch_stride, x.batch_stride, x.feature_stride};
  }
};

// Where threads keep the sums of a panel and of the pieces of a long row, and where blocks of so many
// features altogether are arranged, if they have to be: one for each team.
template <class T, class Index>
class Workspace {
 public:
  Workspace(const Blocks& blocks, int64_t features, int threads, int teams)
      : block_bytes(blocks.lanes(0) * sizeof(T)),
        arranged_bytes(features * block_bytes), pieces_bytes(pieces_of(threads) * block_bytes),
        panels(Memory::panels, threads * panel_stride() + pieces_bytes),
        arranged(Memory::blocks, teams * arranged_bytes) {}
  Missing missing() const { return panels.missing() + arranged.missing(); }
  T* panel(int thread) const {
    return reinterpret_cast<T*>(panels.data + thread * panel_stride());
  }
  T* pieces(int threads) const { return panel(threads); }
  T* block(int team) const {
    return reinterpret_cast<T*>(arranged.data + team * arranged_bytes);
  }

 private:
  // The longest of panel_rows(), in whole pages.
  size_t panel_stride() const {
    constexpr size_t page = 4096;
    return (panel_bytes<Index> / 2 * 3 + strip_features * block_bytes + page - 1) / page * page;
  }
  const size_t block_bytes, arranged_bytes, pieces_bytes;
  const Room panels, arranged;
};

// Arranges one block of the batch, with `block.pitch` numbers of each feature.
template <class W, class T = Compute<W>>
void arrange(const Team& team, const Block<W>& block, Activations<const W> batch, int64_t features,
             T* room) {
  constexpr int64_t chunk = 64;
  const Activations<const W> from = block.of(batch);
  team.share(features, chunk, [&](int64_t first) {
    block.moves.pack({from.data + first * from.feature_stride, from.batch_stride,
                      from.feature_stride},
                     block.batch, std::min(chunk, features - first),
                     {room + first * block.pitch, block.pitch});
  });
}

// One block of the batch, arranged in `room` where it is not.
template <class W, class T = Compute<W>>
Arranged<const T> take_block(const Team& team, const Block<W>& block, const Input<W>& x,
                             bool is_arranged, int64_t features, T* room) {
  if (is_arranged) {
    const Arranged<const T> whole = x.arranged();
    return {whole.data + block.first_lane, whole.pitch};
  }
  arrange(team, block, x.as_it_is(), features, room);
  return {room, block.pitch};
}

// The gradient of the bias, of the first block or a later one.
template <class W, class T = Compute<W>>
void add_over_batch(const Team& team, Arranged<const T> x, int64_t batch, int64_t features,
                    bool first, W* result) {
  constexpr int64_t chunk = 16;
  team.share(features, chunk, [&](int64_t begin) {
    packing<W>().add_over_batch({x.data + begin * x.pitch, x.pitch}, batch,
                                std::min(chunk, features - begin), first, result + begin);
  });
}

// One row, some connections of it, as a layer of its own.
template <class Index>
struct Piece {
  typename Index::Pointer ptr[2];
  Rows<Index> rows;
  Piece(const Rows<Index>& of, int64_t row, int64_t piece, int64_t pieces) : rows(of) {
    const int64_t begin = of.ptr[row], length = of.ptr[row + 1] - begin;
    ptr[0] = begin + length * piece / pieces;
    ptr[1] = begin + length * (piece + 1) / pieces;
    rows.count = rows.filled = rows.tiles = 1;
    rows.longest = ptr[1] - ptr[0];
    rows.ptr = ptr;
  }
  Piece(const Piece&) = delete;
  Tile<Index> tile() const { return {ptr, ptr + 1, true}; }
};

// One block of the batch times the connections of a layer, or of its transpose.
template <class W, class Index>
struct Product {
  using T = Compute<W>;
  const Block<W>& block;
  const Rows<Index>& rows;
  const W *values, *bias;
  Arranged<const T> x;
  Activations<W> result;
  MultiplyTile<W, Index> loop;
  int64_t step;

  Product(const Block<W>& block, const Rows<Index>& rows, const W* values, const W* bias,
          Arranged<const T> x, Activations<W> result, bool transposed)
      : block(block), rows(rows), values(values), bias(bias), x(x), result(block.of(result)) {
    const auto& near_or_far =
        of<W, Index>(loops->multiply).loops.at(block.width, native_lanes<W>());
    loop = (is_far(block.width, rows.features, sizeof(T)) ? near_or_far.far
                                                          : near_or_far.near)[transposed];
    const int64_t tile = block.pitch == 1 && !transposed ? gather_bytes : tile_bytes;
    step = tile_step(rows, block.pitch * sizeof(T), tile);
  }

  void by_parts(const Team& team, const Workspace<T, Index>& workspace) const {
    const int64_t parts = parts_of(rows, team.threads), pieces = pieces_of(team.threads);
    if constexpr (!by_bits<Index>)
      for_long_rows(rows, pieces, [&](int64_t row) {
        of_long_row(row, pieces, workspace.pieces(team.threads));
      });
    T* sums = workspace.panel(team.thread);
    team.take(parts, 1, [&](int64_t part) {
      between_long_rows(
          rows, pieces, first_row(rows, part, parts), first_row(rows, part + 1, parts),
          [&](int64_t begin, int64_t end) { of_rows(begin, end, sums); });
    });
  }

 private:
  void take_back(const T* sums, int64_t row, int64_t count) const {
    block.moves.unpack({sums, block.pitch}, block.batch, count,
                       {result.data + row * result.feature_stride, result.batch_stride,
                        result.feature_stride});
  }

  // Sums go to the result strip by strip, while they are in L1; strips end at multiples of their
  // length, so that few stores meet two lines.
  void of_rows(int64_t begin, int64_t end, T* sums) const {
    const int64_t pitch = block.pitch;
    const bool tiled = rows.tiles > step;
    const int64_t panel = tiled ? panel_rows<Index, T>(pitch, end - begin) : strip_features;
    for_tiles(rows, begin, end, panel, step, [&](Tile<Index> tile, int64_t top, int64_t bottom) {
      const bool last = !tiled || is_last(rows, tile);
      const bool single = last && pitch == 1;  // single numbers need no strip
      for (int64_t row = top, next; row < bottom; row = next) {
        next = last && !single ? std::min(after_strip(row), bottom) : bottom;
        T* at = sums + (row - top) * pitch;
        loop(rows, tile, {row, next, tiled ? bottom : 0}, values, bias, x, {at, pitch},
             single ? result : Activations<W>{});
        if (last && !single) take_back(at, row, next - row);
      }
    });
  }

  // One row, whose connections threads share out. `sums` has room for a block for each of the pieces,
  // which are added in order.
  void of_long_row(int64_t row, int64_t pieces, T* sums) const {
    const int64_t pitch = block.pitch;
#pragma omp for schedule(dynamic)
    for (int64_t piece = 0; piece < pieces; ++piece) {
      const Piece<Index> part(rows, row, piece, pieces);
      loop(part.rows, part.tile(), {0, 1, 0}, values, nullptr, x, {sums + piece * pitch, pitch},
           {});
    }
#pragma omp single
    {
      const T start = bias ? widened(bias[row]) : T(0);
      for (int64_t lane = 0; lane < pitch; ++lane) {
        T total = start;
        for (int64_t piece = 0; piece < pieces; ++piece) total += sums[piece * pitch + lane];
        sums[lane] = total;
      }
      take_back(sums, row, 1);
    }
  }
};

// dx of one block by bits: threads take words of columns, as they become free, and all rows of them.
template <class W, class T = Compute<W>>
void grad_input_by_bits(const Team& team, const Block<W>& block, const Rows<Bits>& rows,
                        const W* values, Arranged<const T> dy, Activations<W> result,
                        const Workspace<T, Bits>& workspace) {
  static_assert(word_places == strip_features);
  const Activations<W> to = block.of(result);
  const auto loop = of<W>(loops->squares).loops.at(block.width, native_lanes<W>());
  const int64_t most = panel_bytes<Bits> / (word_places * block.pitch * sizeof(T));
  const int64_t wanted = team.threads == 1 ? most : rows.tiles / (parts_per_thread * team.threads);
  const int64_t words = std::clamp<int64_t>(wanted, 1, most);
  T* sums = workspace.panel(team.thread);
  team.take(rows.tiles, words, [&](int64_t begin) {
    const int64_t end = std::min(begin + words, rows.tiles);
    for (int64_t row = 0; row < rows.count; row += word_places)
      loop(rows, row, begin, end, values, {dy.data + row * dy.pitch, dy.pitch},
           {sums, block.pitch});
    for (int64_t word = begin; word < end; ++word) {
      const int64_t column = word * word_places;
      block.moves.unpack({sums + (word - begin) * word_places * block.pitch, block.pitch},
                         block.batch, std::min(word_places, rows.features - column),
                         {to.data + column * to.feature_stride, to.batch_stride,
                          to.feature_stride});
    }
  });
}

// The gradient of all values over one block; `first` of blocks.
template <class W, class Index, class T = Compute<W>>
void grad_values_of(const Team& team, const Block<W>& block, const Rows<Index>& rows,
                    Arranged<const T> dy, Arranged<const T> x, bool first, W* result) {
  const int64_t parts = parts_of(rows, team.threads), pieces = pieces_of(team.threads);
  const auto& near_or_far = of<W, Index>(loops->gradient).loops.at(block.width, native_lanes<W>());
  const auto loop = (is_far(block.width, rows.features, sizeof(T))
                         ? near_or_far.far
                         : near_or_far.near)[block.batch < block.pitch];
  const int64_t step = tile_step(rows, block.pitch * sizeof(T));
  if constexpr (!by_bits<Index>)
    for_long_rows(rows, pieces, [&](int64_t row) {
      team.take(pieces, 1, [&](int64_t piece) {
        const Piece<Index> part(rows, row, piece, pieces);
        loop(part.rows, part.tile(), {0, 1, 0}, {dy.data + row * dy.pitch, dy.pitch}, x,
             block.batch, first, result);
      });
    });
  team.take(parts, 1, [&](int64_t part) {
    between_long_rows(
        rows, pieces, first_row(rows, part, parts), first_row(rows, part + 1, parts),
        [&](int64_t begin, int64_t end) {
          for_tiles(rows, begin, end, panel_rows<Index, T>(block.pitch, end - begin), step,
                    [&](Tile<Index> tile, int64_t top, int64_t bottom) {
                      loop(rows, tile, {top, bottom, bottom}, dy, x, block.batch, first, result);
                    });
        });
  });
}

// What the connections of a layer, their values and gradients take, that a pass goes through.
template <class W, class Index>
int64_t bytes_of(const Rows<Index>& rows) {
  constexpr int64_t index_bytes =
      by_bits<Index> ? 0 : sizeof(Entry<Index>) + sizeof(typename Index::Feature);
  return rows.ptr[rows.count] * (index_bytes + 2 * sizeof(W));
}

}  // namespace

template <class W, class Index>
Missing multiply(const Rows<Index>& rows, const W* values, const W* bias, Input<W> x, int64_t batch,
                 Activations<W> result, int threads) {
  using T = Compute<W>;
  const int64_t bytes = bytes_of<W>(rows);
  const int sharing = sharing_blocks(threads, bytes);
  const Blocks blocks(batch, native_lanes<W>(), sharing,
                      !by_bits<Index> && bytes <= l2_bytes);
  if (blocks.count == 0) return 0;
  const int teams = teams_of(blocks.count, sharing);
  const bool is_arranged = x.is_arranged(blocks.registers);
  const Workspace<T, Index> workspace(blocks, is_arranged ? 0 : rows.features, threads, teams);
  if (const Missing missing = workspace.missing()) return missing;
#pragma omp parallel num_threads(threads) if (threads > 1)
  for_blocks<false>(whole_team(), blocks.count, teams, [&](const Team& team, int64_t index) {
    const Block<W> block(blocks, index, batch);
    const Arranged<const T> from =
        take_block(team, block, x, is_arranged, rows.features, workspace.block(team.number));
    Product<W, Index>(block, rows, values, bias, from, result, false).by_parts(team, workspace);
  });
  return 0;
}

template <class W, class Index>
Missing backward(const Rows<Index>& rows, const Rows<Index>* columns, const W* values, Input<W> dy,
                 Input<W> x, int64_t batch, Activations<W> dx, W* grad_values, W* grad_bias,
                 int threads) {
  using T = Compute<W>;
  const int64_t connections = rows.ptr[rows.count], bytes = bytes_of<W>(rows);
  // Sums over the batch are of Compute<W> alone, and by bits the same for any number of threads.
  constexpr bool sums_by_thread = std::is_same_v<W, T> && !by_bits<Index>;
  const bool may_share = sums_by_thread || !(grad_values || grad_bias);
  const int sharing = may_share ? sharing_blocks(threads, bytes) : 1;
  const Blocks blocks(batch, native_lanes<W>(), sharing,
                      !by_bits<Index> && bytes <= l2_bytes / 2);
  if (blocks.count == 0) {
    if (grad_values) std::fill_n(grad_values, connections, W{});
    if (grad_bias) std::fill_n(grad_bias, rows.count, W{});
    return 0;
  }
  const int teams = teams_of(blocks.count, sharing);
  const bool dy_is_arranged = dy.is_arranged(blocks.registers);
  const bool x_is_arranged = !grad_values || x.is_arranged(blocks.registers);
  const int64_t of_dy = dy_is_arranged ? 0 : rows.count, of_x = x_is_arranged ? 0 : rows.features;
  const Workspace<T, Index> workspace(blocks, of_dy + of_x, threads, teams);
  const Sums<W> of_values(grad_values, connections, Memory::values, teams);
  const Sums<W> of_bias(grad_bias, rows.count, Memory::bias, teams);
  if (const Missing missing = workspace.missing() + of_values.missing() + of_bias.missing())
    return missing;
  // A block goes through dx and the gradient of the values in turn while both find what they read in the
  // caches; else one product takes all blocks before the other does.
  const bool apart = blocks.count > 1 && dx.data && grad_values && bytes > cached_bytes;
  const auto take = [&](const Team& team, int64_t index, bool with_dx, bool with_values) {
    const Block<W> block(blocks, index, batch);
    const bool first = index == team.number;
    T* room = workspace.block(team.number);
    const Arranged<const T> dy_block =
        take_block(team, block, dy, dy_is_arranged, rows.count, room);
    if (grad_bias && with_values)
      add_over_batch<W>(team, dy_block, block.batch, rows.count, first,
                        of_bias.of(team.number));
    if (dx.data && with_dx) {
      if constexpr (by_bits<Index>)
        grad_input_by_bits<W>(team, block, rows, values, dy_block, dx, workspace);
      else
        Product<W, Index>(block, *columns, values, nullptr, dy_block, dx, true)
            .by_parts(team, workspace);
    }
    if (grad_values && with_values)
      grad_values_of(team, block, rows, dy_block,
                     take_block(team, block, x, x_is_arranged, rows.features,
                                room + of_dy * block.pitch),
                     first, of_values.of(team.number));
  };
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const Team all = whole_team();
    for_blocks<true>(all, blocks.count, teams, [&](const Team& team, int64_t index) {
      take(team, index, true, !apart);
    });
    if (apart)
      for_blocks<true>(all, blocks.count, teams, [&](const Team& team, int64_t index) {
        take(team, index, false, true);
      });
    if constexpr (sums_by_thread) {
#pragma omp barrier
      of_values.add(all, packing<W>().add);
      of_bias.add(all, packing<W>().add);
    }
  }
  return 0;
}

template <class W, class Index>
void backward_narrow(const Rows<Index>& rows, const W* values, Arranged<const Compute<W>> dy,
                     Arranged<const Compute<W>> x, int64_t batch, Compute<W>* workspace,
                     Activations<W> dx, W* grad_values, W* grad_bias, int threads) {
  using T = Compute<W>;
  const Blocks blocks(batch, native_lanes<W>());
  if (blocks.registers != 1) return;
  const int64_t features = rows.features, unit = blocks.unit, length = features * unit;
  const auto& near_or_far = of<W, Index>(loops->narrow).loops.at(blocks.unit, native_lanes<W>());
  const auto scatter = (is_far(blocks.width(0), features, sizeof(T))
                            ? near_or_far.far
                            : near_or_far.near)[batch < unit];
  const Packing<W>& packed = packing<W>();
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    if (grad_bias)
      add_over_batch<W>(whole_team(), dy, batch, rows.count, true, grad_bias);
    T* own = workspace + part * length;
    packed.clear(own, length);
    scatter(rows, first_connection(rows, part, parts), first_connection(rows, part + 1, parts),
            values, dy, x, batch, own, grad_values);
#pragma omp barrier
    const int64_t begin = features * part / parts, end = features * (part + 1) / parts;
    for (int64_t other = 1; other < parts; ++other)
      packed.add(workspace + begin * unit, workspace + other * length + begin * unit,
                 (end - begin) * unit);
    packed.loops.at(blocks.unit, native_lanes<W>())
        .unpack({workspace + begin * unit, unit}, batch, end - begin,
                {dx.data + begin * dx.feature_stride, dx.batch_stride, dx.feature_stride});
  }
}

Rows<Bits> rows_by_bits(const Bitmap& bitmap) {
  Rows<Bits> rows{bitmap.rows,  bitmap.columns, 0, 0, bitmap.starts,
                  bitmap.words, bitmap.bits,    bitmap.before};
  for (int64_t row = 0; row < rows.count; ++row) rows.filled += rows.ptr[row] < rows.ptr[row + 1];
  return rows;
}

template <class W>
void pack(Activations<const W> from, int64_t batch, int64_t features, Arranged<Compute<W>> to,
          int threads) {
  const Blocks blocks(batch, native_lanes<W>());
  if (blocks.count != 1) return;
  const Block<W> block(blocks, 0, batch);
#pragma omp parallel num_threads(threads) if (threads > 1)
  arrange(whole_team(), block, from, features, to.data);
}

#define SB_PASSES(W, Index)                                                                      \
  template Missing multiply(const Rows<Index>&, const W*, const W*, Input<W>, int64_t,           \
                            Activations<W>, int);                                                \
  template Missing backward(const Rows<Index>&, const Rows<Index>*, const W*, Input<W>, Input<W>, \
                            int64_t, Activations<W>, W*, W*, int);                               \
  template void backward_narrow(const Rows<Index>&, const W*, Arranged<const Compute<W>>,        \
                                Arranged<const Compute<W>>, int64_t, Compute<W>*, Activations<W>, \
                                W*, W*, int);
#define SB_TYPE(W)                                                                              \
  SB_PASSES(W, Indices16) SB_PASSES(W, Indices32) SB_PASSES(W, Indices64)                       \
  template Missing multiply(const Rows<Bits>&, const W*, const W*, Input<W>, int64_t,           \
                            Activations<W>, int);                                               \
  template Missing backward(const Rows<Bits>&, const Rows<Bits>*, const W*, Input<W>, Input<W>, \
                            int64_t, Activations<W>, W*, W*, int);                              \
  template int native_lanes<W>();                                                               \
  template void pack(Activations<const W>, int64_t, int64_t, Arranged<Compute<W>>, int);
SB_TYPE(float)
SB_TYPE(double)
SB_TYPE(bfloat16)

}  // namespace sparsebench
