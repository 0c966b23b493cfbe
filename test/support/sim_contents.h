#pragma once
/// The bytes of a simulated file. Copies share what they have in common, so that thousands of
/// states of one disk fit in memory.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/bytes.h"

namespace sentinel::test {

/// Mixes two words into one, for content hashes.
constexpr std::uint64_t mix_hash(std::uint64_t a, std::uint64_t b) {
  std::uint64_t hash = (a ^ (b * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd;
  return hash ^ (hash >> 32);
}

class SimContents {
 public:
  static constexpr std::size_t kBlockBytes = 4096;

  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Cuts off, or extends by zeros.
  void resize(std::uint64_t size);
  /// Extends the file when it ends before.
  void write(std::uint64_t offset, core::ByteSpan from);
  /// Returns the bytes read; fewer than asked only at the end.
  std::size_t read(std::uint64_t offset, std::span<std::byte> into) const;
  /// Equal for equal bytes, however they came to be.
  [[nodiscard]] std::uint64_t hash() const;

 private:
  static constexpr std::size_t kBlocksPerChunk = 64;
  struct Block {
    std::array<std::byte, kBlockBytes> bytes{};
    std::uint64_t hash = 0;
    bool hashed = false;
  };
  struct Chunk {
    std::array<std::shared_ptr<Block>, kBlocksPerChunk> blocks;  // Null: zeros.
    std::uint64_t hash = 0;
    bool hashed = false;
  };
  static std::uint64_t hash_of(Block& block);
  static std::uint64_t hash_of(Chunk& chunk);
  Block& writable(std::uint64_t block);
  [[nodiscard]] const Block* find(std::uint64_t block) const;

  std::uint64_t size_ = 0;
  std::vector<std::shared_ptr<Chunk>> chunks_;  // Null: zeros. May be shorter than the size.
};

}  // namespace sentinel::test
