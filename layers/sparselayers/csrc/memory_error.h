// How the Python module calls a kernel that needs memory to work in.
#pragma once

#include <nanobind/nanobind.h>

namespace sparsebench {

// Runs call() while other Python threads may run; it returns how many bytes it wanted in vain, or 0.
template <class Call>
void without_gil(Call call) {
  size_t missing;
  {
    nanobind::gil_scoped_release release;
    missing = call();
  }
  if (missing == 0) return;
  PyErr_Format(PyExc_MemoryError, "sparselayers: no %zu bytes of memory for a kernel to work in",
               missing);
  throw nanobind::python_error();
}

}  // namespace sparsebench
