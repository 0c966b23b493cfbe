#pragma once
/// The layout of an SSTable file.
///
///   file       = data block* | (filter? index block)* | properties | footer
///   each part but the footer is stored as   content | crc (4)
///   index      = a block (lsm/block.h), one for each run: key and tag of the last entry of each of
///                the run's data blocks -> the data block's handle
///   filter     = lsm/bloom.h, for runs of keys that are looked up one by one
///   properties = the table's NewTable, and zeros up to where the footer ends a block of 4096 bytes
///   footer     = magic (8) | format version (4) | store id (8) | file number (8) |
///                properties handle (12) | crc (4)
///
/// A part's CRC-32C covers its content, its own offset and the file number, so that a block read
/// from the wrong place or the wrong file does not pass. Runs that were dropped may have been
/// punched out of the file: their data then read as zeros.

#include <array>
#include <cstdint>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "lsm/block.h"
#include "lsm/format.h"
#include "lsm/table_info.h"

namespace sentinel::lsm {

inline constexpr std::uint64_t kTableMagic = 0x534e544c53535431;  // "SNTLSST1"
inline constexpr std::size_t kTableFooterBytes = 8 + 4 + 8 + 8 + 12 + 4;
inline constexpr std::size_t kTableCrcBytes = 4;
/// A file's size is a multiple of this, so that it can be written with O_DIRECT.
inline constexpr std::size_t kTableFileAlignment = 4096;
/// Data blocks are closed at this size; one large value makes one large block.
inline constexpr std::size_t kTableBlockBytes = std::size_t{32} << 10;
/// More than any block can have: a value of kValueBytesMax.
inline constexpr std::uint32_t kTablePartBytesMax = 256u << 20;

/// The end of the whole data blocks that lie one behind the other from `begin` on, where the block
/// lies that `index` stands at: as many as fit `bytes_max`, one at least. `begin` when the index
/// makes no sense.
[[nodiscard]] std::uint64_t end_of_stretch(BlockCursor index, std::uint64_t begin,
                                           std::size_t bytes_max);

inline std::uint32_t table_part_crc(core::ByteSpan content, std::uint64_t offset, FileNumber file) {
  std::array<std::byte, 16> place;
  core::store_be(place.data(), offset);
  core::store_be(place.data() + 8, file.value());
  return core::crc32c_extend(core::crc32c(content), place);
}

}  // namespace sentinel::lsm
