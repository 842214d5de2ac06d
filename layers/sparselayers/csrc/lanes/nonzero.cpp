// Compiled once: there is nothing in it for wider registers.
#include "nonzero.h"

#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "scratch.h"

namespace sparsebench {

namespace {

template <class T> T widened(T number) { return number; }
float widened(bfloat16 number) {
  const uint32_t bits = uint32_t{number.bits} << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}
template <class T> void keep(T value, T& kept) { kept = value; }
void keep(float value, bfloat16& kept) {  // rounded to nearest even; what is NaN stays NaN
  uint32_t bits;
  __builtin_memcpy(&bits, &value, sizeof bits);
  kept.bits = value != value ? 0x7fc0 : static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// An input that is not zero, and how many connections come before it.
struct Met { int64_t column, before; };

// Values of a column are all over the memory: each is fetched so many connections ahead.
constexpr int64_t ahead = 32;

// The row and the value's place of connection p of the transposed layer.
struct Located { int64_t row, place; };
template <class Index>
Located located(const Rows<Index>& columns, int64_t p) {
  Entry<Index> at;
  __builtin_memcpy(&at, columns.entries + p, sizeof at);  // by one load where it fits
  const int64_t row = at.row;
  return {row, Index::half ? columns.starts[row] + int64_t{at.place} : int64_t{at.place}};
}

// sums[row] += w · x of all connections of one column. Rows differ: no addition waits for the one before.
template <class W, class Index, class T>
void add_column(const Rows<Index>& columns, int64_t column, const W* values, T x, T* sums) {
  const auto add = [&](int64_t p) {
    const Located at = located(columns, p);
    sums[at.row] += x * widened(values[at.place]);
  };
  const int64_t end = columns.ptr[column + 1];
  const int64_t fetched = std::min<int64_t>(end, columns.ptr[columns.count] - ahead);
  int64_t p = columns.ptr[column];
  for (; p < fetched; ++p) {
    __builtin_prefetch(values + located(columns, p + ahead).place);
    add(p);
  }
  for (; p < end; ++p) add(p);
}

}  // namespace

template <class W>
int64_t nonzero(Activations<const W> x, int64_t batch, int64_t features) {
  int64_t count = 0;
  for (int64_t b = 0; b < batch; ++b) {
    const W* from = x.data + b * x.batch_stride;
    if (x.feature_stride == 1)
      for (int64_t i = 0; i < features; ++i) count += widened(from[i]) != 0;
    else
      for (int64_t i = 0; i < features; ++i) count += widened(from[i * x.feature_stride]) != 0;
  }
  return count;
}

template <class W, class Index>
int64_t visited(const Rows<Index>& columns, Activations<const W> x, int64_t batch) {
  int64_t count = 0;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t column = 0; column < columns.count; ++column)
      if (widened(x.data[b * x.batch_stride + column * x.feature_stride]) != 0)
        count += columns.ptr[column + 1] - columns.ptr[column];
  return count;
}

template <class W, class Index>
size_t multiply_nonzero(const Rows<Index>& columns, const W* values, const W* bias,
                        Activations<const W> x, int64_t batch, Activations<W> y, int threads) {
  using T = Compute<W>;
  const int64_t inputs = columns.count, outputs = columns.features;
  const int64_t pitch = (outputs * sizeof(T) + 63) / 64 * 64 / sizeof(T);
  const Room room(Memory::panels, threads * pitch * sizeof(T) + (inputs + 1) * sizeof(Met));
  if (room.missing()) return room.missing();
  T* sums = reinterpret_cast<T*>(room.data);
  Met* met = reinterpret_cast<Met*>(sums + threads * pitch);
  int64_t count = 0;
#pragma omp parallel num_threads(threads) if (threads > 1)
  for (int64_t b = 0; b < batch; ++b) {
    const W* from = x.data + b * x.batch_stride;
#pragma omp single
    {
      int64_t before = 0;
      count = 0;
      for (int64_t column = 0; column < inputs; ++column)
        if (widened(from[column * x.feature_stride]) != 0) {
          met[count++] = {column, before};
          before += columns.ptr[column + 1] - columns.ptr[column];
        }
      met[count] = {inputs, before};
    }
    // Each thread adds up in sums of its own the columns that begin in its share of all connections.
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads(), all = met[count].before;
    const auto first = [&](int64_t of) {
      return std::lower_bound(met, met + count, all * of / parts,
                              [](const Met& a, int64_t work) { return a.before < work; });
    };
    T* own = sums + part * pitch;
    std::fill_n(own, outputs, T(0));
    const Met* last = part + 1 == parts ? met + count : first(part + 1);
    for (const Met* at = first(part); at < last; ++at)
      add_column(columns, at->column, values, widened(from[at->column * x.feature_stride]), own);
#pragma omp barrier
    const int64_t end = outputs * (part + 1) / parts;
    for (int64_t row = outputs * part / parts; row < end; ++row) {
      T total = bias ? widened(bias[row]) : T(0);
      for (int64_t other = 0; other < parts; ++other) total += sums[other * pitch + row];
      keep(total, y.data[b * y.batch_stride + row * y.feature_stride]);
    }
#pragma omp barrier
  }
  return 0;
}

#define SB_NONZERO(W, Index)                                                                     \
  template int64_t visited(const Rows<Index>&, Activations<const W>, int64_t);                   \
  template size_t multiply_nonzero(const Rows<Index>&, const W*, const W*, Activations<const W>, \
                                   int64_t, Activations<W>, int);
#define SB_TYPE(W)                                                                               \
  template int64_t nonzero(Activations<const W>, int64_t, int64_t);                              \
  SB_NONZERO(W, Indices16) SB_NONZERO(W, Indices32) SB_NONZERO(W, Indices64)
SB_TYPE(float)
SB_TYPE(double)
SB_TYPE(bfloat16)

}  // namespace sparsebench
