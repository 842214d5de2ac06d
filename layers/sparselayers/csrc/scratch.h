// Memory that a call works in.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sparsebench {

// What a thread works in, of which it keeps a piece for its next call: several, as panels are small
// while blocks of wide layers are not, and a call may need one of each.
enum class Memory { panels, blocks, values, bias, few, kinds };  // the last: so many

// Room for one call, from the start of a page on; `data` is null where there is none to be had.
// What is larger than kept_bytes is given back when the call ends. Nothing is inline, as some who use
// this are compiled for instruction sets that not every CPU has.
class Room {
 public:
  static constexpr size_t kept_bytes = 16 << 20;
  Room(Memory which, size_t bytes);
  ~Room();
  Room(const Room&) = delete;

  const size_t bytes;
  char* const data;
  size_t missing() const;  // so many bytes were wanted in vain, or 0

 private:
  Memory which;
};

}  // namespace sparsebench
