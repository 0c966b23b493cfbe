#pragma once
/// The layout of an SSTable file.
///
///   file       = data block* | index block | properties | footer
///   each part but the footer is stored as   content | crc (4)
///   index      = a block (lsm/block.h): key and tag of each data block's last entry -> its handle
///   properties = the table's TableInfo, and zeros up to where the footer ends a block of 4096
///   bytes footer     = magic (8) | format version (4) | store id (8) | file number (8) | index
///   handle (12) | properties handle (12) | crc (4)
///
/// A part's CRC-32C covers its content, its own offset and the file number, so that a block read
/// from the wrong place or the wrong file does not pass.

#include <array>
#include <cstdint>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "lsm/format.h"

namespace sentinel::lsm {

inline constexpr std::uint64_t kTableMagic = 0x534e544c53535431;  // "SNTLSST1"
inline constexpr std::size_t kTableFooterBytes = 8 + 4 + 8 + 8 + 12 + 12 + 4;
inline constexpr std::size_t kTableCrcBytes = 4;
/// A file's size is a multiple of this, so that it can be written with O_DIRECT.
inline constexpr std::size_t kTableFileAlignment = 4096;
/// Data blocks are closed at this size; one large value makes one large block.
inline constexpr std::size_t kTableBlockBytes = std::size_t{32} << 10;
/// More than any block can have: a value of kValueBytesMax, or the index of a very large table.
inline constexpr std::uint32_t kTablePartBytesMax = 256u << 20;

/// Where a part lies. `length` is that of the content, without the crc.
struct TableHandle {
  std::uint64_t offset = 0;
  std::uint32_t length = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.offset);
    visit(self.length);
  }
};

inline std::uint32_t table_part_crc(core::ByteSpan content, std::uint64_t offset, FileNumber file) {
  std::array<std::byte, 16> place;
  core::store_be(place.data(), offset);
  core::store_be(place.data() + 8, file.value());
  return core::crc32c_extend(core::crc32c(content), place);
}

}  // namespace sentinel::lsm
