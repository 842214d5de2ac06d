// The kernels without Python, against plain loops: for machines that are emulated, where PyTorch is
// not to be had. CMakeLists.txt makes it (SPARSEBENCH_TEST_KERNELS), try_aarch64.py runs it.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <type_traits>
#include <vector>

#include "bitmaps/passes.h"
#include "instruction_sets.h"
#include "lanes/blocks.h"
#include "lanes/order.h"
#include "lanes/passes.h"

namespace sparsebench {
bool single_loads = false;  // the module asks the CPU
}

using namespace sparsebench;

namespace {

const Loops scalar_loops = {scalar::register_bytes, &scalar::multiply, &scalar::gradient,
                            &scalar::narrow, &scalar::packing, &scalar::squares};
constexpr int threads = 2;
int compared = 0, wrong = 0;

template <class T> double wide(T number) { return number; }
double wide(bfloat16 number) {
  const uint32_t bits = uint32_t{number.bits} << 16;
  float is;
  __builtin_memcpy(&is, &bits, sizeof is);
  return is;
}
template <class T> T narrow_to(double number) { return static_cast<T>(number); }
template <> bfloat16 narrow_to<bfloat16>(double number) {
  const float near = static_cast<float>(number);
  uint32_t bits;
  __builtin_memcpy(&bits, &near, sizeof bits);
  return {static_cast<uint16_t>((bits + 0x8000u) >> 16)};
}

// What rounding allows, of a sum of numbers of which each is about 1.
template <class W> double tolerance() {
  return std::is_same_v<W, double> ? 1e-12 : std::is_same_v<W, float> ? 1e-5 : 2e-2;
}

template <class W>
void compare(const char* what, int64_t batch, W found, double expected, double terms) {
  ++compared;
  if (std::fabs(wide(found) - expected) <= tolerance<W>() * (4 + terms)) return;
  if (++wrong < 20)
    std::printf("%s, batch %lld, %zu bytes: %g instead of %g\n", what,
                static_cast<long long>(batch), sizeof(W), wide(found), expected);
}

// A layer (count, features) with empty rows and columns, its numbers, and a batch.
template <class W>
struct Problem {
  int64_t count, features, batch;
  std::vector<int64_t> ptr{0}, col;
  std::vector<W> values, bias, x, dy;

  Problem(int64_t count, int64_t features, double density, int64_t batch)
      : count(count), features(features), batch(batch) {
    std::mt19937 random(static_cast<unsigned>(count + 31 * batch));
    std::uniform_real_distribution<double> uniform(0, 1);
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t feature = 0; feature < features; ++feature)
        if (row % 5 && feature % 7 != 3 && uniform(random) < density) col.push_back(feature);
      ptr.push_back(static_cast<int64_t>(col.size()));
    }
    const auto fill = [&](std::vector<W>& numbers, int64_t size) {
      for (int64_t i = 0; i < size; ++i) numbers.push_back(narrow_to<W>(2 * uniform(random) - 1));
    };
    fill(values, ptr.back());
    fill(bias, count);
    fill(x, batch * features);
    fill(dy, batch * count);
  }
  double at(const std::vector<W>& numbers, int64_t row, int64_t feature, int64_t of) const {
    return wide(numbers[row * of + feature]);
  }

  void check_y(const char* what, const std::vector<W>& y) const {
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t row = 0; row < count; ++row) {
        double sum = wide(bias[row]);
        for (int64_t p = ptr[row]; p < ptr[row + 1]; ++p)
          sum += wide(values[p]) * at(x, b, col[p], features);
        compare(what, batch, y[b * count + row], sum, double(ptr[row + 1] - ptr[row]));
      }
  }
  void check_dx(const char* what, const std::vector<W>& dx) const {
    std::vector<double> sums(batch * features);
    for (int64_t row = 0; row < count; ++row)
      for (int64_t p = ptr[row]; p < ptr[row + 1]; ++p)
        for (int64_t b = 0; b < batch; ++b)
          sums[b * features + col[p]] += wide(values[p]) * at(dy, b, row, count);
    for (size_t i = 0; i < sums.size(); ++i) compare(what, batch, dx[i], sums[i], double(count));
  }
  void check_gradients(const char* what, const std::vector<W>& of_values,
                       const std::vector<W>& of_bias) const {
    for (int64_t row = 0; row < count; ++row) {
      double total = 0;
      for (int64_t b = 0; b < batch; ++b) total += at(dy, b, row, count);
      if (!of_bias.empty()) compare(what, batch, of_bias[row], total, double(batch));
      for (int64_t p = ptr[row]; p < ptr[row + 1]; ++p) {
        double sum = 0;
        for (int64_t b = 0; b < batch; ++b)
          sum += at(dy, b, row, count) * at(x, b, col[p], features);
        compare(what, batch, of_values[p], sum, double(batch));
      }
    }
  }
};

