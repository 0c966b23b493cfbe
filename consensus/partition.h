#pragma once
/// A partition: a group's log seen as Kafka sees it, offsets that count records.
///
/// Append and read run on the partition's home shard. Offsets are given when an append starts and
/// are never given twice; a reader sees only what lies below the high watermark, which moves when
/// entries are committed.

#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <vector>

#include "consensus/compacted_log.h"
#include "consensus/producer_state.h"
#include "consensus/record_batch.h"
#include "consensus/refused_batches.h"
#include "consensus/replica.h"
#include "consensus/types.h"
#include "core/intrusive_list.h"
#include "core/log.h"
#include "core/sync.h"

namespace sentinel::consensus {

struct WatchTag;

/// Wakes `signal` when a partition's readable end moves, or when the partition is deleted. Lives
/// with whoever waits.
struct PartitionWatch : core::ListHook<WatchTag> {
  explicit PartitionWatch(core::Signal& to_wake) : signal(to_wake) {}
  core::Signal& signal;
};

struct AppendOptions {
  std::int32_t batch_bytes_max = 0;  ///< max.message.bytes of the topic.
  std::int16_t produce_version = 0;  ///< Of the request: zstd needs 7.
  bool log_append_time = false;      ///< message.timestamp.type of the topic.
  bool keys_required = false;        ///< The topic is compacted.
  /// How far timestamps may lie before and behind the broker's clock.
  std::int64_t behind_ms_max = std::numeric_limits<std::int64_t>::max();
  std::int64_t ahead_ms_max = std::numeric_limits<std::int64_t>::max();
};

struct Appended {
  Offset base_offset;
  std::int64_t log_append_time_ms = -1;
  Offset log_start_offset;
};

struct ReadRequest {
  Offset offset;
  std::uint64_t bytes_max = 0;
  /// Returns the first batch whole even if it is larger than bytes_max, so that a consumer always
  /// progresses.
  bool first_batch_whole = false;
  std::size_t streams = 1;  ///< Partitions of this shard that the same reader reads in turn.
};

struct ReadResult {
  core::Chain records;  ///< Whole batches as they were received, the first one containing the
                        ///< offset asked for.
  std::uint64_t committed_bytes =
      0;                   ///< Partition::committed_bytes() of the moment that the read describes.
  bool cut_short = false;  ///< There is more, which bytes_max left out.
};

struct OffsetAndTimestamp {
  Offset offset;
  std::int64_t timestamp_ms = -1;
};

/// What may be given up of a partition; -1 for no limit.
struct RetentionLimits {
  std::int64_t ms = -1;     ///< Batches whose records are all older.
  std::int64_t bytes = -1;  ///< The oldest batches, as long as that many bytes remain without them.
  bool compact = false;     ///< The log is compacted by key, too.

  [[nodiscard]] bool any() const { return ms >= 0 || bytes >= 0; }
};

/// How long a batch whose predecessor is missing is told to come again: that may have been refused,
/// or sent to who led before, and is sent again within that time (Java's request.timeout.ms).
inline constexpr core::Duration kSequencePatience = std::chrono::seconds(30);

class Partition;
/// Told of what is committed; for whoever limits the size of partitions. Outlives them.
class CommitObserver {
 public:
  virtual void on_committed(const Partition& partition) = 0;

 protected:
  ~CommitObserver() = default;
};

struct EpochEnd {
  Term term;
  Offset end_offset;
};

class Partition final : public StateMachine {
 public:
  /// References outlive the partition. Errors as lsm::Db. Read errors are written to `log`, which
  /// may be null, with file and offset; the caller learns only that the data can't be read.
  /// `observer` may be null.
  /// `base`: Replica::open(). `patience`: kSequencePatience, but for tests.
  static core::Task<core::Result<std::unique_ptr<Partition>>> open(
      core::Shard& shard, RaftHost& host, lsm::Db& db, GroupId group, Configuration base,
      core::Log* log, CommitObserver* observer, core::Duration patience);
  ~Partition();
  /// Ends what is under way. Before it is destroyed.
  core::Task<void> close();

  /// Checks, stamps and appends one record batch; resolves when it is committed. The batch's bytes
  /// are stamped in place and kept. Its offset is taken when the task starts. Errors: those of
  /// validate_for_produce() and of ProducerState, invalid_timestamp, closed; not_leader, after
  /// which the batch may be in the log all the same; overloaded.
  core::Task<Result<Appended>> append(core::Bytes batch, AppendOptions options);

  /// Errc::offset_out_of_range outside [log start, log end]; empty between high watermark and log
  /// end.
  core::Task<Result<ReadResult>> read(ReadRequest request);
  /// Begins to bring in what a read will need, where that is cold and there is memory for it; for a
  /// reader that is likely to go on, more than that.
  core::Task<void> look_ahead(ReadRequest request);
  /// Bytes of all batches committed since the partition was opened. A long poll that found too
  /// little remembers the count and waits until it has grown by what is missing.
  [[nodiscard]] std::uint64_t committed_bytes() const { return committed_bytes_; }

  /// The first record at or after `timestamp_ms`, in offset order; nothing when all are older.
  core::Task<Result<std::optional<OffsetAndTimestamp>>> find_timestamp(std::int64_t timestamp_ms);
  /// The record with the largest timestamp.
  core::Task<Result<std::optional<OffsetAndTimestamp>>> max_timestamp();
  /// The largest epoch at or below `term` and where it ends; nothing when the log has none.
  core::Task<Result<std::optional<EpochEnd>>> end_of_epoch(Term term);

