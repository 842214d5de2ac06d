// AMX's part of the Python module; layers/sparselayers/backends/native/amx.py is its only caller.
#include <nanobind/nanobind.h>

#ifdef SB_WITH_amx
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "amx/amx.h"
#include "memory_error.h"
#endif

#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

#ifdef SB_WITH_amx
template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

// What products.cpp was compiled with, beside the instructions of avx512.
bool cpu_has_amx() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool vbmi2 = c >> 6 & 1, of_bfloat16 = d >> 22 & 1, tiles = d >> 24 & 1;
  if (!vbmi2 || !of_bfloat16 || !tiles) return false;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);  // AVX512_BF16
}

// Linux gives the registers to processes that ask for them, once for all threads (arch_prctl(2)).
bool has_amx() {
  constexpr long ask = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return cpu_has_amx() && syscall(SYS_arch_prctl, ask, tile_data) == 0;
}
#else
bool has_amx() { return false; }
#endif

}  // namespace

void bind_amx(nb::module_& module) {
  module.def("has_amx", &has_amx,
             "Whether kernels for AMX were compiled, and this CPU and system let us use it.");
#ifdef SB_WITH_amx
  module.def("amx_multiply_bf16",
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t bias, uintptr_t x, int64_t x_pitch,
                int64_t batch, uintptr_t y, int64_t y_pitch, bool alike, int threads) {
               bool finite;
               without_gil([&] {
                 return amx_multiply(bitmap, at<const bfloat16>(values), at<const bfloat16>(bias),
                                     {at<const bfloat16>(x), x_pitch}, batch,
                                     {at<bfloat16>(y), y_pitch}, alike, threads, &finite);
               });
               return finite;
             });
  module.def("amx_grad_input_bf16",
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t dy, int64_t dy_pitch,
                int64_t batch, uintptr_t dx, int64_t dx_pitch, bool alike, int threads) {
               bool finite;
               without_gil([&] {
                 return amx_grad_input(bitmap, at<const bfloat16>(values),
                                       {at<const bfloat16>(dy), dy_pitch}, batch,
                                       {at<bfloat16>(dx), dx_pitch}, alike, threads, &finite);
               });
               return finite;
             });
  module.def("amx_grad_values_bf16",
             [](const Bitmap& bitmap, uintptr_t dy, int64_t dy_pitch, uintptr_t x, int64_t x_pitch,
                int64_t batch, uintptr_t result, bool alike, int threads) {
               without_gil([&] {
                 return amx_grad_values(bitmap, {at<const bfloat16>(dy), dy_pitch},
                                        {at<const bfloat16>(x), x_pitch}, batch,
                                        at<bfloat16>(result), alike, threads);
               });
             });
#endif
}

}  // namespace sparsebench
