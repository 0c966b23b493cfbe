#pragma once
/// Reads what the write-ahead log holds beyond the tables: the segments that a manifest names, in
/// order, up to where the last one ends. Changes nothing.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/io.h"
#include "lsm/manifest.h"
#include "lsm/wal.h"
#include "lsm/write_batch.h"

namespace sentinel::lsm {

class LogReplay {
 public:
  /// `files` outlives the replay.
  LogReplay(core::Shard& shard, std::string directory, std::uint64_t store_id,
            const FileSet& files);

  /// Hands each batch that no table holds to `apply`, in order. Each used segment's header says
  /// which sequence it starts with, so a missing tail of the one before, or a missing segment,
  /// can't pass for a tear; and what a recovery once cut never comes back. Errc::corruption names
  /// file and offset.
  core::Task<core::Status> run(std::function<void(WriteBatch)> apply);

  /// What run() has found. The segments are in the order of their numbers.
  [[nodiscard]] const std::vector<Wal::Segment>& segments() const { return segments_; }
  [[nodiscard]] SequenceNumber next_sequence() const { return next_sequence_; }
  [[nodiscard]] std::uint64_t batches() const { return batches_; }
  /// Of a last, unacknowledged write.
  [[nodiscard]] std::uint64_t torn_bytes() const { return torn_bytes_; }

 private:
  struct Used {
    WalInfo info;
    SequenceNumber first;
  };

  core::Task<core::Result<std::optional<SequenceNumber>>> first_sequence_of(const WalInfo& wal);
  core::Task<core::Status> replay_segment(const Used& used,
                                          std::optional<SequenceNumber> next_first);
  core::Task<core::Status> replay_records(const core::File& file, Wal::Segment& segment,
                                          std::optional<SequenceNumber> next_first);
  [[nodiscard]] std::string path(FileNumber number) const {
    return directory_ + "/" + wal_file_name(number);
  }

  core::Shard& shard_;
  const std::string directory_;
  const std::uint64_t store_id_;
  const FileSet& files_;
  std::function<void(WriteBatch)> apply_;
  std::vector<Wal::Segment> segments_;
  SequenceNumber next_sequence_;
  std::uint64_t batches_ = 0;
  std::uint64_t torn_bytes_ = 0;
};

}  // namespace sentinel::lsm
