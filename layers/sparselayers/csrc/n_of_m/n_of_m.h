// What a layer of N of every M inputs is to its kernels, and the loops that each instruction set's copy of
// them offers. See README.md ("N of every M") for how they work.
#pragma once

#include <cstddef>
#include <cstdint>

#include "numbers.h"

// Also of those that are compiled for each instruction set: no copy may be left for the linker to choose.
#define SB_ALWAYS inline __attribute__((always_inline))

namespace sparsebench {

constexpr int64_t at_once = 8;  // connections of a row, whatever the instruction set

// Each output is connected to `n` of every `m` inputs. Values are those of the layer, in its order.
struct NofM {
  int64_t rows, columns, n, m;
  const uint32_t* places;  // (rows, turns): of eight connections where each is among its inputs, 4 bits each

  SB_ALWAYS int64_t length() const { return columns / m * n; }  // of a row
  SB_ALWAYS int64_t turns() const { return (length() + at_once - 1) / at_once; }
  // How far samples are apart that are arranged: whole turns, and a line more, or those of layers a power
  // of two wide would share few lines of the cache.
  SB_ALWAYS int64_t pitch() const { return turns() * (at_once * m / n) + 16; }
};

// So many of the batch share what is read of a connection; a larger batch takes several turns.
constexpr int64_t most_samples = 4;

// Loops of one N and M. Samples that are arranged lie `pitch()` apart.
template <class W>
struct NofMLoops {
  // Between a sample as PyTorch has it and as eight connections at a time meet it; zeros behind the last.
  void (*arrange)(const NofM&, const W* from, float* to);
  void (*restore)(const NofM&, const float* from, W* to);
  // y[:, row] = x Wᵀ + bias of some rows: [samples − 1].
  void (*multiply[most_samples])(const NofM&, int64_t begin, int64_t end, const W* values,
                                 const W* bias, const float* x, W* y, int64_t y_pitch);
  // Both gradients of some rows, if there is an address: dx is added to; so is `result`, unless these are the
  // `first` samples. dy is at dy[sample · dy_pitch + row]. `sources` (rows, turns) says of the 16 or 32 inputs
  // that eight connections meet, in the order of what is arranged, which are connected: see fill().
  void (*backward[most_samples])(const NofM&, int64_t begin, int64_t end, const W* values,
                                 const uint32_t* sources, const float* dy, int64_t dy_pitch,
                                 const float* x, float* dx, bool first, W* result);
};

template <class W>
struct EachNofM {
  NofMLoops<W> one_of_4, two_of_4, two_of_8, four_of_8;
  const NofMLoops<W>& of(const NofM& layer) const {
    if (layer.m == 4) return layer.n == 1 ? one_of_4 : two_of_4;
    return layer.n == 2 ? two_of_8 : four_of_8;
  }
};
struct NofMLoopsOfAll {
  EachNofM<float> f32;
  EachNofM<bfloat16> bf16;
};
namespace scalar { extern const NofMLoopsOfAll n_of_m; }
namespace avx2 { extern const NofMLoopsOfAll n_of_m; }
namespace avx512 { extern const NofMLoopsOfAll n_of_m; }

}  // namespace sparsebench
#undef SB_ALWAYS
