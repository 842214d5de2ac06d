// The part of the Python module that changes connections; layers/sparselayers/by_rows is its only
// caller.
#include <nanobind/nanobind.h>
#include <nanobind/stl/vector.h>

#include <string>

#include "memory_error.h"
#include "rewiring.h"
#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

// Connections as Python holds them; whoever makes them keeps their arrays alive.
template <class I>
void bind(nb::module_& module, const char* name) {
  using P = Pattern<I>;
  using Unlocked = nb::call_guard<nb::gil_scoped_release>;
  nb::class_<P>(module, name)
      .def("__init__",
           [](P* pattern, int64_t rows, int64_t columns, uintptr_t ptr, uintptr_t col) {
             new (pattern) P{rows, columns, at<const I>(ptr), at<const I>(col)};
           })
      .def("kept_of_rows",
           [](const P& pattern, uintptr_t keep, uintptr_t kept, int threads) {
             kept_of_rows(pattern, at<const bool>(keep), at<I>(kept), threads);
           },
           Unlocked())
      .def("spread",
           [](const P& pattern, uintptr_t free, int64_t count, uint64_t seed, uintptr_t drawn) {
             spread(at<const I>(free), pattern.rows, count, seed, at<I>(drawn));
           },
           Unlocked())
      .def("draw",
           [](const P& taken, uintptr_t keep, uintptr_t ptr, uint64_t seed, uintptr_t col,
              int threads) {
             draw(taken, at<const bool>(keep), at<const I>(ptr), seed, at<I>(col), threads);
           },
           Unlocked())
      .def("merge",
           [](const P& old, uintptr_t keep, const P& grown, uintptr_t ptr, uintptr_t col,
              int threads) {
             return merge(old, at<const bool>(keep), grown, at<const I>(ptr), at<I>(col), threads);
           },
           Unlocked())
      .def("find_places",
           [](const P& old, const P& now, uintptr_t places, int threads) {
             find_places(old, now, at<int64_t>(places), threads);
           },
           Unlocked())
      .def("carry",
           [](const P& old, const P& now, const std::vector<uintptr_t>& from,
              const std::vector<uintptr_t>& to, const std::vector<int64_t>& bytes, int threads) {
             std::vector<Carried> all;
             for (size_t i = 0; i < from.size(); ++i)
               all.push_back({at<const char>(from[i]), at<char>(to[i]), bytes[i]});
             without_gil([&] { return carry(old, now, all, threads); });
           })
      .def("make_chances",
           [](const P&, uintptr_t weights, int64_t size, uintptr_t own, uintptr_t other) {
             make_chances(at<const double>(weights), size, at<double>(own), at<I>(other));
           },
           Unlocked())
      .def("draw_rows",
           [](const P& pattern, uintptr_t own, uintptr_t other, int64_t count, uint64_t seed,
              uintptr_t drawn) {
             draw_rows<I>({pattern.rows, at<const double>(own), at<const I>(other)}, count, seed,
                          at<I>(drawn));
           },
           Unlocked())
      .def("draw_absent",
           [](const P& pattern, int64_t first, int64_t last, uintptr_t drawn, uintptr_t own,
              uintptr_t other, uint64_t seed, uintptr_t ptr, uintptr_t col, int threads) {
             draw_absent<I>(pattern, first, last, at<const I>(drawn),
                            {pattern.columns, at<const double>(own), at<const I>(other)}, seed,
                            at<I>(ptr), at<I>(col), threads);
           },
           Unlocked());
}

template <class T>
void bind_selection(nb::module_& module, const std::string& suffix) {
  module.def(("drop_smallest_" + suffix).c_str(),
             [](uintptr_t worth, uintptr_t keep, int64_t size, int64_t count, int threads) {
               nb::gil_scoped_release release;
               drop_smallest(at<const T>(worth), at<bool>(keep), size, count, threads);
             });
  module.def(("above_" + suffix).c_str(),
             [](uintptr_t numbers, int64_t size, double bar, uintptr_t places) {
               nb::gil_scoped_release release;
               return above(at<const T>(numbers), size, static_cast<T>(bar), at<int64_t>(places));
             });
}

}  // namespace

void bind_rewiring(nb::module_& module) {
  bind<int32_t>(module, "Pattern32");
  bind<int64_t>(module, "Pattern64");
  bind_selection<float>(module, "f32");
  bind_selection<double>(module, "f64");
}

}  // namespace sparsebench
