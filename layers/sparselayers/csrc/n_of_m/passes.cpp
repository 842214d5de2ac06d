#include "n_of_m/passes.h"

#include <omp.h>

#include <algorithm>
#include <type_traits>

#include "lanes/passes.h"
#include "scratch.h"

namespace sparsebench {

const NofMLoopsOfAll* n_of_m_loops = nullptr;

namespace {

constexpr int64_t spans_per_thread = 4;  // more than one even out what else the machine does
constexpr int64_t span_bytes = 128 << 10;  // of values, which L2 holds for all turns of a larger batch

template <class W>
const NofMLoops<W>& of(const NofM& layer) {
  if constexpr (std::is_same_v<W, float>) return n_of_m_loops->f32.of(layer);
  else return n_of_m_loops->bf16.of(layer);
}

float number(float value) { return value; }
float number(bfloat16 value) {
  const uint32_t bits = uint32_t{value.bits} << 16;
  float wide;
  __builtin_memcpy(&wide, &bits, sizeof wide);
  return wide;
}

// Calls body(first, samples) for the turns of a batch.
template <class Body>
void in_turns(int64_t batch, Body body) {
  for (int64_t first = 0; first < batch; first += most_samples)
    body(first, std::min(most_samples, batch - first));
}

// Rows that are taken at a time: all of them where the batch is one turn.
template <class W>
int64_t span_of(const NofM& layer, int64_t batch) {
  if (batch <= most_samples) return layer.rows;
  const int64_t rows = span_bytes / static_cast<int64_t>(layer.length() * sizeof(W));
  return std::max(at_once, rows / at_once * at_once);
}

template <class W>
void arrange(const NofM& layer, const W* x, int64_t x_pitch, int64_t batch, float* to) {
  for (int64_t b = 0; b < batch; ++b)
    of<W>(layer).arrange(layer, x + b * x_pitch, to + b * layer.pitch());
}

}  // namespace

template <class W>
size_t multiply(const NofM& layer, const W* values, const W* bias, const W* x, int64_t x_pitch,
                int64_t batch, W* y, int64_t y_pitch, int threads) {
  if (batch == 0) return 0;
  const int64_t pitch = layer.pitch();
  const Room room(Memory::panels, batch * pitch * sizeof(float));
  if (room.missing()) return room.missing();
  float* from = reinterpret_cast<float*>(room.data);
  arrange(layer, x, x_pitch, batch, from);
  const int64_t shares = threads == 1 ? 1 : threads * spans_per_thread;
  const int64_t share = (layer.rows + shares - 1) / shares;
  const int64_t span = std::min((share + at_once - 1) / at_once * at_once, span_of<W>(layer, batch));
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (threads > 1)
  for (int64_t begin = 0; begin < layer.rows; begin += span)
    in_turns(batch, [&](int64_t first, int64_t samples) {
      of<W>(layer).multiply[samples - 1](layer, begin, std::min(begin + span, layer.rows), values,
                                         bias, from + first * pitch, y + first * y_pitch, y_pitch);
    });
  return 0;
}

// Every thread adds to a dx of its own; they are added in order.
template <class W>
size_t backward(const NofM& layer, const W* values, const uint32_t* sources, const W* dy,
                int64_t dy_pitch, const W* x, int64_t x_pitch, int64_t batch, W* dx,
                int64_t dx_pitch, W* grad_values, int threads) {
  if (batch == 0) {
    if (grad_values) std::fill_n(grad_values, layer.rows * layer.length(), W{});
    return 0;
  }
  constexpr bool wide = std::is_same_v<W, float>;
  const int64_t pitch = layer.pitch(), length = dx ? batch * pitch : 0;
  const int64_t arranged = grad_values ? batch * pitch : 0, widened = wide ? 0 : batch * layer.rows;
  const Room room(Memory::blocks, (threads * length + arranged + widened) * sizeof(float));
  if (room.missing()) return room.missing();
  float* sums = reinterpret_cast<float*>(room.data);
  float *from = sums + threads * length, *factors = from + arranged;
  if (grad_values) arrange(layer, x, x_pitch, batch, from);
  const float* by = factors;
  int64_t by_pitch = layer.rows;
  if constexpr (wide) {
    by = dy, by_pitch = dy_pitch;
  } else {
    for (int64_t b = 0; b < batch; ++b)
      for (int64_t row = 0; row < layer.rows; ++row)
        factors[b * layer.rows + row] = number(dy[b * dy_pitch + row]);
  }
  const Packing<float>& packing = loops->packing->f32;
  const int64_t span = span_of<W>(layer, batch);
#pragma omp parallel num_threads(threads) if (threads > 1)
  {
    const int64_t part = omp_get_thread_num(), parts = omp_get_num_threads();
    const int64_t last = layer.rows * (part + 1) / parts;
    float* own = dx ? sums + part * length : nullptr;
    packing.clear(own, length);
    for (int64_t begin = layer.rows * part / parts; begin < last; begin += span)
      in_turns(batch, [&](int64_t first, int64_t samples) {
        of<W>(layer).backward[samples - 1](
            layer, begin, std::min(begin + span, last), values, sources, by + first * by_pitch,
            by_pitch, from + first * pitch, own ? own + first * pitch : nullptr, first == 0,
            grad_values);
      });
    if (dx) {
#pragma omp barrier
      const int64_t begin = length * part / parts, end = length * (part + 1) / parts;
      for (int64_t other = 1; other < parts; ++other)
        packing.add(sums + begin, sums + other * length + begin, end - begin);
#pragma omp barrier
#pragma omp for
      for (int64_t b = 0; b < batch; ++b)
        of<W>(layer).restore(layer, sums + b * pitch, dx + b * dx_pitch);
    }
  }
  return 0;
}

void fill(const NofM& shape, const int32_t* col, uint32_t* places, uint32_t* sources,
          int threads) {
  const int64_t length = shape.length(), turns = shape.turns(), met = shape.m / shape.n;
  const bool pairs = shape.m == 4 && shape.n == 2;
#pragma omp parallel for num_threads(threads) if (threads > 1)
  for (int64_t row = 0; row < shape.rows; ++row)
    for (int64_t turn = 0; turn < turns; ++turn) {
      uint32_t place_word = 0, source_word = pairs ? 0xaaaaaaaau : 0;
      const int32_t* own = col + row * length + turn * at_once;
      const int64_t count = std::min(at_once, length - turn * at_once);
      for (int64_t i = 0; i < count; ++i) {
        const auto place = static_cast<uint32_t>(own[i] % shape.m);
        const int64_t group = i / shape.n;
        // Groups of eight follow each other, of groups of four two are in each register.
        const int64_t first = shape.m == 8 ? group * 8 : group % met * 8 + group / met * 4;
        const int64_t input = first + place;
        place_word |= place << 4 * i;
        if (pairs) source_word ^= (2u | static_cast<uint32_t>(i % 2)) << 2 * input;
        else source_word |= 1u << input;
      }
      if (places) places[row * turns + turn] = place_word;
      if (sources) sources[row * turns + turn] = source_word;
    }
}

#define SB_PASSES(W)                                                                            \
  template size_t multiply(const NofM&, const W*, const W*, const W*, int64_t, int64_t, W*,   \
                           int64_t, int);                                                       \
  template size_t backward(const NofM&, const W*, const uint32_t*, const W*, int64_t,         \
                           const W*, int64_t, int64_t, W*, int64_t, W*, int);
SB_PASSES(float)
SB_PASSES(bfloat16)

}  // namespace sparsebench
