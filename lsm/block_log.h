#pragma once
/// The format shared by the write-ahead log and the manifest: a file of 4 KiB blocks that tells a
/// torn write from decayed data.
///
///   file    = block*                          one or more blocks are written by one write
///   block   = 8 sectors of 512 bytes
///   sector  = tag (8) | content (504)         tag = generation (4) | write number (4)
///   content of sector 0 begins with the block header:
///             crc (4) | block index (4) | payload bytes (2) | blocks left in this write (2)
///   stream  = the payloads of all blocks, one after the other
///   record  = length (4) | type (1) | body    in the stream, across blocks and writes
///
/// The crc is CRC-32C over the block without the crc itself. The generation is the file's number: a
/// recycled file keeps sectors with older generations until they are overwritten. The write number
/// counts the writes to this file from 1.
///
/// A disk writes a 512-byte sector wholly or not at all. So:
///   unwritten   a sector with an older generation, or of zeros: a write that did not reach the
///               disk, a tear. (Unless the checksum holds with the right tags: then nothing is
///               missing.)
///   damaged     what no tear can leave: all sectors carry the current tag and the crc is wrong, or
///               one carries a tag that can't be. They were written and decayed, rot.
/// One write is in flight at a time, so a valid block of write n+1 proves that write n was synced:
/// anything unwritten at or below n is then damage too. Only a tear at the very end may be cut;
/// rot there may have been synced, and acknowledged, and is damage like any other. A
/// synced block is never rewritten: writes are padded to whole blocks, and a file is never
/// continued after recovery (a new generation is started instead).

#include <cstdint>
#include <span>

#include "core/bytes.h"

namespace sentinel::lsm {

inline constexpr std::size_t kLogBlockBytes = 4096;
inline constexpr std::size_t kLogSectorBytes = 512;
inline constexpr std::size_t kLogTagBytes = 8;
inline constexpr std::size_t kLogBlockHeaderBytes = 12;
inline constexpr std::size_t kLogSectors = kLogBlockBytes / kLogSectorBytes;
inline constexpr std::size_t kLogBlockPayloadBytes =
    kLogBlockBytes - kLogSectors * kLogTagBytes - kLogBlockHeaderBytes;
static_assert(kLogBlockPayloadBytes == 4020);

/// A record's length and type.
inline constexpr std::size_t kLogRecordHeaderBytes = 5;
/// The longest record body; a reader takes anything longer for damage.
inline constexpr std::size_t kLogRecordBytesMax = std::size_t{24} << 20;

/// Fills a buffer with blocks. The position in the file is stamped by finish(), so that a buffer
/// can be filled while the write before it is still in flight.
class BlockEncoder {
 public:
  /// `memory` is aligned to and a multiple of kLogBlockBytes; it outlives the encoder.
  explicit BlockEncoder(std::span<std::byte> memory) : memory_(memory) {}

  /// Appends to the stream; returns how many bytes still fitted.
  std::size_t append(core::ByteSpan stream);
  [[nodiscard]] bool empty() const { return blocks_ == 0; }
  [[nodiscard]] std::size_t blocks() const { return blocks_; }
  /// Stream bytes that fit into the block begun last.
  [[nodiscard]] std::size_t room_in_block() const {
    return blocks_ == 0 ? 0 : kLogBlockPayloadBytes - payload_bytes_;
  }
  [[nodiscard]] std::size_t room() const {
    return room_in_block() + (memory_.size() / kLogBlockBytes - blocks_) * kLogBlockPayloadBytes;
  }

  /// Stamps tags, headers and checksums and returns the bytes of one write, valid until clear().
  core::ByteSpan finish(std::uint32_t generation, std::uint32_t write_number,
                        std::uint32_t first_block_index);
  void clear() {
    blocks_ = 0;
    payload_bytes_ = 0;
  }

 private:
  std::span<std::byte> memory_;
  std::size_t blocks_ = 0;
  std::size_t payload_bytes_ = 0;  // In the last block.
};

enum class BlockState : std::uint8_t { valid, unwritten, damaged };

struct BlockHeader {
  std::uint32_t write_number = 0;
  std::uint16_t payload_bytes = 0;
  std::uint16_t blocks_left = 0;
};

/// Judges one block of a file of `generation`, read at `block_index`. `header` is set when the
/// block is valid, its write_number also when any sector carries the current generation.
BlockState classify_block(core::ByteSpan block, std::uint32_t generation, std::uint32_t block_index,
                          BlockHeader& header);

/// Appends the payload of a valid block to `stream`.
void append_payload(core::ByteSpan block, const BlockHeader& header, core::ByteWriter& stream);

}  // namespace sentinel::lsm
