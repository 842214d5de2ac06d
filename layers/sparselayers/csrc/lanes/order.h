// Other orders of the connections, made once for a connectivity: its transpose, and its tiles.
#pragma once

#include "layer.h"

namespace sparsebench {

// Sorts the connections by column: fills ptr (features + 1) and entries.
template <class Index>
void transpose(const Rows<Index>&, typename Index::Pointer* ptr, Entry<Index>* entries,
               int threads);

// Fills the pointers of so many tiles, each of `width` columns.
template <class Index>
void find_tiles(const Rows<Index>&, int64_t tiles, int64_t width,
                typename Index::Pointer* tile_ptr, int threads);

}  // namespace sparsebench
