#pragma once
/// Memory that is given out piece by piece and freed all at once.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

namespace sentinel::lsm {

class Arena {
 public:
  /// `size` bytes, aligned to 8, valid until the arena dies.
  std::byte* allocate(std::size_t size) {
    size = (size + 7) & ~std::size_t{7};
    if (size > left_) refill(size);
    std::byte* piece = at_;
    at_ += size;
    left_ -= size;
    return piece;
  }
  /// Bytes taken from the system.
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    std::align_val_t alignment;
    void operator()(std::byte* chunk) const { ::operator delete[](chunk, alignment); }
  };
  using Chunk = std::unique_ptr<std::byte[], Free>;

  void refill(std::size_t size);

  std::vector<Chunk> chunks_;
  std::byte* at_ = nullptr;
  std::size_t left_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace sentinel::lsm
