#include "lsm/block_log.h"

#include <algorithm>
#include <array>

#include "core/crc32c.h"

namespace sentinel::lsm {

namespace {

constexpr std::size_t kCrcAt = kLogTagBytes;
constexpr std::size_t kAfterCrc = kCrcAt + 4;
constexpr std::size_t kFirstSectorPayload = kLogSectorBytes - kLogTagBytes - kLogBlockHeaderBytes;
constexpr std::size_t kSectorPayload = kLogSectorBytes - kLogTagBytes;

/// Where in the block the payload byte with this position lies, and how many follow it without a
/// gap.
struct Place {
  std::size_t offset;
  std::size_t contiguous;
};

Place place_of(std::size_t payload_position) {
  if (payload_position < kFirstSectorPayload) {
    return {kLogTagBytes + kLogBlockHeaderBytes + payload_position,
            kFirstSectorPayload - payload_position};
  }
  const std::size_t beyond = payload_position - kFirstSectorPayload;
  const std::size_t in_sector = beyond % kSectorPayload;
  const std::size_t sector = 1 + beyond / kSectorPayload;
  return {sector * kLogSectorBytes + kLogTagBytes + in_sector, kSectorPayload - in_sector};
}

std::uint32_t block_crc(core::ByteSpan block) {
  return core::crc32c_extend(core::crc32c(block.first(kCrcAt)), block.subspan(kAfterCrc));
}

std::uint32_t tag_generation(core::ByteSpan block, std::size_t sector) {
  return core::load_be<std::uint32_t>(block.data() + sector * kLogSectorBytes);
}
std::uint32_t tag_write(core::ByteSpan block, std::size_t sector) {
  return core::load_be<std::uint32_t>(block.data() + sector * kLogSectorBytes + 4);
}

bool is_zero(core::ByteSpan block, std::size_t sector) {
  const core::ByteSpan bytes = block.subspan(sector * kLogSectorBytes, kLogSectorBytes);
  return std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; });
}

void stamp_tags(std::byte* block, std::uint32_t generation, std::uint32_t write_number) {
  for (std::size_t sector = 0; sector < kLogSectors; ++sector) {
    core::store_be(block + sector * kLogSectorBytes, generation);
    core::store_be(block + sector * kLogSectorBytes + 4, write_number);
  }
}

/// Whether the block would be valid if only its tags were right. Then all of its content is there:
/// a tag decayed, or the sectors that a torn write left out held the same bytes before, as the
/// zeros behind the end of a write do.
bool valid_with_tags(core::ByteSpan block, std::uint32_t generation, std::uint32_t write_number) {
  std::array<std::byte, kLogBlockBytes> copy;
  std::copy(block.begin(), block.end(), copy.begin());
  stamp_tags(copy.data(), generation, write_number);
  return block_crc(copy) == core::load_be<std::uint32_t>(copy.data() + kCrcAt);
}

}  // namespace

std::size_t BlockEncoder::append(core::ByteSpan stream) {
  std::size_t taken = 0;
  while (taken < stream.size()) {
    if (room_in_block() == 0) {
      if ((blocks_ + 1) * kLogBlockBytes > memory_.size()) break;
      ++blocks_;
      payload_bytes_ = 0;
    }
    const Place place = place_of(payload_bytes_);
    const std::size_t length = std::min(place.contiguous, stream.size() - taken);
    std::memcpy(memory_.data() + (blocks_ - 1) * kLogBlockBytes + place.offset,
                stream.data() + taken, length);
    payload_bytes_ += length;
    taken += length;
  }
  return taken;
}

core::ByteSpan BlockEncoder::finish(std::uint32_t generation, std::uint32_t write_number,
                                    std::uint32_t first_block_index) {
  SENTINEL_ASSERT(blocks_ > 0 && write_number > 0);
  const std::size_t used = payload_bytes_;
  // What an earlier write left behind the end must not reach the disk again.
  for (std::size_t position = used; position < kLogBlockPayloadBytes;) {
    const Place place = place_of(position);
    std::memset(memory_.data() + (blocks_ - 1) * kLogBlockBytes + place.offset, 0,
                place.contiguous);
    position += place.contiguous;
  }
  for (std::size_t i = 0; i < blocks_; ++i) {
    std::byte* block = memory_.data() + i * kLogBlockBytes;
    const bool last = i + 1 == blocks_;
    stamp_tags(block, generation, write_number);
    std::byte* header = block + kAfterCrc;
    core::store_be(header, first_block_index + static_cast<std::uint32_t>(i));
    core::store_be(header + 4, static_cast<std::uint16_t>(last ? used : kLogBlockPayloadBytes));
    core::store_be(header + 6, static_cast<std::uint16_t>(blocks_ - 1 - i));
    core::store_be(block + kCrcAt, block_crc({block, kLogBlockBytes}));
  }
  return memory_.first(blocks_ * kLogBlockBytes);
}

BlockState classify_block(core::ByteSpan block, std::uint32_t generation, std::uint32_t block_index,
                          BlockHeader& header) {
  header = {};
  std::size_t current = 0;
  bool impossible = false;
  for (std::size_t sector = 0; sector < kLogSectors; ++sector) {
    const std::uint32_t found = tag_generation(block, sector);
    if (found == generation) {
      ++current;
      header.write_number = std::max(header.write_number, tag_write(block, sector));
    }
    // No later generation can stand in this file, and before the first one there were zeros.
    impossible |= found > generation || (found == 0 && !is_zero(block, sector));
  }
  if (current == 0 && !impossible) return BlockState::unwritten;
  if (current < kLogSectors && !valid_with_tags(block, generation, header.write_number))
    return impossible ? BlockState::damaged : BlockState::unwritten;
  if (current == kLogSectors &&
      block_crc(block) != core::load_be<std::uint32_t>(block.data() + kCrcAt)) {
    return BlockState::damaged;
  }
  const std::byte* fields = block.data() + kAfterCrc;
  header.payload_bytes = core::load_be<std::uint16_t>(fields + 4);
  header.blocks_left = core::load_be<std::uint16_t>(fields + 6);
  const bool sound = core::load_be<std::uint32_t>(fields) == block_index &&
                     header.write_number > 0 && header.payload_bytes <= kLogBlockPayloadBytes;
  return sound ? BlockState::valid : BlockState::damaged;
}

void append_payload(core::ByteSpan block, const BlockHeader& header, core::ByteWriter& stream) {
  for (std::size_t position = 0; position < header.payload_bytes;) {
    const Place place = place_of(position);
    const std::size_t length =
        std::min<std::size_t>(place.contiguous, header.payload_bytes - position);
    stream.bytes(block.subspan(place.offset, length));
    position += length;
  }
}

}  // namespace sentinel::lsm
