#pragma once
/// Page-aligned memory for direct I/O, which the kernel gives zeroed and only once it is touched.

#include <sys/mman.h>

#include <cstddef>
#include <span>

#include "core/assert.h"

namespace sentinel::core {

class AlignedMemory {
 public:
  explicit AlignedMemory(std::size_t size)
      : data_(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        size_(size) {
    SENTINEL_ASSERT(data_ != MAP_FAILED, "no address space for {} bytes", size);
  }
  ~AlignedMemory() { munmap(data_, size_); }
  AlignedMemory(const AlignedMemory&) = delete;
  AlignedMemory& operator=(const AlignedMemory&) = delete;

  [[nodiscard]] std::byte* data() const { return static_cast<std::byte*>(data_); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::span<std::byte> part(std::size_t offset, std::size_t length) const {
    return {data() + offset, length};
  }

 private:
  void* data_;
  std::size_t size_;
};

}  // namespace sentinel::core
