#pragma once
/// The storage engine of one store: an ordered map from byte keys to byte values, durable before it
/// answers.
///
///   write   batch -> write-ahead log (group commit) -> memtable -> answered
///   flush   a full memtable becomes immutable and is written to an SSTable in the background; the
///   manifest edit that names the table
///           also releases the log segments it makes superfluous
///   compact runs of tables move down the levels, merged where they overlap
///   (lsm/compaction_picker.h) read    memtable, immutable memtables, levels; the newest entry for
///   a key wins
///
/// Lives on one shard. Everything is measured in bytes. Errors of reads are Errc::corruption or
/// io_error and name file and offset; a failure to write ends the process (core/shard.h, fail()),
/// so writing has no error to return.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/scope.h"
#include "core/sync.h"
#include "lsm/block_cache.h"
#include "lsm/compaction_picker.h"
#include "lsm/format.h"
#include "lsm/key_ranges.h"
#include "lsm/manifest.h"
#include "lsm/memtable.h"
#include "lsm/merging_cursor.h"
#include "lsm/sstable_writer.h"
#include "lsm/version.h"
#include "lsm/wal.h"
#include "lsm/write_batch.h"

namespace sentinel::lsm {

struct DbOptions {
  std::string directory;
  std::uint64_t store_id =
      0;  ///< Written into every file, so that a file of another store is recognised.
  std::size_t memtable_bytes = std::size_t{32} << 20;
  /// Space that is left alone on the disk, beyond what the memtables will need.
  std::uint64_t disk_reserve_bytes = std::uint64_t{16} << 20;
  /// Full memtables waiting for their flush; at this many, writes wait.
  std::size_t immutable_max = 2;
  /// Blocks of tables in memory, shared with other stores of the shard; outlives the store. Null:
  /// none.
  BlockCache* cache = nullptr;
  /// Memory for reading ahead, like the cache. Null: cursors read for themselves.
  ReadAhead* read_ahead = nullptr;
  RunRules runs;  ///< How tables are divided.
  /// A level between level 0 and the bottom exists only if it may be that large.
  std::uint64_t base_level_bytes = std::uint64_t{256} << 20;
  OnDamage on_damage = {};   ///< Of tables; may be empty.
  core::Log* log = nullptr;  ///< For what goes wrong in the background; may be null.
  WalOptions wal;            ///< directory and store_id are filled in by open().
};

/// What opening found.
struct RecoveryReport {
  std::uint64_t batches = 0;     ///< Replayed from the log.
  std::uint64_t torn_bytes = 0;  ///< Of a last, unacknowledged write, cut off.
  bool direct_io = true;         ///< False where the file system refuses O_DIRECT.
};

/// What a store has done since it was opened, in bytes.
struct DbCounters {
  std::uint64_t user_bytes = 0;  ///< Keys and values written by users.
  std::uint64_t wal_bytes = 0;
  std::uint64_t flushed_bytes = 0;
  std::uint64_t compacted_bytes = 0;
  std::uint64_t runs_moved = 0;    ///< To another level, without being written. A count.
  std::uint64_t runs_dropped = 0;  ///< Without being read. A count.
};

/// A walk over the visible entries of a store in key order, as they stood when it was made.
using Cursor = MergingCursor;

class Db {
 public:
  /// Opens the store in `options.directory`, which exists. With `create` an empty directory becomes
  /// an empty store; without it, missing files are Errc::corruption. Errors name the file and, for
  /// damage, the offset.
  static core::Task<core::Result<std::unique_ptr<Db>>> open(core::Shard& shard, DbOptions options,
                                                            bool create);
  ~Db();

  /// Makes the batch durable and visible, as a whole. Batches take effect in the order of the
  /// calls: the position is taken when the task starts. Never resolves after a write failure.
  ///
  /// With Durability::queued it is made visible, and durable later, after all batches before it: by
  /// itself soon, and certainly before a later durable write or a later sync() resolves. What waits
  /// for the disk is bounded by the log's buffers; when they are full, so does the write. The
  /// broker does not use it: what it acknowledges is on disk.
  core::Task<void> write(WriteBatch batch, Durability durability = Durability::on_disk);
  /// A write with Durability::queued that does not wait; false, with nothing done, when it would
  /// have to. The disk gets its turn only when the caller waits for something.
  bool try_write(WriteBatch& batch);
  /// Resolves when all that was written before is durable.
  core::Task<void> sync() { return wal_->sync(); }

