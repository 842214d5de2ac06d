// The convolution's part of the Python module; layers/sparselayers/convolution/native.py is its only caller.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "convolution.h"
#include "instruction_sets.h"
#include "memory_error.h"
#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

const Convolution* in_use = nullptr;

template <class T> const ConvolutionOf<T>& of();
template <> const ConvolutionOf<float>& of<float>() { return in_use->f32; }
template <> const ConvolutionOf<double>& of<double>() { return in_use->f64; }

using Numbers = std::vector<int64_t>;

// As Python gives images: channels, rows, cols, row and column step and shift, then the phases.
template <class T>
Images<T> images_of(uintptr_t data, const Numbers& n, const Numbers& row_phase,
                    const Numbers& col_phase) {
  return {reinterpret_cast<T*>(data), n.at(0), n.at(1), n.at(2), n.at(3), n.at(4), n.at(5), n.at(6),
          static_cast<int64_t>(row_phase.size()), static_cast<int64_t>(col_phase.size()),
          row_phase.data(), col_phase.data()};
}

Blocking blocking_of(const Numbers& n) {
  return {n.at(0), n.at(1), n.at(2), n.at(3), n.at(4), n.at(5), n.at(6)};
}

Taps taps_of(int64_t planes, int64_t count, int64_t together, uintptr_t ptr, uintptr_t offset) {
  return {planes, count, together, reinterpret_cast<const int64_t*>(ptr),
          reinterpret_cast<const int32_t*>(offset)};
}

// Large results are mostly fresh memory, whose pages are cleared when they are first written: 2 MB
// at a time that takes a fifth of the time of 4 KB at a time. Only whole pages within are asked for.
template <class T>
void use_huge_pages(const Images<T>& images, int64_t count) {
#ifdef MADV_HUGEPAGE
  constexpr uintptr_t page = 1 << 21;
  const auto begin = reinterpret_cast<uintptr_t>(images.data);
  const uintptr_t end = begin + count * images.channels * images.rows * images.cols * sizeof(T);
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

template <class T>
void bind(nb::module_& module, const std::string& suffix) {
  module.def(("conv_lanes_" + suffix).c_str(), [] { return of<T>().lanes; });
  module.def(("conv_correlate_" + suffix).c_str(),
             [](const Numbers& blocking, uintptr_t from, const Numbers& from_numbers,
                const Numbers& from_rows, const Numbers& from_cols, int64_t planes, int64_t count,
                int64_t together, uintptr_t ptr, uintptr_t offset, uintptr_t values,
                uintptr_t bias, uintptr_t to, const Numbers& to_numbers, const Numbers& to_rows,
                const Numbers& to_cols, int threads) {
               const Blocking blocks = blocking_of(blocking);
               const Images<T> result = images_of<T>(to, to_numbers, to_rows, to_cols);
               without_gil([&] {
                 use_huge_pages(result, blocks.images);
                 return of<T>().correlate(
                     blocks, images_of<const T>(from, from_numbers, from_rows, from_cols),
                     taps_of(planes, count, together, ptr, offset),
                     reinterpret_cast<const T*>(values), reinterpret_cast<const T*>(bias), result,
                     threads);
               });
             });
  module.def(("conv_grad_values_" + suffix).c_str(),
             [](const Numbers& blocking, uintptr_t x, const Numbers& x_numbers,
                const Numbers& x_rows, const Numbers& x_cols, uintptr_t dy,
                const Numbers& dy_numbers, const Numbers& dy_rows, const Numbers& dy_cols,
                int64_t planes, int64_t count, int64_t together, uintptr_t ptr, uintptr_t offset,
                uintptr_t result, int threads) {
               without_gil([&] {
                 return of<T>().grad_values(blocking_of(blocking),
                                            images_of<const T>(x, x_numbers, x_rows, x_cols),
                                            images_of<const T>(dy, dy_numbers, dy_rows, dy_cols),
                                            taps_of(planes, count, together, ptr, offset),
                                            reinterpret_cast<T*>(result), threads);
               });
             });
}

// The size of the second-level cache, or a usual one where the system does not tell.
int64_t cache_bytes() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (size > 0) return size;
#endif
  return 1 << 20;
}

}  // namespace

void use_convolution(const std::string& set) {
#define SB_USE(name) if (set == #name) in_use = &name::convolution;
  SB_EACH_SET(SB_USE)
#undef SB_USE
}

void bind_convolution(nb::module_& module) {
  module.def("cache_bytes", &cache_bytes, "Size of a core's second-level cache.");
  bind<float>(module, "f32");
  bind<double>(module, "f64");
}

}  // namespace sparsebench
