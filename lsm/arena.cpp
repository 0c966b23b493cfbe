#include "lsm/arena.h"

#include <algorithm>

namespace sentinel::lsm {

namespace {
// Chunks double up to the larger size: an idle memtable stays small, a full one has few chunks.
constexpr std::size_t kChunkBytesMin = std::size_t{16} << 10;
constexpr std::size_t kChunkBytesMax = std::size_t{1} << 20;
}  // namespace

void Arena::refill(std::size_t size) {
  const std::size_t grown = std::clamp(bytes_, kChunkBytesMin, kChunkBytesMax);
  const std::size_t chunk = std::max(size, grown);
  chunks_.push_back(std::make_unique_for_overwrite<std::byte[]>(chunk));
  at_ = chunks_.back().get();
  left_ = chunk;
  bytes_ += chunk;
}

}  // namespace sentinel::lsm
