// The places of a layer's connections as bits: what bitmaps/ computes with, and lanes/ where connections
// are many.
#pragma once

#include <cstdint>

namespace sparsebench {

constexpr int64_t word_places = 64;

// The places of a layer's connections, one bit each: a row takes whole words, whose lowest bit is the
// first column. Values are those of the layer, in its order.
struct Bitmap {
  int64_t rows, columns, words;  // words of a row
  const uint64_t* bits;          // (rows, words)
  const uint16_t* before;        // (rows, words): connections of the row before each word
  const int64_t* starts;         // (rows + 1): connections before each row
};

}  // namespace sparsebench
