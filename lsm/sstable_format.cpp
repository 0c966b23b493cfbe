#include "lsm/sstable_format.h"

#include "core/codec.h"

namespace sentinel::lsm {

std::uint64_t end_of_stretch(BlockCursor index, std::uint64_t begin, std::size_t bytes_max) {
  std::uint64_t end = begin;
  for (; index.valid(); index.next()) {
    const auto block = core::decode_fields<TableHandle>(index.value());
    const bool adjoins = block && block->offset == end && block->length <= kTablePartBytesMax;
    if (!adjoins) break;
    const std::uint64_t block_end = end + block->length + kTableCrcBytes;
    if (end > begin && block_end - begin > bytes_max) break;
    end = block_end;
  }
  return end;
}

}  // namespace sentinel::lsm
