#pragma once
/// For fuzz targets: a damaged block log whose checksums hold, so that what lies behind them is
/// reached.

#include <span>
#include <vector>

#include "core/crc32c.h"
#include "lsm/block_log.h"

namespace sentinel::test {

inline void make_block_checksums_right(std::vector<std::byte>& file) {
  constexpr std::size_t kCrcAt = 8;
  for (std::size_t at = 0; at + lsm::kLogBlockBytes <= file.size(); at += lsm::kLogBlockBytes) {
    const core::ByteSpan block = std::span(file).subspan(at, lsm::kLogBlockBytes);
    const std::uint32_t crc =
        core::crc32c_extend(core::crc32c(block.first(kCrcAt)), block.subspan(kCrcAt + 4));
    core::store_be(file.data() + at + kCrcAt, crc);
  }
}

}  // namespace sentinel::test
