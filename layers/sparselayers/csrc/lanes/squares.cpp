// dx by bits: a square of as many rows as columns is transposed as bits, and the sums of a column stay in
// registers while its rows run. Values lie in the order of rows: every row knows which of them comes next.
#include "squares.h"

#include "lowest.h"
#include "prefetch.h"

namespace {

using sparsebench::word_places;

// Exchanges the upper half of each of the first `Half` words with the lower half of the words that come
// `Half` after them, in each group of twice as many words, and places.
template <int Half>
SB_INLINE void exchange(uint64_t (&words)[word_places], uint64_t lower) {
  for (int group = 0; group < word_places; group += 2 * Half)
    for (int i = group; i < group + Half; ++i) {
      const uint64_t differ = ((words[i] >> Half) ^ words[i + Half]) & lower;
      words[i] ^= differ << Half;
      words[i + Half] ^= differ;
    }
}

// Bit j of word i becomes bit i of word j.
SB_ONCE void transpose(uint64_t (&words)[word_places]) {
  exchange<32>(words, 0x00000000ffffffff);
  exchange<16>(words, 0x0000ffff0000ffff);
  exchange<8>(words, 0x00ff00ff00ff00ff);
  exchange<4>(words, 0x0f0f0f0f0f0f0f0f);
  exchange<2>(words, 0x3333333333333333);
  exchange<1>(words, 0x5555555555555555);
}

// Fetches values from `next` on, of which the line of the first is at hand: those before it are in use.
template <class W>
SB_INLINE void fetch_values(const W* next) {
  const char* at = reinterpret_cast<const char*>(next);
  constexpr int64_t bytes = word_places / 2 * sizeof(W);
  for (int64_t ahead = line_bytes; ahead <= bytes; ahead += line_bytes)
    __builtin_prefetch(at + ahead);
}

template <class V, int R, class W, class T = typename V::Scalar>
void add_squares(const Rows<Bits>& rows, int64_t row, int64_t begin, int64_t end, const W* values,
                 Arranged<const T> dy, Arranged<T> sums) {
  const int64_t count = smaller(word_places, rows.count - row);
  for (int64_t word = begin; word < end; ++word) {
    uint64_t places[word_places] = {};  // by row, then by column
    const W* next[word_places];         // the value of each row's next connection
    for (int64_t i = 0; i < count; ++i) {
      const int64_t at = (row + i) * rows.tiles + word;
      places[i] = rows.bits[at];
      next[i] = values + rows.ptr[row + i] + rows.before[at];
      if (word + 1 < end) fetch_values(values + rows.ptr[row + i] + rows.before[at + 1]);
    }
    transpose(places);
    const int64_t columns = smaller(word_places, rows.features - word * word_places);
    for (int64_t column = 0; column < columns; ++column, sums.data += sums.pitch) {
      uint64_t left = places[column];
      if (!left && row) continue;
      V total[R];
      for (int r = 0; r < R; ++r)
        total[r] = row ? V::load(sums.data + r * V::lanes) : V::zero();
      for (; left; left &= left - 1) {
        const int64_t i = lowest_bit(left);
        const V weight = V::fill(widened(*next[i]++));
        const T* from = dy.data + i * dy.pitch;
        for (int r = 0; r < R; ++r) total[r].add_product(weight, V::load(from + r * V::lanes));
      }
      for (int r = 0; r < R; ++r) total[r].store(sums.data + r * V::lanes);
    }
  }
}

template <class W>
struct Make {
  template <class V, int R>
  struct Of {
    static constexpr sparsebench::AddSquares<W> loop = add_squares<V, R, W>;
  };
  static constexpr sparsebench::Squares<W> table() {
    return {by_many<sparsebench::AddSquares<W>, Compute<W>, Of>()};
  }
};

}  // namespace

const sparsebench::SquaresOfAll sparsebench::SB_ISA::squares = {
    Make<float>::table(), Make<double>::table(), Make<bfloat16>::table()};
