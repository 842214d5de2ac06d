// Reading the connections, of a layer or of its transpose: their features and values.
#pragma once

#include <type_traits>

#include "lowest.h"
#include "prefetch.h"

namespace {

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

// Where the connections of a row begin and end in a tile.
template <class Index>
SB_INLINE int64_t begin_of(const Rows<Index>&, const Tile<Index>& tile, int64_t row) {
  return tile.begin[row];
}
template <class Index>
SB_INLINE int64_t end_of(const Rows<Index>&, const Tile<Index>& tile, int64_t row) {
  return tile.end[row];
}
SB_INLINE int64_t before_word(const Rows<Bits>& rows, int64_t row, int64_t word) {
  return word == rows.tiles ? rows.ptr[row + 1]
                            : rows.ptr[row] + rows.before[row * rows.tiles + word];
}
SB_INLINE int64_t begin_of(const Rows<Bits>& rows, const Tile<Bits>& tile, int64_t row) {
  return before_word(rows, row, tile.begin);
}
SB_INLINE int64_t end_of(const Rows<Bits>& rows, const Tile<Bits>& tile, int64_t row) {
  return before_word(rows, row, tile.end);
}

// The features that the connections of a row meet in a tile: asked for one after the other, each once.
template <class Index>
class Features {
 public:
  Features(const Rows<Index>& rows, const Tile<Index>&, int64_t) : col_(rows.col) {}
  SB_INLINE int64_t of(int64_t p) { return col_[p]; }

 private:
  const typename Index::Feature* col_;
};
template <>
class Features<Bits> {
 public:
  SB_INLINE Features(const Rows<Bits>& rows, const Tile<Bits>& tile, int64_t row)
      : word_(rows.bits + row * rows.tiles + tile.begin), bits_(*word_),
        first_(tile.begin * sparsebench::word_places) {}
  SB_INLINE int64_t of(int64_t) {
    while (!bits_) {
      bits_ = *++word_;
      first_ += sparsebench::word_places;
    }
    const int64_t feature = first_ + lowest_bit(bits_);
    bits_ &= bits_ - 1;
    return feature;
  }

 private:
  const uint64_t* word_;
  uint64_t bits_;
  int64_t first_;
};

// What connection p multiplies by what.
template <class T>
struct Term {
  int64_t feature;
  T weight;
};
template <bool Transposed, class W, class Index, class T = Compute<W>>
SB_INLINE Term<T> term(const Rows<Index>& rows, Features<Index>& features, const W* values,
                       int64_t p) {
  if constexpr (!Transposed) {
    return {features.of(p), widened(values[p])};
  } else {
    const Located at = located(rows, p);
    return {at.row, widened(values[at.place])};
  }
}

}  // namespace
