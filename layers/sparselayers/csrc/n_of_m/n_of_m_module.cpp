// The part of the Python module for N of every M; layers/sparselayers/backends/native/n_of_m.py is its only
// caller.
#include <nanobind/nanobind.h>

#include <string>

#include "instruction_sets.h"
#include "memory_error.h"
#include "n_of_m/passes.h"
#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

template <class W>
void bind(nb::module_& module, const std::string& suffix) {
  module.def(("n_of_m_multiply_" + suffix).c_str(),
             +[](const NofM& layer, uintptr_t values, uintptr_t bias, uintptr_t x,
                int64_t x_pitch, int64_t batch, uintptr_t y, int64_t y_pitch, int threads) {
               without_gil([&] {
                 return multiply<W>(layer, at<const W>(values), at<const W>(bias), at<const W>(x),
                                    x_pitch, batch, at<W>(y), y_pitch, threads);
               });
             });
  module.def(("n_of_m_backward_" + suffix).c_str(),
             +[](const NofM& layer, uintptr_t values, uintptr_t sources, uintptr_t dy,
                int64_t dy_pitch, uintptr_t x, int64_t x_pitch, int64_t batch, uintptr_t dx,
                int64_t dx_pitch, uintptr_t grad_values, int threads) {
               without_gil([&] {
                 return backward<W>(layer, at<const W>(values), at<const uint32_t>(sources),
                                    at<const W>(dy), dy_pitch, at<const W>(x), x_pitch, batch,
                                    at<W>(dx), dx_pitch, at<W>(grad_values), threads);
               });
             });
}

}  // namespace

void use_n_of_m(const std::string& set) {
#define SB_USE(name) if (set == #name) n_of_m_loops = &name::n_of_m;
  SB_EACH_SET(SB_USE)
#undef SB_USE
}

void bind_n_of_m(nb::module_& module) {
  // A layer as Python holds it; whoever makes it keeps its arrays alive.
  nb::class_<NofM>(module, "NofM")
      .def("__init__",
           [](NofM* layer, int64_t rows, int64_t columns, int64_t n, int64_t m,
              uintptr_t places) {
             new (layer) NofM{rows, columns, n, m, at<const uint32_t>(places)};
           })
      .def("fill", [](const NofM& layer, uintptr_t col, uintptr_t places, uintptr_t sources,
                      int threads) {
        nb::gil_scoped_release release;
        fill(layer, at<const int32_t>(col), at<uint32_t>(places), at<uint32_t>(sources), threads);
      });
  bind<float>(module, "f32");
  bind<bfloat16>(module, "bf16");
}

}  // namespace sparsebench
