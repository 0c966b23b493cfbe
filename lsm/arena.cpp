#include "lsm/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <new>

namespace sentinel::lsm {

namespace {
// Chunks double up to the size of a huge page: an idle memtable stays small, a full one has few
// chunks and costs a search few misses of the address translation.
constexpr std::size_t kChunkBytesMin = std::size_t{16} << 10;
constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;
}  // namespace

void Arena::refill(std::size_t size) {
  const std::size_t grown = std::clamp(bytes_, kChunkBytesMin, kHugePageBytes);
  const std::size_t bytes = std::max(size, grown);
  const bool huge = bytes >= kHugePageBytes;
  const std::align_val_t alignment{huge ? kHugePageBytes : alignof(std::max_align_t)};
  Chunk chunk(static_cast<std::byte*>(::operator new[](bytes, alignment)), Free{alignment});
  // A hint; where the system has no huge pages to give, ordinary ones do.
  if (huge) ::madvise(chunk.get(), bytes, MADV_HUGEPAGE);
  at_ = chunk.get();
  left_ = bytes;
  bytes_ += bytes;
  chunks_.push_back(std::move(chunk));
}

}  // namespace sentinel::lsm
