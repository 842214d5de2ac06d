// What changes connections: which go, where others grow, and what belongs to each taken along. All of it
// goes row by row in memory for a block of rows, and comes out the same however many threads there are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace sparsebench {

// Connections in CSR order: pointers and columns as a Connectivity has them.
template <class I>
struct Pattern {
  int64_t rows, columns;
  const I *ptr, *col;
};

// Sets `keep` to false for the `count` smallest of those numbers of which it is true; of equal ones
// for the first. A NaN is larger than all numbers.
template <class T>
void drop_smallest(const T* worth, bool* keep, int64_t size, int64_t count, int threads);

// Writes the places of the numbers above a bar, or that are NaN, and returns how many there are.
template <class T>
int64_t above(const T* numbers, int64_t size, T bar, int64_t* places);

// How many connections of each row are kept.
template <class I>
void kept_of_rows(const Pattern<I>& pattern, const bool* keep, I* kept, int threads);

// How many of `count` places, drawn without replacement from all that are free, fall to each row.
template <class I>
void spread(const I* free, int64_t rows, int64_t count, uint64_t seed, I* drawn);

// Draws columns for each row, as many as `ptr` has room for, none of which is taken; ascending.
// `keep` says which connections are (null: all).
template <class I>
void draw(const Pattern<I>& taken, const bool* keep, const I* ptr, uint64_t seed, I* col,
          int threads);

// Writes the connections that are kept and those that have grown, in order, to `col`, in which `ptr`
// delimits rows. Returns whether one has grown where another is kept.
template <class I>
bool merge(const Pattern<I>& old, const bool* keep, const Pattern<I>& grown, const I* ptr, I* col,
           int threads);

// For each new connection where it stood before, or −1.
template <class I>
void find_places(const Pattern<I>& old, const Pattern<I>& now, int64_t* places, int threads);

// A number of so many bytes (1, 2, 4 or 8) for each connection: `to` gets what `from` has for the same
// connection, and 0 for one that has grown. Both may be the same memory, but not overlap otherwise.
struct Carried {
  const char* from;
  char* to;
  int64_t bytes;
};

// Takes them all along. Returns how many bytes it wanted to work in, in vain, before anything changed.
template <class I>
size_t carry(const Pattern<I>& old, const Pattern<I>& now, const std::vector<Carried>& all,
             int threads);

// Indices drawn with chances in proportion to weights: Walker's tables, made as Vose (1991) does.
// Without tables all are alike.
template <class I>
struct Chances {
  int64_t size;
  const double* own;
  const I* other;
};
template <class I>
void make_chances(const double* weights, int64_t size, double* own, I* other);

// Draws `count` rows with replacement, and counts how often each came.
template <class I>
void draw_rows(const Chances<I>& chances, int64_t count, uint64_t seed, I* drawn);

// Draws columns with replacement for the rows from `first` to `last`, drawn[row] of each, and leaves
// those that are none of the pattern's, each once: ascending in `col`, delimited by `ptr`
// (last − first + 1). `col` has room for all that are drawn.
template <class I>
void draw_absent(const Pattern<I>& pattern, int64_t first, int64_t last, const I* drawn,
                 const Chances<I>& chances, uint64_t seed, I* ptr, I* col, int threads);

}  // namespace sparsebench
