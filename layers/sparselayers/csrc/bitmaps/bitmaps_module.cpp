// The bitmaps' part of the Python module; called by bits.py, bitmaps.py, few_bitmaps.py and panels.py of
// layers/sparselayers/backends/native alone.
#include <nanobind/nanobind.h>

#include <stdexcept>
#include <string>

#include "instruction_sets.h"
#include "memory_error.h"
#include "passes.h"
#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

void bind_bitmap(nb::module_& module) {
  nb::class_<Bitmap>(module, "Bitmap")
      .def("__init__",
           [](Bitmap* bitmap, int64_t rows, int64_t columns, uintptr_t bits, uintptr_t before,
              uintptr_t starts) {
             new (bitmap) Bitmap{rows, columns, (columns + word_places - 1) / word_places,
                                 at<const uint64_t>(bits), at<const uint16_t>(before),
                                 at<const int64_t>(starts)};
           })
      .def("fill", [](const Bitmap& bitmap, uintptr_t ptr, uintptr_t col, int threads) {
        nb::gil_scoped_release release;
        fill(bitmap, at<const int32_t>(ptr), at<const int32_t>(col),
             const_cast<uint64_t*>(bitmap.bits), const_cast<uint16_t*>(bitmap.before), threads);
      });
}

void check_few(int64_t batch) {
  if (batch < 1 || batch > most_few)
    throw std::invalid_argument("a batch of 1 to " + std::to_string(most_few) + ", not " +
                                std::to_string(batch));
}

// Results are contiguous. Whether there are any: see passes.h.
template <class W>
void bind_few(nb::module_& module, const std::string& suffix) {
  module.def(("bitmap_few_multiply_" + suffix).c_str(),
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t bias, uintptr_t x,
                int64_t row_stride, int64_t column_stride, int64_t batch, uintptr_t y, int threads) {
               check_few(batch);
               bool finite = true;
               without_gil([&] {
                 return multiply_few<W>(bitmap, at<const W>(values), at<const W>(bias),
                                        {at<const W>(x), row_stride, column_stride}, batch,
                                        at<W>(y), threads, finite);
               });
               return finite;
             });
  module.def(("bitmap_few_backward_" + suffix).c_str(),
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t dy, int64_t dy_row_stride,
                int64_t dy_column_stride, uintptr_t x, int64_t x_row_stride,
                int64_t x_column_stride, int64_t batch, uintptr_t dx, uintptr_t grad_values,
                uintptr_t grad_bias, int threads) {
               check_few(batch);
               bool finite = true;
               without_gil([&] {
                 return backward_few<W>(bitmap, at<const W>(values),
                                        {at<const W>(dy), dy_row_stride, dy_column_stride},
                                        {at<const W>(x), x_row_stride, x_column_stride}, batch,
                                        at<W>(dx), at<W>(grad_values), at<W>(grad_bias), threads,
                                        finite);
               });
               return finite;
             });
}

template <class W>
void bind(nb::module_& module, const std::string& suffix) {
  module.def(("bitmap_multiply_" + suffix).c_str(),
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t bias, uintptr_t x, int64_t x_pitch,
                int64_t batch, uintptr_t y, int64_t y_pitch, int threads) {
               without_gil([&] {
                 return multiply<W>(bitmap, at<const W>(values), at<const W>(bias),
                                    {at<const W>(x), x_pitch}, batch, {at<W>(y), y_pitch}, threads);
               });
             });
  module.def(("bitmap_grad_input_" + suffix).c_str(),
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t dy, int64_t dy_pitch,
                int64_t batch, uintptr_t dx, int64_t dx_pitch, int threads) {
               without_gil([&] {
                 return grad_input<W>(bitmap, at<const W>(values), {at<const W>(dy), dy_pitch},
                                      batch, {at<W>(dx), dx_pitch}, threads);
               });
             });
  module.def(("bitmap_grad_values_" + suffix).c_str(),
             [](const Bitmap& bitmap, uintptr_t dy, int64_t dy_pitch, uintptr_t x, int64_t x_pitch,
                int64_t batch, uintptr_t result, int threads) {
               without_gil([&] {
                 return grad_values<W>(bitmap, {at<const W>(dy), dy_pitch},
                                       {at<const W>(x), x_pitch}, batch, at<W>(result), threads);
               });
             });
  module.def(("all_finite_" + suffix).c_str(),
             [](uintptr_t x, int64_t pitch, int64_t rows, int64_t columns) {
               return all_finite<W>({at<const W>(x), pitch}, rows, columns);
             });
  module.def(("bitmap_expand_" + suffix).c_str(),
             [](const Bitmap& bitmap, int64_t begin, int64_t end, int64_t first_word,
                int64_t last_word, uintptr_t values, uintptr_t to, int64_t pitch, int threads) {
               nb::gil_scoped_release release;
               expand<W>(bitmap, {begin, end}, {first_word, last_word}, at<const W>(values),
                         {at<W>(to), pitch}, threads);
             });
  module.def(("bitmap_compress_" + suffix).c_str(),
             [](const Bitmap& bitmap, int64_t begin, int64_t end, uintptr_t from, int64_t pitch,
                uintptr_t values, int threads) {
               nb::gil_scoped_release release;
               compress<W>(bitmap, {begin, end}, {at<const W>(from), pitch}, at<W>(values),
                           threads);
             });
}

}  // namespace

void use_bitmaps(const std::string& set) {
#define SB_USE(name)                        \
  if (set == #name) {                       \
    bitmap_loops = &name::bitmaps;          \
    bitmap_few_loops = &name::bitmaps_few;  \
  }
  SB_EACH_SET(SB_USE)
#undef SB_USE
}

void bind_bitmaps(nb::module_& module) {
  bind_bitmap(module);
  bind<float>(module, "f32");
  bind<bfloat16>(module, "bf16");
  bind_few<float>(module, "f32");
  bind_few<bfloat16>(module, "bf16");
}

}  // namespace sparsebench
