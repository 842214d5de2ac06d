// The Python module sparselayers._native. It checks nothing and takes addresses, for a cast of an array
// costs 10 µs an argument. Each way to compute binds its own part.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#ifdef SPARSEBENCH_X86
#include <cpuid.h>
#endif

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "bitmaps/bitmaps.h"
#include "convolution/convolution.h"
#include "lanes/lanes.h"

namespace nb = nanobind;
using namespace sparsebench;

namespace {

std::vector<std::string> supported() {
  std::vector<std::string> names{"scalar"};
#ifdef SPARSEBENCH_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.emplace_back("avx2");
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    names.emplace_back("avx512");
#endif
  return names;
}

// AMD's Zen 5 loads numbers one by one faster than it gathers them, Zen 4 and Intel's processors do
// not (README.md). Families are counted up, so this holds for what follows until it is measured.
bool loads_single_numbers_fast() {
#ifdef SPARSEBENCH_X86
  constexpr unsigned zen5 = 0x1a;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx)) return false;
  if (ebx != signature_AMD_ebx || ecx != signature_AMD_ecx || edx != signature_AMD_edx)
    return false;
  __get_cpuid(1, &eax, &ebx, &ecx, &edx);
  return ((eax >> 8) & 0xf) + ((eax >> 20) & 0xff) >= zen5;
#else
  return false;
#endif
}

void use(const std::string& name) {
  const auto names = supported();
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw std::invalid_argument("no kernels for " + name);
  use_lanes(name.c_str());
  use_bitmaps(name.c_str());
  use_convolution(name.c_str());
}

}  // namespace

bool sparsebench::single_loads = loads_single_numbers_fast();

NB_MODULE(_native, module) {
  // Where a script ends with a live graph, in a traceback for one, the interpreter never frees what
  // hangs on it, and these rows with it. They own nothing, and the process ends: nothing is lost.
  nb::set_leak_warnings(false);
  module.doc() = "CPU kernels of the layers package.";
  use("scalar");
  module.def("supported", &supported, "Names of the instruction sets that this CPU can run.");
  module.def("use", &use, "Choose an instruction set for all later calls.");
  module.def(
      "use_single_loads", [](bool yes) { return std::exchange(single_loads, yes); },
      "Say whether single numbers are loaded instead of gathered; return whether they were.");
  bind_lanes(module);
  bind_bitmaps(module);
  bind_convolution(module);
}
