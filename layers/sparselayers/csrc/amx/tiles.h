// The registers of AMX, and what is laid out for them. For files that are compiled for CPUs with AMX alone.
#pragma once

#include <immintrin.h>

#include "amx/amx.h"

namespace sparsebench {

namespace {

// A tile register: 16 rows of 64 bytes. As activations or weights 16 × 32 numbers, or 16 pairs of them for
// each of 16; as sums 16 × 16 floats.
constexpr int64_t side = 16, depth = 32, tile_bytes = 1024;

// Activations that stay in L2 beside the weights that they meet; less for each of many threads.
constexpr int64_t activations_bytes(int threads) { return (8 << 20) / (threads > 8 ? threads : 8); }

// Nothing of the standard library is called: the linker keeps any one copy of its functions.
constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
constexpr int64_t larger(int64_t a, int64_t b) { return a < b ? b : a; }
constexpr int64_t up(int64_t count, int64_t of) { return (count + of - 1) / of; }

struct alignas(64) Config {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t bytes_of_row[16] = {};
  uint8_t rows[16] = {};
  Config() {
    for (int tile = 0; tile < 8; ++tile) bytes_of_row[tile] = 64, rows[tile] = side;
  }
};

// The units are configured for a thread while this lives.
struct Units {
  Units() {
    const Config config;
    _tile_loadconfig(&config);
  }
  ~Units() { _tile_release(); }
  Units(const Units&) = delete;
};

// The instructions on tile registers, whose numbers are constants.
template <int Tile>
inline void zero_tile() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(Tile));
}
template <int Tile>
inline void load_tile(const void* from) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(int64_t{64}), "i"(Tile) : "memory");
}
// What is not needed again soon: L1 keeps what it has.
template <int Tile>
inline void pass_tile(const void* from) {
  __asm__ volatile("tileloaddt1 (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(int64_t{64}), "i"(Tile) : "memory");
}
template <int Tile>
inline void store_tile(void* to) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(int64_t{64}), "i"(Tile) : "memory");
}
// The sums of `To` grow by the product of two others.
template <int To, int One, int Other>
inline void add_product() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(To), "i"(One), "i"(Other));
}

using Register = __m512i;

inline __mmask32 first(int64_t count) {
  return count >= 32 ? ~__mmask32{0} : count <= 0 ? 0 : (__mmask32{1} << count) - 1;
}

// Rows of 16 numbers of 32 bits become columns.
inline void transpose(Register r[16]) {
  Register t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int j = 0; j < 2; ++j) {
      r[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
      r[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
    }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
    t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
    t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
    t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
  }
  for (int i = 0; i < 4; ++i) {
    r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
    r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
    r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
    r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
  }
}

// Two rows of 32 numbers in turns: the first 16 pairs, and the others.
struct Pairs {
  Register left, right;
  Pairs(Register one, Register other) {
    const Register turns = _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7);
    one = _mm512_permutexvar_epi64(turns, one), other = _mm512_permutexvar_epi64(turns, other);
    left = _mm512_unpacklo_epi16(one, other), right = _mm512_unpackhi_epi16(one, other);
  }
};

inline void store(char* tile, const Register r[16]) {
  for (int i = 0; i < 16; ++i) _mm512_store_si512(tile + 64 * i, r[i]);
}

}  // namespace

}  // namespace sparsebench
