// Random numbers: a stream of its own for every row, so that any thread may draw for any row.
#pragma once

#include <cstdint>

namespace sparsebench {

// SplitMix64 (Steele, Lea and Flood 2014). Integers alone: the same numbers on every machine.
class Stream {
 public:
  Stream(uint64_t seed, uint64_t number) : state(mixed(seed ^ mixed(number + step))) {}

  uint64_t next() { return mixed(state += step); }

  // A number below n. None is favoured by more than n / 2⁶⁴.
  int64_t below(int64_t n) { return static_cast<int64_t>(high(next(), static_cast<uint64_t>(n))); }

  // A number in [0, 1), of 53 bits.
  double unit() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  static constexpr uint64_t step = 0x9e3779b97f4a7c15;

  static uint64_t mixed(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  // The upper half of a product of 128 bits.
  static uint64_t high(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>(static_cast<Wide>(a) * b >> 64);
#else
    const uint64_t low = 0xffffffff, a0 = a & low, a1 = a >> 32, b0 = b & low, b1 = b >> 32;
    const uint64_t middle = a1 * b0 + (a0 * b0 >> 32), rest = a0 * b1 + (middle & low);
    return a1 * b1 + (middle >> 32) + (rest >> 32);
#endif
  }

  uint64_t state;
};

}  // namespace sparsebench
