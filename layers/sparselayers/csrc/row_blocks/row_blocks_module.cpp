// The row blocks' part of the Python module; layers/sparselayers/backends/native/row_blocks.py is its
// only caller.
#include <nanobind/nanobind.h>

#include <string>

#include "instruction_sets.h"
#include "memory_error.h"
#include "row_blocks/passes.h"
#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

// Layers as Python holds them; whoever makes them keeps their arrays alive.
template <class F>
void bind_blocks(nb::module_& module, const char* name) {
  using Layer = RowBlocks<F>;
  nb::class_<Layer>(module, name)
      .def("__init__",
           [](Layer* blocks, int64_t rows, int64_t columns, int64_t height, int64_t longest,
              int64_t parts, uintptr_t ptr, uintptr_t col, uintptr_t begin) {
             new (blocks) Layer{rows, columns, height, rows / height, longest,
                                at<const int32_t>(ptr), at<const F>(col), parts,
                                (columns + parts - 1) / parts, at<const int32_t>(begin)};
           })
      .def("fill", [](const Layer& blocks, uintptr_t row_ptr, uintptr_t of_rows) {
        nb::gil_scoped_release release;
        fill(blocks, at<const int32_t>(row_ptr), at<const int32_t>(of_rows),
             const_cast<int32_t*>(blocks.ptr), const_cast<F*>(blocks.col),
             const_cast<int32_t*>(blocks.begin));
      });
}

// One overload of each product for every kind of layers.
template <class W, class F>
void bind(nb::module_& module, const std::string& suffix) {
  module.def(("row_blocks_multiply_" + suffix).c_str(),
             [](const RowBlocks<F>& blocks, uintptr_t values, uintptr_t bias, uintptr_t x,
                int64_t x_batch_stride, int64_t x_feature_stride, int64_t batch, uintptr_t y,
                int64_t y_batch_stride, int64_t y_feature_stride, int threads) {
               without_gil([&] {
                 return multiply<W, F>(blocks, at<const W>(values), at<const W>(bias),
                                       {at<const W>(x), x_batch_stride, x_feature_stride}, batch,
                                       {at<W>(y), y_batch_stride, y_feature_stride}, threads);
               });
             });
  module.def(("row_blocks_backward_" + suffix).c_str(),
             [](const RowBlocks<F>& blocks, uintptr_t values, uintptr_t dy,
                int64_t dy_batch_stride, int64_t dy_feature_stride, uintptr_t x,
                int64_t x_batch_stride, int64_t x_feature_stride, int64_t batch, uintptr_t dx,
                int64_t dx_batch_stride, int64_t dx_feature_stride, uintptr_t grad_values,
                int threads) {
               without_gil([&] {
                 return backward<W, F>(blocks, at<const W>(values),
                                       {at<const W>(dy), dy_batch_stride, dy_feature_stride},
                                       {at<const W>(x), x_batch_stride, x_feature_stride}, batch,
                                       {at<W>(dx), dx_batch_stride, dx_feature_stride},
                                       at<W>(grad_values), threads);
               });
             });
}

}  // namespace

void use_row_blocks(const std::string& set) {
#define SB_USE(name)                                                            \
  if (set == #name)                                                             \
    many_loops = &name::many_loops, gradient_loops = &name::gradient_loops,     \
    few_loops = &name::few_loops;
  SB_EACH_SET(SB_USE)
#undef SB_USE
}

void bind_row_blocks(nb::module_& module) {
  bind_blocks<uint16_t>(module, "RowBlocks16");
  bind_blocks<int32_t>(module, "RowBlocks32");
  bind<float, uint16_t>(module, "f32");
  bind<float, int32_t>(module, "f32");
  bind<bfloat16, uint16_t>(module, "bf16");
  bind<bfloat16, int32_t>(module, "bf16");
}

}  // namespace sparsebench
