#include "lsm/look_ahead.h"

#include <algorithm>

#include "core/codec.h"

namespace sentinel::lsm {

namespace {

/// What is left of `bytes_max` behind a run; 0 when there is no point in going on.
core::Task<std::uint64_t> look_into(const Run* run, const SeekTarget& target,
                                    std::uint64_t bytes_max) {
  const TableFile& file = *run->file;
  auto index = co_await file.read_block(run->info->index);
  if (!index) co_return 0;
  BlockCursor blocks(std::move(*index));
  blocks.seek(target);
  std::uint64_t covered = 0;  // The file, up to here.
  for (; blocks.valid() && bytes_max > 0; blocks.next()) {
    const auto block = core::decode_fields<TableHandle>(blocks.value());
    if (!block) co_return 0;
    if (block->offset < covered) continue;
    const std::uint64_t stretch_end =
        end_of_stretch(blocks, block->offset, file.read_ahead()->window_bytes());
    if (!file.read_ahead()->fits(block->offset, stretch_end)) co_return 0;
    const auto window_end =
        file.begin_window(block->offset, block->offset + block->length + kTableCrcBytes,
                          stretch_end, ReadAhead::Need::soon);
    if (!window_end) co_return 0;
    covered = *window_end;
    bytes_max -= std::min(bytes_max, covered - block->offset);
  }
  co_return bytes_max;
}

}  // namespace

core::Task<void> look_ahead(std::shared_ptr<const Version> version, const SeekTarget& target,
                            core::Bytes begin, core::Bytes end, std::uint64_t bytes_max) {
  for (const Run* run : version->level(0)) {
    const bool wanted = run->info->reaches_into(begin, end) &&
                        !target.is_before(core::as_bytes(run->info->largest_key));
    if (wanted) co_await look_into(run, target, bytes_max);
  }
  for (std::uint8_t level = 1; level < kLevels; ++level) {
    const auto runs = version->between(level, begin, end);
    auto run = std::ranges::partition_point(runs, [&](const Run* each) {
      return target.is_before(core::as_bytes(each->info->largest_key));
    });
    std::uint64_t left = bytes_max;
    for (; run != runs.end() && left > 0; ++run) left = co_await look_into(*run, target, left);
  }
}

}  // namespace sentinel::lsm
