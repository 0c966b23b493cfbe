#pragma once
/// One ordered walk over memtables and tables: of each key the newest version that is visible,
/// without deleted ones.

#include <memory>
#include <optional>
#include <variant>
#include <vector>

#include "core/task.h"
#include "lsm/memtable.h"
#include "lsm/sstable_reader.h"

namespace sentinel::lsm {

class MergingCursor {
 public:
  /// Shows entries up to `snapshot`, with keys below `end` (empty: no bound). Keeps its sources
  /// alive.
  MergingCursor(std::vector<std::shared_ptr<const Memtable>> memtables,
                const std::vector<std::shared_ptr<SSTableReader>>& tables, SequenceNumber snapshot,
                core::Bytes end);

  /// The first visible entry whose key is not before the target.
  core::Task<core::Status> seek(const SeekTarget& target);
  /// The last visible entry whose key is before the target.
  core::Task<core::Status> seek_to_last_before(const SeekTarget& target);
  core::Task<core::Status> next();

  [[nodiscard]] bool valid() const { return current_ != nullptr; }
  /// Valid until the cursor moves.
  [[nodiscard]] core::ByteSpan key() const;
  [[nodiscard]] core::ByteSpan value() const;
  /// Valid as long as it is held.
  [[nodiscard]] core::Bytes value_bytes() const;

 private:
  using Child = std::variant<Memtable::Cursor, SSTableCursor>;

  core::Task<core::Status> position(const SeekTarget& target);
  core::Task<core::Status> settle(const core::ByteSpan* only_key);
  core::Task<core::Result<std::optional<core::Bytes>>> last_key_before(const SeekTarget& target);
  core::Task<core::Status> advance(Child& child);
  [[nodiscard]] Child* smallest();
  [[nodiscard]] bool beyond_end(core::ByteSpan key) const {
    return !end_.empty() && compare_keys(key, end_) >= 0;
  }

  const std::vector<std::shared_ptr<const Memtable>> memtables_;
  const SequenceNumber snapshot_;
  const core::Bytes end_;
  std::vector<Child> children_;
  const Child* current_ = nullptr;
  bool passed_any_ = false;  // Whether passed_ is set: versions of that key are skipped.
  core::ByteWriter passed_;
};

}  // namespace sentinel::lsm
