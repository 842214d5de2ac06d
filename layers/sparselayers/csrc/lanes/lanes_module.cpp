// The lanes' part of the Python module; called by what is in layers/sparselayers/backends/native alone.
#include <nanobind/nanobind.h>

#if defined(__x86_64__) || defined(__i386__)
#define SB_X86
#include <cpuid.h>
#endif

#include <string>
#include <type_traits>
#include <utility>

#include "blocks.h"
#include "instruction_sets.h"
#include "memory_error.h"
#include "nonzero.h"
#include "order.h"
#include "passes.h"
#include "scratch.h"
#include "ways.h"

namespace nb = nanobind;

namespace sparsebench {

namespace {

// The loops of each instruction set.
#define SB_LOOPS(set)                                                                           \
  const Loops set##_loops = {set::register_bytes, &set::multiply, &set::gradient, &set::narrow, \
                             &set::packing, &set::squares};
SB_EACH_SET(SB_LOOPS)
#undef SB_LOOPS

// AMD's Zen 5 loads numbers one by one faster than it gathers them, Zen 4 and Intel's processors do
// not (README.md). Families are counted up, so this holds for what follows until it is measured.
bool loads_single_numbers_fast() {
#ifdef SB_X86
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

template <class T> T* at(uintptr_t address) { return reinterpret_cast<T*>(address); }

// Rows as Python holds them; whoever makes them keeps their arrays alive.
template <class Index>
void bind_rows(nb::module_& module, const char* name) {
  using P = typename Index::Pointer;
  using F = typename Index::Feature;
  nb::class_<Rows<Index>>(module, name)
      .def("__init__",
           [](Rows<Index>* rows, int64_t count, int64_t features, int64_t filled, int64_t longest,
              uintptr_t ptr, uintptr_t col, uintptr_t entries, uintptr_t starts) {
             new (rows) Rows<Index>{count, features, filled, longest, at<const P>(ptr),
                                    at<const F>(col), at<const Entry<Index>>(entries),
                                    at<const P>(starts), 1, nullptr};
           })
      .def("tiled",
           [](Rows<Index> rows, int64_t tiles, uintptr_t tile_ptr) {
             rows.tiles = tiles;
             rows.tile_ptr = at<const P>(tile_ptr);
             return rows;
           })
      .def("transpose",
           [](const Rows<Index>& rows, uintptr_t ptr, uintptr_t entries, int threads) {
             nb::gil_scoped_release release;
             transpose(rows, at<P>(ptr), at<Entry<Index>>(entries), threads);
           })
      .def("find_tiles", [](const Rows<Index>& rows, int64_t tiles, int64_t width,
                            uintptr_t tile_ptr, int threads) {
        nb::gil_scoped_release release;
        find_tiles(rows, tiles, width, at<P>(tile_ptr), threads);
      });
}

// A batch of no more rows than a register holds, arranged in `room` where it is not so already.
template <class W, class T = Compute<W>>
Arranged<const T> arrange_few(Input<W> x, int64_t batch, int64_t features, T* room) {
  if (std::is_same_v<W, T> && batch == 1 && x.feature_stride == 1)
    return {static_cast<const T*>(x.data), 1};
  const int64_t pitch = Blocks(batch, native_lanes<W>()).lanes();
  pack<W>(x.as_it_is(), batch, features, {room, pitch}, 1);
  return {room, pitch};
}

// The same products of such batches as PyTorch has them, with contiguous results: one call each, for
// where a call takes as long as its product.
template <class W, class Index>
void bind_few(nb::module_& module, const std::string& suffix) {
  using T = Compute<W>;
  module.def(("few_multiply_" + suffix).c_str(),
             [](const Rows<Index>& rows, uintptr_t values, uintptr_t bias, uintptr_t x,
                int64_t batch_stride, int64_t feature_stride, int64_t batch, uintptr_t y,
                int threads) {
               without_gil([&]() -> Missing {
                 const int64_t lanes = Blocks(batch, native_lanes<W>()).lanes();
                 const Room room(Memory::few, rows.features * lanes * sizeof(T));
                 if (room.missing()) return room.missing();
                 const Arranged<const T> from =
                     arrange_few<W>({at<const void>(x), batch_stride, feature_stride}, batch,
                                    rows.features, reinterpret_cast<T*>(room.data));
                 return multiply<W, Index>(rows, at<const W>(values), at<const W>(bias),
                                           {from.data, 1, from.pitch}, batch,
                                           {at<W>(y), rows.count, 1}, threads);
               });
             });
  module.def(("few_backward_" + suffix).c_str(),
             [](const Rows<Index>& rows, uintptr_t values, uintptr_t dy, int64_t dy_batch_stride,
                int64_t dy_feature_stride, uintptr_t x, int64_t x_batch_stride,
                int64_t x_feature_stride, int64_t batch, uintptr_t dx, uintptr_t grad_values,
                uintptr_t grad_bias, int threads) {
               without_gil([&]() -> Missing {
                 const int64_t lanes = Blocks(batch, native_lanes<W>()).lanes();
                 const int64_t features = rows.features, arranged = rows.count + features;
                 const Room room(Memory::few,
                                 (arranged + threads * features) * lanes * sizeof(T));
                 if (room.missing()) return room.missing();
                 T* own = reinterpret_cast<T*>(room.data);
                 T* rest = own + threads * features * lanes;
                 const Arranged<const T> ys = arrange_few<W>(
                     {at<const void>(dy), dy_batch_stride, dy_feature_stride}, batch, rows.count,
                     rest);
                 const Arranged<const T> xs = arrange_few<W>(
                     {at<const void>(x), x_batch_stride, x_feature_stride}, batch, features,
                     rest + rows.count * lanes);
                 backward_narrow<W, Index>(rows, at<const W>(values), ys, xs, batch, own,
                                           {at<W>(dx), features, 1}, at<W>(grad_values),
                                           at<W>(grad_bias), threads);
                 return 0;
               });
             });
}

// One overload of each product for every kind of rows.
template <class W, class Index>
void bind_products(nb::module_& module, const std::string& suffix) {
  using T = Compute<W>;
  module.def(("multiply_" + suffix).c_str(),
             [](const Rows<Index>& rows, uintptr_t values, uintptr_t bias, uintptr_t x,
                        int64_t x_batch_stride, int64_t x_feature_stride, int64_t batch,
                        uintptr_t result, int64_t batch_stride, int64_t feature_stride,
                        int threads) {
               without_gil([&] {
                 return multiply<W, Index>(rows, at<const W>(values), at<const W>(bias),
                                           {at<const void>(x), x_batch_stride, x_feature_stride},
                                           batch, {at<W>(result), batch_stride, feature_stride},
                                           threads);
               });
             });
  module.def(("backward_" + suffix).c_str(),
             [](const Rows<Index>& rows, const Rows<Index>* columns, uintptr_t values,
                        uintptr_t dy, int64_t dy_batch_stride, int64_t dy_feature_stride,
                        uintptr_t x, int64_t x_batch_stride, int64_t x_feature_stride,
                        int64_t batch, uintptr_t dx, int64_t batch_stride, int64_t feature_stride,
                        uintptr_t grad_values, uintptr_t grad_bias, int threads) {
               without_gil([&] {
                 return backward<W, Index>(rows, columns, at<const W>(values),
                                           {at<const void>(dy), dy_batch_stride, dy_feature_stride},
                                           {at<const void>(x), x_batch_stride, x_feature_stride},
                                           batch, {at<W>(dx), batch_stride, feature_stride},
                                           at<W>(grad_values), at<W>(grad_bias), threads);
               });
             },
             nb::arg("rows"), nb::arg("columns").none(), nb::arg("values"), nb::arg("dy"),
             nb::arg("dy_batch_stride"), nb::arg("dy_feature_stride"), nb::arg("x"),
             nb::arg("x_batch_stride"), nb::arg("x_feature_stride"), nb::arg("batch"),
             nb::arg("dx"), nb::arg("batch_stride"), nb::arg("feature_stride"),
             nb::arg("grad_values"), nb::arg("grad_bias"), nb::arg("threads"));
  module.def(("backward_narrow_" + suffix).c_str(),
             [](const Rows<Index>& rows, uintptr_t values, uintptr_t dy, int64_t dy_pitch,
                        uintptr_t x, int64_t x_pitch, int64_t batch,
                        uintptr_t dx, int64_t batch_stride, int64_t feature_stride,
                        uintptr_t grad_values, uintptr_t grad_bias, int threads) {
               without_gil([&] {
                 const int64_t unit = Blocks(batch, native_lanes<W>()).unit;
                 const Room own(Memory::blocks, threads * rows.features * unit * sizeof(T));
                 if (own.missing()) return own.missing();
                 backward_narrow<W, Index>(rows, at<const W>(values), {at<const T>(dy), dy_pitch},
                                           {at<const T>(x), x_pitch}, batch,
                                           reinterpret_cast<T*>(own.data),
                                           {at<W>(dx), batch_stride, feature_stride},
                                           at<W>(grad_values), at<W>(grad_bias), threads);
                 return Missing{0};
               });
             });
  bind_few<W, Index>(module, suffix);
  module.def(("visited_" + suffix).c_str(),
             [](const Rows<Index>& columns, uintptr_t x, int64_t batch_stride,
                int64_t feature_stride, int64_t batch) {
               return visited<W>(columns, {at<const W>(x), batch_stride, feature_stride}, batch);
             });
  module.def(("multiply_nonzero_" + suffix).c_str(),
             [](const Rows<Index>& columns, uintptr_t values, uintptr_t bias, uintptr_t x,
                int64_t x_batch_stride, int64_t x_feature_stride, int64_t batch, uintptr_t y,
                int64_t batch_stride, int64_t feature_stride, int threads) {
               without_gil([&] {
                 return multiply_nonzero<W, Index>(
                     columns, at<const W>(values), at<const W>(bias),
                     {at<const W>(x), x_batch_stride, x_feature_stride}, batch,
                     {at<W>(y), batch_stride, feature_stride}, threads);
               });
             });
}

// The same products by bits: see passes.h for which blocks and layers. Bits need no `columns`.
template <class W>
void bind_by_bits(nb::module_& module, const std::string& suffix) {
  module.def(("multiply_" + suffix).c_str(),
             [](const Bitmap& bitmap, uintptr_t values, uintptr_t bias, uintptr_t x,
                int64_t x_batch_stride, int64_t x_feature_stride, int64_t batch, uintptr_t result,
                int64_t batch_stride, int64_t feature_stride, int threads) {
               without_gil([&] {
                 return multiply<W, Bits>(rows_by_bits(bitmap), at<const W>(values),
                                          at<const W>(bias),
                                          {at<const void>(x), x_batch_stride, x_feature_stride},
                                          batch, {at<W>(result), batch_stride, feature_stride},
                                          threads);
               });
             });
  module.def(("backward_" + suffix).c_str(),
             [](const Bitmap& bitmap, nb::handle /* columns */, uintptr_t values, uintptr_t dy,
                int64_t dy_batch_stride, int64_t dy_feature_stride, uintptr_t x,
                int64_t x_batch_stride, int64_t x_feature_stride, int64_t batch, uintptr_t dx,
                int64_t batch_stride, int64_t feature_stride, uintptr_t grad_values,
                uintptr_t grad_bias, int threads) {
               without_gil([&] {
                 return backward<W, Bits>(
                     rows_by_bits(bitmap), nullptr, at<const W>(values),
                     {at<const void>(dy), dy_batch_stride, dy_feature_stride},
                     {at<const void>(x), x_batch_stride, x_feature_stride}, batch,
                     {at<W>(dx), batch_stride, feature_stride}, at<W>(grad_values),
                     at<W>(grad_bias), threads);
               });
             },
             nb::arg("bitmap"), nb::arg("columns").none(), nb::arg("values"), nb::arg("dy"),
             nb::arg("dy_batch_stride"), nb::arg("dy_feature_stride"), nb::arg("x"),
             nb::arg("x_batch_stride"), nb::arg("x_feature_stride"), nb::arg("batch"),
             nb::arg("dx"), nb::arg("batch_stride"), nb::arg("feature_stride"),
             nb::arg("grad_values"), nb::arg("grad_bias"), nb::arg("threads"));
}

template <class W>
void bind(nb::module_& module, const std::string& suffix) {
  using T = Compute<W>;
  const auto cut = [](int64_t batch) { return Blocks(batch, native_lanes<W>()); };
  module.def(("unit_" + suffix).c_str(), [cut](int64_t batch) { return cut(batch).unit; });
  module.def(("pitch_" + suffix).c_str(), [cut](int64_t batch) { return cut(batch).lanes(); });
  module.def(("blocks_" + suffix).c_str(), [cut](int64_t batch) { return cut(batch).count; });
  module.def(("has_own_blocks_" + suffix).c_str(), [](int64_t batch, int threads) {
    const Blocks shared(batch, native_lanes<W>(), threads, true);
    return teams_of(shared.count, threads) > 1;
  });
  module.def(("nonzero_" + suffix).c_str(),
             [](uintptr_t x, int64_t batch_stride, int64_t feature_stride, int64_t batch,
                int64_t features) {
               return nonzero<W>({at<const W>(x), batch_stride, feature_stride}, batch, features);
             });
  module.def(("pack_" + suffix).c_str(),
             [](uintptr_t from, int64_t batch_stride, int64_t feature_stride, int64_t batch,
                int64_t features, uintptr_t to, int64_t pitch, int threads) {
               nb::gil_scoped_release release;
               pack<W>({at<const W>(from), batch_stride, feature_stride}, batch, features,
                       {at<T>(to), pitch}, threads);
             });
  bind_products<W, Indices16>(module, suffix);
  bind_products<W, Indices32>(module, suffix);
  bind_products<W, Indices64>(module, suffix);
  bind_by_bits<W>(module, suffix);
}

}  // namespace

bool single_loads = loads_single_numbers_fast();

void use_lanes(const std::string& set) {
#define SB_USE(name) if (set == #name) loops = &name##_loops;
  SB_EACH_SET(SB_USE)
#undef SB_USE
}

void bind_lanes(nb::module_& module) {
  bind_rows<Indices16>(module, "Rows16");
  bind_rows<Indices32>(module, "Rows32");
  bind_rows<Indices64>(module, "Rows64");
  bind<float>(module, "f32");
  bind<double>(module, "f64");
  bind<bfloat16>(module, "bf16");
  module.def(
      "use_single_loads", [](bool yes) { return std::exchange(single_loads, yes); },
      "Say whether single numbers are loaded instead of gathered; return whether they were.");
}

}  // namespace sparsebench
