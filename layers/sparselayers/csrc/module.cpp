// The Python module sparselayers._native. It checks nothing and takes addresses, for a cast of an array
// costs 10 µs an argument. Each way to compute binds its own part.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "instruction_sets.h"
#include "ways.h"

namespace nb = nanobind;
using namespace sparsebench;

namespace {

// Whether this CPU has what the loops of an instruction set were compiled with.
bool runs(const std::string& set) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_cpu_init();
  if (set == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (set == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  return set == "scalar";
}

#define SB_NAME(name) #name,
const std::vector<std::string> compiled = {SB_EACH_SET(SB_NAME)};
#undef SB_NAME

std::vector<std::string> supported() {
  std::vector<std::string> names;
  std::copy_if(compiled.begin(), compiled.end(), std::back_inserter(names), runs);
  return names;
}

void use(const std::string& name) {
  const auto names = supported();
  if (std::find(names.begin(), names.end(), name) == names.end())
    throw std::invalid_argument("no kernels for " + name);
  use_lanes(name);
  use_bitmaps(name);
  use_row_blocks(name);
  use_n_of_m(name);
  use_convolution(name);
}

}  // namespace

NB_MODULE(_native, module) {
  // Where a script ends with a live graph, in a traceback for one, the interpreter never frees what
  // hangs on it, and these rows with it. They own nothing, and the process ends: nothing is lost.
  nb::set_leak_warnings(false);
  module.doc() = "CPU kernels of the layers package.";
  const auto names = supported();
  if (names.empty()) {
    std::string all;
    for (const std::string& set : compiled) all += " " + set;
    throw nb::import_error(("this CPU runs none of the kernels, compiled for:" + all).c_str());
  }
  use(names.front());
  module.def("supported", &supported,
             "Names of the instruction sets that were compiled and that this CPU runs, widest last.");
  module.def("use", &use, "Choose an instruction set for all later calls.");
  bind_lanes(module);
  bind_bitmaps(module);
  bind_amx(module);
  bind_row_blocks(module);
  bind_n_of_m(module);
  bind_convolution(module);
  bind_rewiring(module);
}
