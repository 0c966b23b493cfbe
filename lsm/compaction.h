#pragma once
/// Merges the runs of a plan into new ones on the output level.

#include <vector>

#include "lsm/compaction_picker.h"
#include "lsm/entry_merger.h"
#include "lsm/key_ranges.h"
#include "lsm/sstable_writer.h"

namespace sentinel::lsm {

/// A table file is ended behind the entry that reaches this size.
inline constexpr std::uint64_t kCompactedTableBytes = std::uint64_t{64} << 20;

class Compaction {
 public:
  /// References outlive the compaction. `discarded` are keys that nobody will read any more.
  Compaction(core::Shard& shard, SSTableWriter::Options options, Manifest& manifest,
             const CompactionPlan& plan, const KeyRanges& discarded);

  /// Writes what is left of the inputs: of each key the newest entry, and no tombstone that hides
  /// nothing. Gives the edit that puts it in their place. Once `stop` is set it ends early, with
  /// Errc::cancelled. After an error no file is left, or one that the next start removes.
  core::Task<core::Result<VersionEdit>> run(const bool& stop);

 private:
  core::Task<void> remove_output();
  EntryMerger open_inputs() const;
  core::Task<core::Status> merge(EntryMerger& inputs, const bool& stop);
  [[nodiscard]] bool keeps(const EntryMerger& inputs);
  core::Task<core::Status> write(const EntryMerger& inputs);
  core::Task<core::Status> finish_table();
  void describe(NewTable table);

  core::Shard& shard_;
  const SSTableWriter::Options options_;
  Manifest& manifest_;
  const CompactionPlan& plan_;
  const KeyRanges& discarded_;
  std::unique_ptr<SSTableWriter> writer_;
  VersionEdit edit_;
  bool any_key_ = false;
  core::ByteWriter last_key_;
};

}  // namespace sentinel::lsm