  /// Gives up what is below `before`, or all that is committed if that is -1; durable when it
  /// resolves. Returns where the log starts then. Errc::offset_out_of_range above the high
  /// watermark.
  core::Task<Result<Offset>> delete_records(Offset before);
  /// Gives up whole batches by the limits. `now_ms` is the time of the wall clock.
  core::Task<Result<void>> retain(RetentionLimits limits, std::int64_t now_ms);

  /// Lets the log of a compacted topic be cleaned, as far as that is due, and keeps the index of
  /// its keys up to date. Returns the wall time at which to call again, if any is known yet.
  core::Task<Result<std::optional<std::int64_t>>> clean(CleaningRules rules,
                                                        std::optional<std::int64_t> now_ms);
  /// The latest record with this key, of a compacted topic; see CompactedLog::find().
  core::Task<Result<std::optional<KeyedRecord>>> find_latest(core::Bytes key);

  [[nodiscard]] GroupId group() const { return replica_.group(); }
  /// Payload bytes in the log.
  [[nodiscard]] std::uint64_t size_bytes() const;
  [[nodiscard]] std::int64_t largest_timestamp() const { return max_timestamp_; }
  [[nodiscard]] Offset log_start() const { return replica_.start().offset; }
  [[nodiscard]] Offset high_watermark() const { return high_watermark_; }
  [[nodiscard]] Offset log_end() const { return log_end_; }
  [[nodiscard]] Term leader_epoch() const { return replica_.term(); }
  [[nodiscard]] bool is_leader() const { return replica_.is_leader(); }
  /// Replica::confirm_leadership(): what high_watermark() says behind it is not out of date.
  core::Task<Result<void>> confirm_leadership(core::Deadline deadline) {
    co_return co_await replica_.confirm_leadership(deadline);
  }
  [[nodiscard]] Replica& replica() { return replica_; }

  void watch(PartitionWatch& watch) { watches_.push_back(watch); }
  /// Refuses new appends and wakes all watchers: the topic is being deleted.
  void close_for_deletion();
  [[nodiscard]] bool closed() const { return closed_; }

 private:
  Partition(core::Shard& shard, RaftHost& host, lsm::Db& db, GroupId group, core::Log* log,
            CommitObserver* observer, core::Duration patience);
  std::unexpected<Errc> unreadable(const core::Error& error);
  std::unexpected<Errc> refuse(Errc error, core::ByteSpan batch);
  core::Task<std::unexpected<Errc>> refuse_sequence(core::Bytes batch,
                                                    ProducerCheck::Outcome outcome);
  void apply(const CommittedEntry& entry) override;
  void on_leading(bool leads) override;
  core::Status restore(const Snapshot& snapshot, const LogStart& start) override;
  [[nodiscard]] bool goes_on(const ReadRequest& request) const;
  [[nodiscard]] lsm::ReadOptions read_options(const ReadRequest& request) const;
  core::Task<core::Status> read_batches(ReadRequest request, Offset end, lsm::ReadOptions options,
                                        ReadResult* result);
  void note_read_end(Offset end);
  core::Task<core::Status> recover(Configuration base);
  core::Task<core::Status> replay_producers();
  void note_records(const EntryKey& key, core::ByteSpan batch);
  [[nodiscard]] bool in_doubt(const RecordBatchView& batch) const;
  void carry_out(core::ByteSpan command);
  void begin_trim(const LogStart& start);
  core::Task<void> trim_loop();
  core::Task<void> save_snapshot();
  core::Task<Result<std::optional<OffsetAndTimestamp>>> largest_left();
  core::Task<Result<std::optional<EntryKey>>> last_before(EntryTarget target);
  core::Task<Result<void>> give_up(const EntryKey& last, Offset start);
  core::Task<Result<std::optional<EntryKey>>> surplus(std::uint64_t bytes_kept, bool compact);
  CompactedLog& compacted();
  core::Task<bool> release_tombstones(CompactedLog::Expired expired);
  [[nodiscard]] Snapshot committed_snapshot() const;
  void note_for_snapshot(std::size_t batch_bytes);
  core::Task<Result<void>> until_committed(Offset end_offset);
  void wake_watchers();

  core::Shard& shard_;
  lsm::Db& db_;
  core::Log* const log_;
  CommitObserver* const observer_;
  const core::Duration patience_;
  core::RateLimit read_errors_;
  Replica replica_;
  std::unique_ptr<CompactedLog> compacted_;  // Null until it is needed.
  ProducerState producers_;
  LogIndex producers_index_{0};  // The last entry that producers_ knows of.
  RefusedBatches refused_;
  core::TimePoint leads_since_ = core::TimePoint::min();
  Offset log_end_{0};
  Offset high_watermark_{0};
  std::int64_t max_timestamp_ = -1;
  std::int64_t committed_timestamp_ = -1;  // max_timestamp_ at the high watermark.
  std::uint32_t entries_since_snapshot_ = 0;
  std::uint64_t bytes_since_snapshot_ = 0;
  std::uint64_t snapshot_bytes_ = 0;  // Of the last one.
  std::uint64_t committed_bytes_ = 0;
  std::vector<Offset> read_ends_;  // Where the last reads ended; the oldest is replaced.
  std::size_t reads_ = 0;
  bool closed_ = false;
  core::Signal committed_;      // Also when leadership changes.
  std::deque<LogStart> trims_;  // Committed, and not carried out.
  bool trimming_ = false;
  bool saving_ = false;
  bool opened_ = false;
  Offset trimmed_{0};  // Where the log starts for good.
  core::Signal trim_done_;
  core::IntrusiveList<PartitionWatch, WatchTag> watches_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
