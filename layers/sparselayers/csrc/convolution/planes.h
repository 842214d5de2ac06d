// Moving images between PyTorch's layout and packed planes.
#pragma once

#include "convolution.h"
#include "transpose.h"

namespace {

using sparsebench::Blocking;
using sparsebench::Images;

SB_INLINE bool in_place(const Blocking& blocking) { return blocking.pitch == 0; }

// The first index i >= 0 with step · i + phase − shift >= bound.
SB_INLINE int64_t first_from(int64_t bound, int64_t step, int64_t phase, int64_t shift) {
  const int64_t distance = bound + shift - phase;
  return distance <= 0 ? 0 : (distance + step - 1) / step;
}

// Where the pixels of an axis of `size` lie in a plane: places [begin, end) of `places` hold the
// pixels step · place + offset.
struct Span {
  int64_t begin, end, offset;
  SB_INLINE Span(int64_t size, int64_t step, int64_t phase, int64_t shift, int64_t start,
                 int64_t places) {
    offset = step * start + phase - shift;
    begin = smaller(places, first_from(0, step, offset, 0));
    end = larger(begin, smaller(places, first_from(size, step, offset, 0)));
  }
};

template <class T>
SB_INLINE void clear(T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = T(0);
}

// One image's plane, pixels of a row side by side.
template <class T>
void pack_plane(const T* channel, int64_t cols, int64_t row_step, int64_t col_step, Span rows,
                Span columns, int64_t height, int64_t pitch, T* plane) {
  clear(plane, rows.begin * pitch);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    const T* from = channel + (row_step * i + rows.offset) * cols + columns.offset;
    T* to = plane + i * pitch;
    clear(to, columns.begin);
    if (col_step == 1)
      for (int64_t j = columns.begin; j < columns.end; ++j) to[j] = from[j];
    else
      for (int64_t j = columns.begin; j < columns.end; ++j) to[j] = from[col_step * j];
    clear(to + columns.end, pitch - columns.end);
  }
  clear(plane + rows.end * pitch, (height - rows.end) * pitch);
}

template <class T>
SB_INLINE void unpack_plane(const T* plane, int64_t pitch, int64_t cols, int64_t row_step,
                            int64_t col_step, Span rows, Span columns, T* channel) {
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    T* to = channel + (row_step * i + rows.offset) * cols + columns.offset;
    const T* from = plane + i * pitch;
    if (col_step == 1)
      for (int64_t j = columns.begin; j < columns.end; ++j) to[j] = from[j];
    else
      for (int64_t j = columns.begin; j < columns.end; ++j) to[col_step * j] = from[j];
  }
}

// The same of N images, whose pixels lie side by side: squares of N images and N pixels are
// transposed in registers. `present` images are there, `stride` apart.
template <class V, class T = typename V::Scalar>
void pack_planes(const T* channel, int64_t next, int64_t stride, int present, int64_t cols, int64_t row_step,
                 int64_t col_step, Span rows, Span columns, int64_t height, int64_t pitch,
                 T* plane) {
  constexpr int N = V::lanes;
  const int64_t width = columns.end - columns.begin;
  clear(plane, rows.begin * pitch * N);
  for (int64_t i = rows.begin; i < rows.end; ++i) {
    clear(plane + i * pitch * N, columns.begin * N);
    clear(plane + (i * pitch + columns.end) * N, (pitch - columns.end) * N);
  }
  clear(plane + rows.end * pitch * N, (height - rows.end) * pitch * N);
  // Whole rows of pixels lie side by side too: a square may go on from one row to the next.
  const bool dense = row_step == 1 && col_step == 1 && width == cols;
  const int64_t lines = dense ? 1 : rows.end - rows.begin;
  const int64_t length = dense ? (rows.end - rows.begin) * width : width;
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t first = rows.begin + line;
    const T* from = channel + (row_step * first + rows.offset) * cols + columns.offset +
                    col_step * columns.begin;
    int64_t i = first, j = columns.begin;
    for (int64_t k = 0; k < length; k += N) {
      const int count = static_cast<int>(smaller<int64_t>(N, length - k));
      V square[N];
      for (int image = 0; image < N; ++image) {
        const T* source = from + image * stride + col_step * k;
        // Few lines of a channel lie together: what the next one needs is not foreseen.
        if (image < present) __builtin_prefetch(source + next);
        if (image >= present) square[image] = V::zero();
        else if (col_step != 1) {
          square[image] = V::zero();
          for (int t = 0; t < count; ++t) square[image].raw[t] = source[col_step * t];
        } else if (count == N) square[image] = V::load(source);
        else square[image] = V::load(source, count);
      }
      transpose(square);
      for (int t = 0; t < count; ++t) {
        square[t].store(plane + (i * pitch + j) * N);
        if (++j == columns.end) j = columns.begin, ++i;
      }
    }
  }
}