// The connections as the lanes know them, and their transpose.
template <class Index>
struct Connections {
  using P = typename Index::Pointer;
  using F = typename Index::Feature;
  std::vector<P> ptr, back_ptr, tile_ptr;
  std::vector<F> col;
  std::vector<Entry<Index>> entries;
  Rows<Index> rows, columns;

  template <class W>
  Connections(const Problem<W>& of, int64_t tiles)
      : ptr(of.ptr.begin(), of.ptr.end()), back_ptr(of.features + 1),
        tile_ptr((tiles + 1) * of.count), col(of.col.begin(), of.col.end()), entries(col.size()) {
    rows = described(of.count, of.features, ptr);
    rows.col = col.data();
    transpose(rows, back_ptr.data(), entries.data(), threads);
    columns = described(of.features, of.count, back_ptr);
    columns.entries = entries.data();
    columns.starts = ptr.data();
    if (tiles > 1) {
      find_tiles(rows, tiles, (of.features + tiles - 1) / tiles, tile_ptr.data(), threads);
      rows.tiles = tiles;
      rows.tile_ptr = tile_ptr.data();
    }
  }
  static Rows<Index> described(int64_t count, int64_t features, const std::vector<P>& ptr) {
    int64_t filled = 0, longest = 0;
    for (int64_t row = 0; row < count; ++row) {
      const int64_t length = ptr[row + 1] - ptr[row];
      filled += length > 0;
      longest = std::max(longest, length);
    }
    return {count, features, filled, longest, ptr.data(), nullptr, nullptr, nullptr, 1, nullptr};
  }
};

template <class W, class Index>
void try_lanes(int64_t count, int64_t features, double density, int64_t batch, int64_t tiles) {
  using T = Compute<W>;
  const Problem<W> problem(count, features, density, batch);
  const Connections<Index> made(problem, tiles);
  const Blocks blocks(batch, native_lanes<W>());
  const int64_t pitch = blocks.lanes();
  std::vector<T> rooms[2];
  const auto given = [&](const std::vector<W>& numbers, int64_t width, int which) -> Input<W> {
    if (blocks.count > 1) return {numbers.data(), width, 1};
    rooms[which].resize(width * pitch);
    pack<W>({numbers.data(), width, 1}, batch, width, {rooms[which].data(), pitch}, threads);
    return {rooms[which].data(), 1, pitch};
  };
  const Input<W> x = given(problem.x, features, 0), dy = given(problem.dy, count, 1);
  std::vector<W> y(batch * count), dx(batch * features), of_values(problem.values.size()),
      of_bias(count);
  multiply<W, Index>(made.rows, problem.values.data(), problem.bias.data(), x, batch,
                     {y.data(), count, 1}, threads);
  problem.check_y("y", y);
  // Sums of several blocks in 16 bits would be rounded after each: Python asks for none.
  const bool sums = std::is_same_v<W, T> || blocks.count == 1;
  backward<W, Index>(made.rows, &made.columns, problem.values.data(), dy, x, batch,
                     {dx.data(), features, 1}, sums ? of_values.data() : nullptr,
                     sums ? of_bias.data() : nullptr, threads);
  problem.check_dx("dx", dx);
  if (sums) problem.check_gradients("gradients", of_values, of_bias);
  if (batch > blocks.unit) return;
  std::vector<T> workspace(threads * features * blocks.unit);
  backward_narrow<W, Index>(made.rows, problem.values.data(), {rooms[1].data(), pitch},
                            {rooms[0].data(), pitch}, batch, workspace.data(),
                            {dx.data(), features, 1}, of_values.data(), of_bias.data(), threads);
  problem.check_dx("dx, narrow", dx);
  problem.check_gradients("gradients, narrow", of_values, of_bias);
}

