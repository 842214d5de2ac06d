#include "scratch.h"

#include <cstdlib>

namespace sparsebench {
namespace {

struct Kept {
  char* data = nullptr;
  size_t size = 0;
  ~Kept() { std::free(data); }
  void resize(size_t bytes) {
    std::free(data);
    constexpr size_t page = 4096;
    size = (bytes + page - 1) / page * page;
    data = bytes ? static_cast<char*>(std::aligned_alloc(page, size)) : nullptr;
    if (!data) size = 0;
  }
};
thread_local Kept kept[static_cast<int>(Memory::kinds)];

char* room_in(Kept& piece, size_t bytes) {
  if (bytes > piece.size) piece.resize(bytes);
  return piece.data;
}

}  // namespace

Room::Room(Memory which, size_t bytes)
    : bytes(bytes), data(room_in(kept[static_cast<int>(which)], bytes)), which(which) {}

Room::~Room() {
  if (Kept& piece = kept[static_cast<int>(which)]; piece.size > kept_bytes) piece.resize(0);
}

size_t Room::missing() const { return data || !bytes ? 0 : bytes; }

}  // namespace sparsebench
