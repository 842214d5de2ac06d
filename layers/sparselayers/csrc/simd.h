// Vectors of one instruction set, as GCC's and clang's vector extensions: the same source becomes
// SSE2 or NEON (16 bytes), AVX2 (32 bytes) or AVX-512 (64 bytes) by the flags of the file that
// includes it. Nothing here may come from the standard library: an inline function compiled with
// AVX-512 could be the one that the linker keeps for everybody.
#pragma once

#include <cstdint>

#include "numbers.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
#define SB_VECTOR_BYTES 64
#elif defined(__AVX2__)
#define SB_VECTOR_BYTES 32
#else
#define SB_VECTOR_BYTES 16
#endif

#define SB_INLINE inline __attribute__((always_inline))

// Of what is compiled once for several who call it: neither inlined there nor copied for each of them.
#if defined(__clang__)
#define SB_ONCE __attribute__((noinline))
#else
#define SB_ONCE __attribute__((noinline, noclone))
#endif

#if defined(__clang__)
#define SB_SHUFFLE(a, b, mask_type, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SB_SHUFFLE(a, b, mask_type, ...) __builtin_shuffle(a, b, mask_type{__VA_ARGS__})
#endif

namespace {

template <class T>
constexpr SB_INLINE T smaller(T a, T b) { return a < b ? a : b; }
template <class T>
constexpr SB_INLINE T larger(T a, T b) { return a < b ? b : a; }

using sparsebench::bfloat16;

template <class T> struct IntOf;
template <> struct IntOf<float> {
  using type = int32_t;
  using Bits = uint32_t;
  using Half = uint16_t;
};
template <> struct IntOf<double> {
  using type = int64_t;
  using Bits = uint64_t;
  using Half = uint32_t;
};

// N lanes of T in one register.
template <class T, int N>
struct Vector {
  using Scalar = T;
  static constexpr int lanes = N;
  typedef T Raw __attribute__((vector_size(N * sizeof(T))));
  typedef T Loose __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T)), may_alias));
  typedef typename IntOf<T>::type Mask __attribute__((vector_size(N * sizeof(T))));

  // For what is kept in half the bits: see load and store of bfloat16.
  typedef typename IntOf<T>::Bits Bits __attribute__((vector_size(N * sizeof(T))));
  typedef typename IntOf<T>::Half Halves __attribute__((vector_size(N * sizeof(T) / 2)));
  typedef typename IntOf<T>::Half LooseHalves
      __attribute__((vector_size(N * sizeof(T) / 2), aligned(sizeof(T) / 2), may_alias));

  Raw raw;

  static SB_INLINE Vector zero() { return {Raw{}}; }
  static SB_INLINE Vector fill(T value) { return {value - Raw{}}; }
  static SB_INLINE Vector load(const T* from) { return {*reinterpret_cast<const Loose*>(from)}; }
  // The first `count` lanes, zeros in the others; touches no memory beyond them.
  static SB_INLINE Vector load(const T* from, int count) {
#if defined(__AVX512F__)
    if constexpr (N * sizeof(T) == 64 && sizeof(T) == 4)
      return {(Raw)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), from)};
    if constexpr (N * sizeof(T) == 64 && sizeof(T) == 8)
      return {(Raw)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << count) - 1), from)};
#endif
#if defined(__AVX2__)
    if constexpr (N * sizeof(T) == 32 && sizeof(T) == 4)
      return {(Raw)_mm256_maskload_ps(from, (__m256i)before(count))};
    if constexpr (N * sizeof(T) == 32 && sizeof(T) == 8)
      return {(Raw)_mm256_maskload_pd(from, (__m256i)before(count))};
    if constexpr (N * sizeof(T) == 16 && sizeof(T) == 4)
      return {(Raw)_mm_maskload_ps(from, (__m128i)before(count))};
