#pragma once
/// A walk over the runs of one level below level 0, which follow each other in the order of keys.

#include <optional>
#include <span>

#include "lsm/run_cursor.h"

namespace sentinel::lsm {

class LevelCursor {
 public:
  /// `runs` are in order; what they point to outlives the cursor.
  LevelCursor(std::span<const Run* const> runs, ReadOptions options)
      : runs_(runs), options_(options) {}

  core::Task<core::Status> seek(const SeekTarget& target);
  core::Task<core::Status> seek_to_last_before(const SeekTarget& target);
  bool try_next() { return cursor_->try_next(); }
  /// Into the next block, or the next run.
  core::Task<core::Status> next_block();

  [[nodiscard]] bool valid() const { return cursor_.has_value() && cursor_->valid(); }
  [[nodiscard]] core::ByteSpan key() const { return cursor_->key(); }
  [[nodiscard]] EntryTag tag() const { return cursor_->tag(); }
  [[nodiscard]] core::ByteSpan value() const { return cursor_->value(); }
  [[nodiscard]] core::Bytes value_bytes() const { return cursor_->value_bytes(); }

 private:
  void enter(std::size_t run);

  const std::span<const Run* const> runs_;
  ReadOptions options_;
  std::size_t at_ = 0;  // The run that cursor_ walks over.
  std::optional<RunCursor> cursor_;
};

}  // namespace sentinel::lsm
