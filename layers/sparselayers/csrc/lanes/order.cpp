#include "order.h"

#include <omp.h>

namespace sparsebench {

// A counting sort. Every thread reads all connections, but places only those of its own columns.
template <class Index>
void transpose(const Rows<Index>& rows, typename Index::Pointer* ptr, Entry<Index>* entries,
               int threads) {
  using Pointer = typename Index::Pointer;
  using Feature = typename Index::Feature;
  const int64_t nnz = rows.ptr[rows.count], features = rows.features;
  for (int64_t feature = 0; feature <= features; ++feature) ptr[feature] = 0;
  for (int64_t p = 0; p < nnz; ++p) ++ptr[rows.col[p]];
  Pointer total = 0;
  for (int64_t feature = 0; feature <= features; ++feature) {
    const Pointer count = ptr[feature];
    ptr[feature] = total;
    total += count;
  }
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    const int64_t begin = features * part / parts, end = features * (part + 1) / parts;
    for (int64_t row = 0; row < rows.count; ++row)
      for (Pointer p = rows.ptr[row]; p < rows.ptr[row + 1]; ++p)
        if (rows.col[p] >= begin && rows.col[p] < end)
          entries[ptr[rows.col[p]]++] = {
              static_cast<Feature>(row),
              static_cast<Feature>(Index::half ? p - rows.ptr[row] : p)};
  }
  // Each pointer has moved on to where the next column begins.
  for (int64_t feature = features; feature > 0; --feature) ptr[feature] = ptr[feature - 1];
  ptr[0] = 0;
}

template <class Index>
void find_tiles(const Rows<Index>& rows, int64_t tiles, int64_t width,
                typename Index::Pointer* tile_ptr, int threads) {
  using Pointer = typename Index::Pointer;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < rows.count; ++row) {
    Pointer p = rows.ptr[row];
    const Pointer end = rows.ptr[row + 1];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      tile_ptr[tile * rows.count + row] = p;
      while (p < end && (rows.col ? rows.col[p] : rows.entries[p].row) < (tile + 1) * width) ++p;
    }
    tile_ptr[tiles * rows.count + row] = end;
  }
}

#define SB_ORDERS(Index)                                                                      \
  template void transpose(const Rows<Index>&, Index::Pointer*, Entry<Index>*, int);           \
  template void find_tiles(const Rows<Index>&, int64_t, int64_t, Index::Pointer*, int);
SB_ORDERS(Indices16)
SB_ORDERS(Indices32)
SB_ORDERS(Indices64)

}  // namespace sparsebench
