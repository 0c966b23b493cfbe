#pragma once
/// Large buffers that are used again and again, up to a budget: for reads past the page cache.
///
/// A large buffer from the allocator is mapped, filled with zeros page by page and unmapped each
/// time, which costs more than the read that it is for. A buffer of the pool comes back by itself
/// when the last slice of it is gone, on whichever shard that happens.

#include <cstddef>
#include <vector>

#include "core/bytes.h"

namespace sentinel::core {

class BufferPool {
 public:
  struct Options {
    std::size_t buffer_bytes = 0;  ///< Of each buffer; rounded up to whole pages.
    std::size_t bytes_max = 0;     ///< Of all buffers together; less than one: none is ever given.
  };

  explicit BufferPool(Options options);
  /// Buffers that are in use stay valid, and are freed with their last slice.
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  /// A buffer of buffer_bytes(), aligned for direct I/O, with arbitrary content. Empty when as many
  /// as the budget allows are in use, or when the system has no memory.
  Buffer try_take();
  /// Gives what is not in use back to the system.
  void trim();

  [[nodiscard]] std::size_t buffer_bytes() const { return buffer_bytes_; }
  [[nodiscard]] std::size_t count_max() const { return count_max_; }
  /// How many more can be taken now.
  [[nodiscard]] std::size_t available();
  /// Memory held, in use or not.
  [[nodiscard]] std::size_t held_bytes() const { return held_ * buffer_bytes_; }

 private:
  struct Slab;
  struct Returned;
  static void reclaim(Buffer::Block* block);
  static void release(Returned* returned);
  Slab* make_slab();
  void collect();

  // Constant.
  const std::size_t buffer_bytes_;
  const std::size_t count_max_;
  Returned* const returned_;  // Shared with the buffers that are in use.

  std::vector<Slab*> free_;
  std::size_t held_ = 0;  // Buffers, in use or free.
};

}  // namespace sentinel::core
