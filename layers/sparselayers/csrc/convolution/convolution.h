// What every instruction set's copy of the convolution's kernels offers to convolution_module.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sparsebench {

// Images (count, channels, rows, cols), contiguous, as planes of packed rows and columns.
//
// A stride is undone by cutting each channel into phases: the plane of phase (r, c) holds, in its
// row i and column j, the pixel (row_step · i + row_phase[r] − row_shift, col_step · j +
// col_phase[c] − col_shift), or zero where the image has none. In planes every convolution has
// stride 1, and a connection is one distance for all of its windows.
template <class T>
struct Images {
  T* data;
  int64_t channels, rows, cols;
  int64_t row_step, col_step, row_shift, col_shift;
  int64_t row_phases, col_phases;
  const int64_t *row_phase, *col_phase;
};

// How much of it is done at a time. A block is `inner` images, whose pixels lie side by side (1, or
// the lanes of a register), and `band` rows of windows. With a pitch of 0 nothing is packed: each
// channel is a plane as it is, for a kernel of 1 × 1 with stride 1.
struct Blocking {
  int64_t images, inner, rows, cols;  // rows and cols of windows
  int64_t band, extra_rows, pitch;    // a plane has band + extra_rows rows of pitch columns
};

// Connections sorted by plane of the result; `offset` is how far the window of each begins from
// the first pixel of the packed images. As many planes after one another as are `together`, 1 or
// block_planes, have the same offsets.
constexpr int block_planes = 4;
struct Taps {
  int64_t planes, count, together;
  const int64_t* ptr;
  const int32_t* offset;
};

// Both products return how many bytes of memory they wanted in vain, or 0.
template <class T>
struct ConvolutionOf {
  int64_t lanes;
  size_t (*correlate)(Blocking, Images<const T> from, Taps, const T* values, const T* bias,
                    Images<T> to, int threads);
  size_t (*grad_values)(Blocking, Images<const T> x, Images<const T> dy, Taps, T* result,
                      int threads);
};

struct Convolution {
  ConvolutionOf<float> f32;
  ConvolutionOf<double> f64;
};

namespace scalar { extern const Convolution convolution; }
namespace avx2 { extern const Convolution convolution; }
namespace avx512 { extern const Convolution convolution; }

}  // namespace sparsebench
