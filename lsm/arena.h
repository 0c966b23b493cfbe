#pragma once
/// Memory that is given out piece by piece and freed all at once.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace sentinel::lsm {

/// Large chunks that arenas left, for those to come: memory that is new costs the system more than
/// all that is done with it here. Lives as long as the arenas that share it.
class ArenaReserve {
 public:
  /// Keeps so much at most; what comes beyond is freed.
  explicit ArenaReserve(std::size_t bytes_max) : bytes_max_(bytes_max) {}
  ~ArenaReserve();
  ArenaReserve(const ArenaReserve&) = delete;
  ArenaReserve& operator=(const ArenaReserve&) = delete;

  [[nodiscard]] std::size_t bytes() const;

 private:
  friend class Arena;
  /// Null when there is none.
  std::byte* take();
  /// False when there are enough.
  bool keep(std::byte* chunk);

  const std::size_t bytes_max_;
  std::vector<std::byte*> chunks_;
};

class Arena {
 public:
  Arena() = default;
  explicit Arena(std::shared_ptr<ArenaReserve> reserve) : reserve_(std::move(reserve)) {}
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

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
  struct Chunk {
    std::byte* begin;
    std::size_t bytes;
  };

  void refill(std::size_t size);

  std::shared_ptr<ArenaReserve> reserve_;
  std::vector<Chunk> chunks_;
  std::byte* at_ = nullptr;
  std::size_t left_ = 0;
  std::size_t bytes_ = 0;
};

}  // namespace sentinel::lsm
