#include "core/buffer_pool.h"

#include <sys/mman.h>

#include <atomic>
#include <memory>

namespace sentinel::core {

namespace {
constexpr std::size_t kPageBytes = 4096;

std::size_t whole_pages(std::size_t bytes) {
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}
}  // namespace

/// The page before a buffer: this at its begin, the buffer's Block at its end.
struct BufferPool::Slab {
  Returned* home = nullptr;
  Slab* next = nullptr;
  std::size_t mapped_bytes = 0;

  [[nodiscard]] Buffer::Block* block() {
    return reinterpret_cast<Buffer::Block*>(reinterpret_cast<std::byte*>(this) + kPageBytes) - 1;
  }
  static Slab* of(Buffer::Block* block) {
    return reinterpret_cast<Slab*>(reinterpret_cast<std::byte*>(block + 1) - kPageBytes);
  }
  static void free(Slab* slab) { ::munmap(slab, slab->mapped_bytes); }
};

/// Where buffers come back to, from any thread. Lives as long as the pool or one of its buffers.
struct BufferPool::Returned {
  std::atomic<Slab*> first{nullptr};
  std::atomic<std::size_t> owners{1};
};

BufferPool::BufferPool(Options options)
    : buffer_bytes_(whole_pages(options.buffer_bytes)),
      count_max_(buffer_bytes_ == 0 ? 0 : options.bytes_max / buffer_bytes_),
      returned_(std::make_unique<Returned>().release()) {}

BufferPool::~BufferPool() {
  trim();
  release(returned_);
}

Buffer BufferPool::try_take() {
  collect();
  Slab* slab = nullptr;
  if (!free_.empty()) {
    slab = free_.back();
    free_.pop_back();
  } else if (held_ < count_max_) {
    slab = make_slab();
  }
  if (slab == nullptr) return {};
  returned_->owners.fetch_add(1, std::memory_order_relaxed);
  slab->block()->references.store(1, std::memory_order_relaxed);
  return Buffer(slab->block());
}

BufferPool::Slab* BufferPool::make_slab() {
  const std::size_t bytes = kPageBytes + buffer_bytes_;
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* slab = std::construct_at(static_cast<Slab*>(memory));
  slab->home = returned_;
  slab->mapped_bytes = bytes;
  Buffer::Block* block = std::construct_at(slab->block());
  block->capacity = buffer_bytes_;
  block->reclaim = &reclaim;
  ++held_;
  return slab;
}

void BufferPool::trim() {
  collect();
  for (Slab* slab : free_) Slab::free(slab);
  held_ -= free_.size();
  free_.clear();
  free_.shrink_to_fit();
}

std::size_t BufferPool::available() {
  collect();
  return free_.size() + (count_max_ - held_);
}

void BufferPool::collect() {
  // All at once: what others add meanwhile goes to a new list, so that no link can be stale.
  Slab* slab = returned_->first.exchange(nullptr, std::memory_order_acquire);
  while (slab != nullptr) {
    Slab* next = slab->next;
    free_.push_back(slab);
    slab = next;
  }
}

/// By whoever drops the last reference, on any thread.
void BufferPool::reclaim(Buffer::Block* block) {
  Slab* slab = Slab::of(block);
  // From the exchange on the pool may hand the slab out again.
  Returned* home = slab->home;
  slab->next = home->first.load(std::memory_order_relaxed);
  while (!home->first.compare_exchange_weak(slab->next, slab, std::memory_order_release,
                                            std::memory_order_relaxed)) {
  }
  release(home);
}

/// The last owner frees what has come back since.
void BufferPool::release(Returned* returned) {
  if (returned->owners.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  Slab* slab = returned->first.load(std::memory_order_acquire);
  while (slab != nullptr) {
    Slab* next = slab->next;
    Slab::free(slab);
    slab = next;
  }
  std::default_delete<Returned>()(returned);
}

}  // namespace sentinel::core