template <class W>
void try_bitmap(int64_t count, int64_t features, int64_t batch) {
  const Problem<W> problem(count, features, 0.5, batch);
  const int64_t words = (features + word_places - 1) / word_places;
  const std::vector<int32_t> ptr(problem.ptr.begin(), problem.ptr.end()),
      col(problem.col.begin(), problem.col.end());
  std::vector<uint64_t> bits(count * words);
  std::vector<uint16_t> before(count * words);
  const Bitmap bitmap{count, features, words, bits.data(), before.data(), problem.ptr.data()};
  fill(bitmap, ptr.data(), col.data(), bits.data(), before.data(), threads);
  std::vector<W> y(batch * count), dx(batch * features), of_values(problem.values.size());
  multiply<W>(bitmap, problem.values.data(), problem.bias.data(), {problem.x.data(), features},
              batch, {y.data(), count}, threads);
  problem.check_y("y, bitmap", y);
  grad_input<W>(bitmap, problem.values.data(), {problem.dy.data(), count}, batch,
                {dx.data(), features}, threads);
  problem.check_dx("dx, bitmap", dx);
  grad_values<W>(bitmap, {problem.dy.data(), count}, {problem.x.data(), features}, batch,
                 of_values.data(), threads);
  problem.check_gradients("gradients, bitmap", of_values, {});
  if (batch > most_few) return;
  std::vector<W> of_bias(count);
  const Strided<W> x{problem.x.data(), features, 1}, dy{problem.dy.data(), count, 1};
  bool finite = false;
  multiply_few<W>(bitmap, problem.values.data(), problem.bias.data(), x, batch, y.data(), threads,
                  finite);
  problem.check_y("y, bitmap, few", y);
  backward_few<W>(bitmap, problem.values.data(), dy, x, batch, dx.data(), of_values.data(),
                  of_bias.data(), threads, finite);
  problem.check_dx("dx, bitmap, few", dx);
  problem.check_gradients("gradients, bitmap, few", of_values, of_bias);
  compare("finite", batch, static_cast<double>(finite), 1, 0);
}

template <class W>
void try_all() {
  for (const int64_t batch : {1, 2, 3, 4, 7, 8, 17, 32, 33, 70}) {
    try_lanes<W, Indices16>(23, 31, 0.4, batch, 1);
    try_lanes<W, Indices16>(40, 200, 0.6, batch, 3);
    try_lanes<W, Indices32>(70, 129, 0.3, batch, 2);
    try_lanes<W, Indices64>(1, 300, 0.5, batch, 1);
    try_lanes<W, Indices64>(9, 60, 0.5, batch, 1);
    if constexpr (!std::is_same_v<W, double>) try_bitmap<W>(45, 190, batch);
  }
}

}  // namespace

int main() {
  loops = &scalar_loops;
  bitmap_loops = &scalar::bitmaps;
  bitmap_few_loops = &scalar::bitmaps_few;
  try_all<float>();
  try_all<double>();
  try_all<bfloat16>();
  std::printf("%d numbers compared, %d wrong\n", compared, wrong);
  return wrong ? 1 : 0;
}
