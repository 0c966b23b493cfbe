#include "test/support/sim_contents.h"

#include <algorithm>
#include <cstring>

namespace sentinel::test {

void SimContents::resize(std::uint64_t size) {
  if (size < size_) {
    const std::uint64_t blocks = (size + kBlockBytes - 1) / kBlockBytes;
    const std::uint64_t chunks = (blocks + kBlocksPerChunk - 1) / kBlocksPerChunk;
    if (chunks < chunks_.size()) chunks_.resize(chunks);
    // What lies behind the end reads as zeros if the file grows again.
    for (std::uint64_t b = blocks; b < chunks_.size() * kBlocksPerChunk; ++b) {
      if (find(b) != nullptr) writable(b).bytes.fill(std::byte{0});
    }
    const std::size_t used = size % kBlockBytes;
    if (used != 0 && find(blocks - 1) != nullptr) {
      Block& last = writable(blocks - 1);
      std::fill(last.bytes.begin() + static_cast<std::ptrdiff_t>(used), last.bytes.end(),
                std::byte{0});
    }
  }
  size_ = size;
}

void SimContents::write(std::uint64_t offset, core::ByteSpan from) {
  std::size_t done = 0;
  while (done < from.size()) {
    const std::uint64_t at = offset + done;
    const std::size_t inside = at % kBlockBytes;
    const std::size_t length = std::min(kBlockBytes - inside, from.size() - done);
    std::memcpy(writable(at / kBlockBytes).bytes.data() + inside, from.data() + done, length);
    done += length;
  }
  size_ = std::max(size_, offset + done);
}

std::size_t SimContents::read(std::uint64_t offset, std::span<std::byte> into) const {
  if (offset >= size_) return 0;
  const std::size_t length = std::min<std::uint64_t>(into.size(), size_ - offset);
  std::size_t done = 0;
  while (done < length) {
    const std::uint64_t at = offset + done;
    const std::size_t inside = at % kBlockBytes;
    const std::size_t part = std::min(kBlockBytes - inside, length - done);
    const Block* block = find(at / kBlockBytes);
    if (block == nullptr) {
      std::memset(into.data() + done, 0, part);
    } else {
      std::memcpy(into.data() + done, block->bytes.data() + inside, part);
    }
    done += part;
  }
  return length;
}

SimContents::Block& SimContents::writable(std::uint64_t block) {
  const std::size_t index = block / kBlocksPerChunk;
  if (index >= chunks_.size()) chunks_.resize(index + 1);
  std::shared_ptr<Chunk>& chunk = chunks_[index];
  if (chunk == nullptr) {
    chunk = std::make_shared<Chunk>();
  } else if (chunk.use_count() > 1) {
    chunk = std::make_shared<Chunk>(*chunk);
  }
  chunk->hashed = false;
  std::shared_ptr<Block>& slot = chunk->blocks[block % kBlocksPerChunk];
  if (slot == nullptr) {
    slot = std::make_shared<Block>();
  } else if (slot.use_count() > 1) {
    slot = std::make_shared<Block>(*slot);
  }
  slot->hashed = false;
  return *slot;
}

const SimContents::Block* SimContents::find(std::uint64_t block) const {
  const std::size_t index = block / kBlocksPerChunk;
  if (index >= chunks_.size() || chunks_[index] == nullptr) return nullptr;
  return chunks_[index]->blocks[block % kBlocksPerChunk].get();
}

std::uint64_t SimContents::hash_of(Block& block) {
  if (block.hashed) return block.hash;
  constexpr std::size_t kLanes = 4;
  std::array<std::uint64_t, kLanes> lanes{1, 2, 3, 4};
  std::uint64_t any = 0;
  for (std::size_t at = 0; at < kBlockBytes; at += sizeof(lanes)) {
    std::array<std::uint64_t, kLanes> words{};
    std::memcpy(words.data(), block.bytes.data() + at, sizeof(words));
    for (std::size_t i = 0; i < kLanes; ++i) {
      any |= words[i];
      lanes[i] = (lanes[i] ^ words[i]) * 0x9e3779b97f4a7c15;
      lanes[i] ^= lanes[i] >> 31;
    }
  }
  // A block of zeros counts like one that was never written.
  block.hash = any == 0 ? 0 : mix_hash(mix_hash(lanes[0], lanes[1]), mix_hash(lanes[2], lanes[3]));
  block.hashed = true;
  return block.hash;
}

std::uint64_t SimContents::hash_of(Chunk& chunk) {
  if (chunk.hashed) return chunk.hash;
  chunk.hash = 0;
  for (std::size_t i = 0; i < chunk.blocks.size(); ++i) {
    if (chunk.blocks[i] == nullptr) continue;
    const std::uint64_t block = hash_of(*chunk.blocks[i]);
    if (block != 0) chunk.hash += mix_hash(block, i + 1);
  }
  chunk.hashed = true;
  return chunk.hash;
}

std::uint64_t SimContents::hash() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (chunks_[i] == nullptr) continue;
    const std::uint64_t chunk = hash_of(*chunks_[i]);
    if (chunk != 0) sum += mix_hash(chunk, i + 1);
  }
  return mix_hash(sum, size_ + 1);
}

}  // namespace sentinel::test
