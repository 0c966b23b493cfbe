#include "lsm/level_cursor.h"

#include <algorithm>

namespace sentinel::lsm {

void LevelCursor::enter(std::size_t run) {
  if (cursor_.has_value() && at_ == run) return;
  if (cursor_.has_value()) options_.wanted_bytes = cursor_->still_wanted();
  at_ = run;
  cursor_.emplace(*runs_[run], options_);
}

core::Task<core::Status> LevelCursor::seek(const SeekTarget& target) {
  const auto first = std::ranges::partition_point(runs_, [&](const Run* run) {
    return target.is_before(core::as_bytes(run->info->largest_key));
  });
  if (first == runs_.end()) {
    cursor_.reset();
    co_return core::Status();
  }
  enter(static_cast<std::size_t>(first - runs_.begin()));
  co_return co_await cursor_->seek(target);
}

core::Task<core::Status> LevelCursor::seek_to_last_before(const SeekTarget& target) {
  const auto behind = std::ranges::partition_point(runs_, [&](const Run* run) {
    return target.is_before(core::as_bytes(run->info->smallest_key));
  });
  if (behind == runs_.begin()) {
    cursor_.reset();
    co_return core::Status();
  }
  enter(static_cast<std::size_t>(behind - runs_.begin()) - 1);
  co_return co_await cursor_->seek_to_last_before(target);
}

core::Task<core::Status> LevelCursor::next_block() {
  SENTINEL_CO_CHECK(co_await cursor_->next_block());
  if (cursor_->valid() || at_ + 1 == runs_.size()) co_return core::Status();
  enter(at_ + 1);
  co_return co_await cursor_->seek(KeyTarget(core::as_bytes(runs_[at_]->info->smallest_key)));
}

}  // namespace sentinel::lsm