#endif
    Vector v = zero();
    for (int i = 0; i < count; ++i) v.raw[i] = from[i];
    return v;
  }
  SB_INLINE void store(T* to) const { *reinterpret_cast<Loose*>(to) = raw; }
  SB_INLINE void store(T* to, int count) const {
#if defined(__AVX512F__)
    if constexpr (N * sizeof(T) == 64 && sizeof(T) == 4)
      return _mm512_mask_storeu_ps(to, static_cast<__mmask16>((1u << count) - 1), (__m512)raw);
    if constexpr (N * sizeof(T) == 64 && sizeof(T) == 8)
      return _mm512_mask_storeu_pd(to, static_cast<__mmask8>((1u << count) - 1), (__m512d)raw);
#endif
#if defined(__AVX2__)
    if constexpr (N * sizeof(T) == 32 && sizeof(T) == 4)
      return _mm256_maskstore_ps(to, (__m256i)before(count), (__m256)raw);
    if constexpr (N * sizeof(T) == 32 && sizeof(T) == 8)
      return _mm256_maskstore_pd(to, (__m256i)before(count), (__m256d)raw);
    if constexpr (N * sizeof(T) == 16 && sizeof(T) == 4)
      return _mm_maskstore_ps(to, (__m128i)before(count), (__m128)raw);
#endif
    for (int i = 0; i < count; ++i) to[i] = raw[i];
  }
  // Of bfloat16s: exact one way, rounded to the nearest even the other; what is NaN stays NaN.
  static SB_INLINE Vector load(const bfloat16* from) {
    const Halves halves = *reinterpret_cast<const LooseHalves*>(from);
    return {(Raw)(__builtin_convertvector(halves, Bits) << 16)};
  }
  static SB_INLINE Vector load(const bfloat16* from, int count) {
    Halves halves{};
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if constexpr (N == 16)
      halves = (Halves)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1), from);
    else
#endif
      for (int i = 0; i < count; ++i) halves[i] = from[i].bits;
    return {(Raw)(__builtin_convertvector(halves, Bits) << 16)};
  }
  SB_INLINE void store(bfloat16* to) const { *reinterpret_cast<LooseHalves*>(to) = halves(); }
  SB_INLINE void store(bfloat16* to, int count) const {
    const Halves rounded = halves();
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if constexpr (N == 16)
      return _mm256_mask_storeu_epi16(to, static_cast<__mmask16>((1u << count) - 1),
                                      (__m256i)rounded);
#endif
    for (int i = 0; i < count; ++i) to[i].bits = rounded[i];
  }
  SB_INLINE Halves halves() const {
    const Bits bits = (Bits)raw, nan = (Bits)(raw != raw);
    const Bits rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
    return __builtin_convertvector(((rounded & ~nan) | (0x7fc00000u & nan)) >> 16, Halves);
  }
  // from[index[i]] in lane i: by one instruction where there is one, or loaded one by one.
  static SB_INLINE Vector gather(const T* from, const int32_t* index) {
#if defined(__AVX512F__)
    if constexpr (N == 16 && sizeof(T) == 4)
      return {(Raw)_mm512_i32gather_ps(_mm512_loadu_si512(index), from, 4)};
#endif
    return collect(from, index);
  }
  static SB_INLINE Vector gather(const T* from, const uint16_t* index) {
#if defined(__AVX512F__)
    if constexpr (N == 16 && sizeof(T) == 4)
      return {(Raw)_mm512_i32gather_ps(
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index))), from,
          4)};
#endif
    return collect(from, index);
  }
  static SB_INLINE Vector gather(const T* from, const int64_t* index) {
    return collect(from, index);
  }
  template <class Index>
  static SB_INLINE Vector collect(const T* from, const Index* index) {
    Vector v;
    for (int i = 0; i < N; ++i) v.raw[i] = from[index[i]];
    return v;
  }
  // Keeps it in a register: compilers load again and again what memory has, for each use by itself.
  SB_INLINE void keep_in_register() {
#if defined(__x86_64__) || defined(__i386__)
    asm("" : "+v"(raw));
#elif defined(__aarch64__)
    asm("" : "+w"(raw));
#endif
  }
  // All bits of the first `count` lanes.
  static SB_INLINE Mask before(int count) {
    Mask lane{};
    for (int i = 0; i < N; ++i) lane[i] = i;
    return lane < static_cast<typename IntOf<T>::type>(count);
  }
  SB_INLINE Vector& operator+=(Vector b) { raw += b.raw; return *this; }
  SB_INLINE Vector operator*(Vector b) const { return {raw * b.raw}; }
  // this += a * b, in one rounding where the instruction set has it
  SB_INLINE void add_product(Vector a, Vector b) { raw += a.raw * b.raw; }
  SB_INLINE T sum() const {
    T total = 0;
    for (int i = 0; i < N; ++i) total += raw[i];
    return total;
  }
};

// The number that is kept, and how a number is kept.
template <class T>
SB_INLINE T widened(T value) { return value; }
SB_INLINE float widened(bfloat16 value) { return Vector<float, 1>::load(&value).raw[0]; }
SB_INLINE void keep(float value, float& kept) { kept = value; }
SB_INLINE void keep(double value, double& kept) { kept = value; }
SB_INLINE void keep(float value, bfloat16& kept) { Vector<float, 1>::fill(value).store(&kept); }

}  // namespace