template <class V, class T = typename V::Scalar>
void unpack_planes(const T* plane, int64_t pitch, int64_t next, int64_t stride, int present, int64_t cols,
                   int64_t row_step, int64_t col_step, Span rows, Span columns, T* channel) {
  constexpr int N = V::lanes;
  const int64_t width = columns.end - columns.begin;
  const bool dense = row_step == 1 && col_step == 1 && width == cols;
  const int64_t lines = dense ? 1 : rows.end - rows.begin;
  const int64_t length = dense ? (rows.end - rows.begin) * width : width;
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t first = rows.begin + line;
    T* to = channel + (row_step * first + rows.offset) * cols + columns.offset +
            col_step * columns.begin;
    int64_t i = first, j = columns.begin;
    for (int64_t k = 0; k < length; k += N) {
      const int count = static_cast<int>(smaller<int64_t>(N, length - k));
      V square[N];
      for (int t = 0; t < count; ++t) {
        square[t] = V::load(plane + (i * pitch + j) * N);
        if (++j == columns.end) j = columns.begin, ++i;
      }
      for (int t = count; t < N; ++t) square[t] = V::zero();
      transpose(square);
      for (int image = 0; image < present; ++image) {
        T* target = to + image * stride + col_step * k;
        __builtin_prefetch(target + next, 1);
        if (col_step != 1)
          for (int t = 0; t < count; ++t) target[col_step * t] = square[image].raw[t];
        else if (count == N) square[image].store(target);
        else square[image].store(target, count);
      }
    }
  }
}

// The planes of channels [begin, end) of the block's images, one after the other.
template <class V, class T = typename V::Scalar>
void pack(const Images<const T>& images, const Blocking& blocking, int64_t image, int64_t row,
          int64_t height, int64_t begin, int64_t end, T* planes) {
  const int64_t size = height * blocking.pitch * blocking.inner;
  const int64_t area = images.rows * images.cols, stride = images.channels * area;
  T* plane = planes + begin * images.row_phases * images.col_phases * size;
  for (int64_t channel = begin; channel < end; ++channel)
    for (int64_t r = 0; r < images.row_phases; ++r)
      for (int64_t c = 0; c < images.col_phases; ++c, plane += size) {
        const Span rows(images.rows, images.row_step, images.row_phase[r], images.row_shift, row,
                        height);
        const Span columns(images.cols, images.col_step, images.col_phase[c], images.col_shift, 0,
                           blocking.pitch);
        const T* from = images.data + image * stride + channel * area;
        if (blocking.inner == 1)
          pack_plane(from, images.cols, images.row_step, images.col_step, rows, columns, height,
                     blocking.pitch, plane);
        else
          pack_planes<V>(from, channel + 1 < images.channels ? area : 0, stride,
                         static_cast<int>(smaller(blocking.inner, blocking.images - image)),
                         images.cols, images.row_step, images.col_step, rows, columns, height,
                         blocking.pitch, plane);
      }
}

// The plane number `index`, of `height` rows, back to where its pixels are in the images.
template <class V, class T = typename V::Scalar>
SB_INLINE void unpack(const T* plane, const Images<T>& images, const Blocking& blocking,
                      int64_t image, int64_t row, int64_t height, int64_t index) {
  const int64_t c = index % images.col_phases, r = index / images.col_phases % images.row_phases;
  const int64_t channel = index / images.col_phases / images.row_phases;
  const int64_t area = images.rows * images.cols, stride = images.channels * area;
  const Span rows(images.rows, images.row_step, images.row_phase[r], images.row_shift, row, height);
  const Span columns(images.cols, images.col_step, images.col_phase[c], images.col_shift, 0,
                     blocking.cols);
  T* to = images.data + image * stride + channel * area;
  if (blocking.inner == 1)
    unpack_plane(plane, blocking.pitch, images.cols, images.row_step, images.col_step, rows,
                 columns, to);
  else
    unpack_planes<V>(plane, blocking.pitch, channel + 1 < images.channels ? area : 0, stride,
                     static_cast<int>(smaller(blocking.inner, blocking.images - image)),
                     images.cols, images.row_step, images.col_step, rows, columns, to);
}

}  // namespace
