#pragma once
/// One ordered walk over memtables and runs: of each key the newest version that is visible,
/// without deleted ones.

#include <memory>
#include <optional>
#include <vector>

#include "core/task.h"
#include "lsm/entry_merger.h"
#include "lsm/version.h"

namespace sentinel::lsm {

class MergingCursor {
 public:
  struct Sources {
    std::vector<std::shared_ptr<const Memtable>> memtables;
    std::shared_ptr<const Version> version;
  };
  /// What a walk shows.
  struct Scope {
    SequenceNumber snapshot;  ///< Entries up to here.
    core::Bytes begin;        ///< Keys from here on; empty: no bound.
    core::Bytes end;          ///< Keys below this; empty: no bound.
    ReadOptions read = {};
  };

  /// Keeps its sources alive.
  MergingCursor(core::Shard& shard, Sources sources, Scope scope);

  /// The first visible entry in scope whose key is not before the target.
  core::Task<core::Status> seek(const SeekTarget& target);
  /// The last visible entry in scope whose key is before the target.
  core::Task<core::Status> seek_to_last_before(const SeekTarget& target);
  core::Task<core::Status> next();
  /// Steps on without waiting; false when it has to, and then load_next() completes the step.
  bool try_next();
  core::Task<core::Status> load_next();

  [[nodiscard]] bool valid() const { return valid_; }
  /// Valid until the cursor moves.
  [[nodiscard]] core::ByteSpan key() const { return merger_.key(); }
  [[nodiscard]] core::ByteSpan value() const { return merger_.value(); }
  /// Valid as long as it is held.
  [[nodiscard]] core::Bytes value_bytes() const { return merger_.value_bytes(); }

 private:
  /// What the walk over hidden entries stands before.
  enum class Step : std::uint8_t { done, load, yield };

  core::Task<core::Status> position(const SeekTarget& target);
  Step settle();
  Step skip();
  void pass();
  core::Task<core::Status> settle_waiting();
  void add_runs();
  [[nodiscard]] bool at_end() const;

  core::Shard& shard_;
  const Sources sources_;
  const Scope scope_;
  EntryMerger merger_;
  bool valid_ = false;
  Step pending_ = Step::done;
  std::optional<core::Bytes> only_key_;  // The walk ends where this key does.
  bool passed_any_ = false;  // Whether passed_ is set: versions of that key are skipped.
  core::ByteWriter passed_;
  std::size_t skipped_ = 0;  // Since others could run.
};

}  // namespace sentinel::lsm
