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

std::align_val_t alignment_of(std::size_t bytes) {
  return std::align_val_t{bytes >= kHugePageBytes ? kHugePageBytes : alignof(std::max_align_t)};
}

std::byte* allocate_chunk(std::size_t bytes) {
  auto* chunk = static_cast<std::byte*>(::operator new[](bytes, alignment_of(bytes)));
  // A hint; where the system has no huge pages to give, ordinary ones do.
  if (bytes >= kHugePageBytes) ::madvise(chunk, bytes, MADV_HUGEPAGE);
  return chunk;
}

void free_chunk(std::byte* chunk, std::size_t bytes) {
  ::operator delete[](chunk, alignment_of(bytes));
}
}  // namespace

ArenaReserve::~ArenaReserve() {
  for (std::byte* chunk : chunks_) free_chunk(chunk, kHugePageBytes);
}

std::size_t ArenaReserve::bytes() const { return chunks_.size() * kHugePageBytes; }

std::byte* ArenaReserve::take() {
  if (chunks_.empty()) return nullptr;
  std::byte* chunk = chunks_.back();
  chunks_.pop_back();
  return chunk;
}

bool ArenaReserve::keep(std::byte* chunk) {
  if (bytes() + kHugePageBytes > bytes_max_) return false;
  chunks_.push_back(chunk);
  return true;
}

Arena::~Arena() {
  for (const Chunk& chunk : chunks_) {
    const bool kept =
        reserve_ != nullptr && chunk.bytes == kHugePageBytes && reserve_->keep(chunk.begin);
    if (!kept) free_chunk(chunk.begin, chunk.bytes);
  }
}

void Arena::refill(std::size_t size) {
  const std::size_t grown = std::clamp(bytes_, kChunkBytesMin, kHugePageBytes);
  const std::size_t bytes = std::max(size, grown);
  std::byte* chunk = nullptr;
  if (reserve_ != nullptr && bytes == kHugePageBytes) chunk = reserve_->take();
  if (chunk == nullptr) chunk = allocate_chunk(bytes);
  chunks_.push_back({chunk, bytes});
  at_ = chunk;
  left_ = bytes;
  bytes_ += bytes;
}

}  // namespace sentinel::lsm