  core::Task<core::Result<std::optional<core::Bytes>>> get(core::Bytes key) const;
  /// The answer of get() if it is in memory: a value, or that there is none. Nothing when a block
  /// has to be read, or is damaged.
  [[nodiscard]] std::optional<std::optional<core::Bytes>> try_get(core::ByteSpan key) const;
  /// A cursor over keys in [begin, end); an empty bound is none. It keeps what it reads alive, so
  /// it should not outlive a request.
  [[nodiscard]] Cursor cursor(core::Bytes begin = {}, core::Bytes end = {},
                              ReadOptions read = {}) const;
  /// Begins to read what a walk over [begin, end) from `target` on will come to, `bytes_max` or a
  /// little more; lsm/look_ahead.h.
  core::Task<void> look_ahead(const SeekTarget& target, core::Bytes begin, core::Bytes end,
                              std::uint64_t bytes_max) const;
  /// ReadAhead::has_room(); never without one.
  [[nodiscard]] bool may_look_ahead(std::size_t windows) const;
  /// Promises that keys in [begin, end) are never read or written again. Their space comes back bit
  /// by bit. Holds until the store is closed; whoever opens it next says it again.
  void discard(core::Bytes begin, core::Bytes end);

  /// Whether there is room on the disk for more. Without it writes that can wait should not be
  /// made; what frees space may be, and once enough is free the answer changes by itself.
  [[nodiscard]] bool has_space();

  /// Lets writes through although memtables are full, so that whoever waits for one can end. Before
  /// close(), which is said to be near.
  void prepare_close();
  /// Finishes what is queued and stops. Unflushed entries stay in the log and are replayed by the
  /// next open.
  core::Task<void> close();
  /// Writes all memtables to tables.
  core::Task<void> flush();
  /// Resolves when no compaction is due.
  core::Task<void> until_compacted();

  [[nodiscard]] const RecoveryReport& recovery() const { return recovery_; }
  [[nodiscard]] std::size_t table_count() const { return versions_->table_count(); }
  [[nodiscard]] std::shared_ptr<const Version> version() const { return versions_->current(); }
  [[nodiscard]] DbCounters counters() const;
  [[nodiscard]] std::size_t memory_bytes() const;
  [[nodiscard]] std::uint64_t wal_writes() const { return wal_->writes(); }

 private:
  Db(core::Shard& shard, DbOptions options);

  core::Task<core::Status> recover();
  core::Task<core::Result<bool>> may_have(const Run* run, std::uint64_t hash) const;
  [[nodiscard]] std::optional<std::optional<core::Bytes>> get_from_memory(core::ByteSpan key) const;
  void note_given(const WriteBatch& batch);
  void apply(const WriteBatch& batch);
  void rotate_if_full();
  void rotate();
  core::Task<void> flush_loop();
  core::Task<core::Status> flush_one();
  core::Task<core::Result<NewTable>> write_table(const Memtable& memtable, FileNumber number);
  [[nodiscard]] bool level0_is_full() const;
  core::Task<void> space_loop();
  [[nodiscard]] std::uint64_t space_needed() const;
  core::Task<void> compaction_loop();
  core::Task<core::Status> compact(const CompactionPlan& plan);
  core::Task<core::Status> check_room_for(const CompactionPlan& plan);
  core::Task<core::Status> drop_discarded();
  void note_discarded(const std::vector<RunInfo>& runs);
  [[nodiscard]] SSTableWriter::Options table_options() const;
  [[nodiscard]] std::shared_ptr<Memtable> new_memtable();

  core::Shard& shard_;
  const DbOptions options_;
  std::unique_ptr<Manifest> manifest_;
  std::unique_ptr<Wal> wal_;
  RecoveryReport recovery_;

  SequenceNumber next_sequence_ = kFirstSequence;  // For the next write.
  SequenceNumber visible_{0};                      // The last one applied.
  const std::shared_ptr<ArenaReserve> reserve_;    // Of memtables that are gone.
  std::shared_ptr<Memtable> memtable_;
  std::deque<std::shared_ptr<Memtable>> immutables_;  // Oldest first.
  std::unique_ptr<VersionSet> versions_;
  CompactionPicker picker_;
  KeyRanges discarded_;
  std::vector<std::pair<core::Bytes, core::Bytes>> discards_;  // Not looked at yet.
  DbCounters counters_;

  std::uint64_t free_bytes_ = 0;  // On the disk, when it was last looked at.
  bool space_is_low_ = false;
  bool flush_lacks_space_ = false;

  bool closing_ = false;
  bool compaction_fails_ = false;
  bool compacting_ = false;
  core::Signal flush_wanted_;
  core::Signal flushed_;
  core::Signal version_changed_;
  core::Signal compacted_;
  core::Signal space_check_wanted_;
  core::TaskScope scope_;
};

}  // namespace sentinel::lsm
