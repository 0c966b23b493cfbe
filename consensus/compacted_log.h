#pragma once
/// What a log of a compacted topic has beside its entries: an index that tells the latest record of
/// each key, and passes that take out of the log the records which are no longer the latest.
///
///   index   follows the committed end of the log: record key -> offset of its latest record
///   pass    from the start of the log to a clean end: a batch is written again under its own entry
///           key without the records whose key has a later one; one with none left stays empty,
///           with its header while its producer might send it again
///
/// Offsets never change, gaps stay; the last batch of the log stays as it is. Everything is written
/// through the store a chunk at a time, each chunk together with how far it got, so a crash costs a
/// pass at most. Passes are local: every replica cleans for itself what is committed.
///
/// But for tombstones: a replica that lags has the record that one deletes, and would keep it for
/// good if it were sent a log without the tombstone. So the leader says when they may go, in a
/// command of the log: once they have been kept long enough, and all replicas have them.
///
/// The numbers in entry keys count what was appended. What is not there any more, taken by a pass
/// here or before it came here, the index counts as it goes.
///
/// Source: Kafka's log compaction; KIP-354 and KIP-534 for lags and tombstones.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "consensus/record_batch.h"
#include "consensus/replica.h"
#include "core/codec.h"
#include "core/sync.h"

namespace sentinel::consensus {

/// cleanup.policy and the settings that go with it.
struct CleaningRules {
  bool compact = false;
  double dirty_share_min = 0.5;  ///< min.cleanable.dirty.ratio: bytes behind the last pass, of all.
  std::int64_t lag_ms_min = 0;   ///< Younger batches are left alone.
  std::int64_t lag_ms_max = -1;  ///< Batches that old are a reason for a pass; -1: never.
  std::int64_t tombstone_ms = 86'400'000;  ///< delete.retention.ms, from a tombstone's first pass.
};

/// A record with storage of its own.
struct KeyedRecord {
  Offset offset;
  std::int64_t timestamp_ms = -1;
  std::optional<core::Bytes> value;  ///< Nothing in a tombstone.
  std::vector<std::pair<std::string, std::optional<core::Bytes>>> headers;
};

class CompactedLog {
 public:
  /// References outlive it. Once `stop` is true what can wait ends early, without an error.
  CompactedLog(core::Shard& shard, lsm::Db& db, Replica& replica, const bool& stop);
  /// The log was replaced by what another node has; what is under way ends.
  void begin_anew() {
    state_ = {};
    ++generation_;
  }
  /// Reads how far earlier lives got; false when there was none. Errors: those of the store.
  core::Task<core::Result<bool>> open();

  /// Payload bytes that passes, here or elsewhere, have taken out of what lies between the start of
  /// the log and the end of the index.
  [[nodiscard]] std::int64_t removed_bytes() const { return state_.removed_bytes; }

  /// A stretch of the log to be cleaned, from its start to a last entry.
  struct Pass {
    LogIndex last;
    Offset end_offset;
    std::uint64_t end_bytes = 0;
    Offset released;  ///< Tombstones below go.
    /// Base offsets of the batches that the producers' state remembers, ascending. Their headers
    /// stay: a replica that gets the log from here learns of its producers from nothing else, and
    /// would take a batch again that is sent again.
    std::vector<Offset> remembered;
  };
  /// Tombstones below `before`, which are in entries up to `last`, have been kept long enough.
  struct Expired {
    Offset before;
    LogIndex last;
  };
  struct Plan {
    std::optional<Pass> pass;              ///< Nothing: no pass is due.
    std::optional<Expired> expired;        ///< What the leader is to have released.
    std::optional<std::int64_t> again_ms;  ///< The wall time at which to ask again, if known.
  };
  /// Brings the index up to date and says whether a pass is due. `now_ms` is the wall clock,
  /// nothing while it can't be trusted: ages then count for nothing.
  core::Task<core::Result<Plan>> plan(CleaningRules rules, std::optional<std::int64_t> now_ms);
  /// Runs a pass. What the state machine needs from entries up to `pass.last` must be in a snapshot
  /// already, and `pass.remembered` be of that.
  core::Task<core::Status> clean(Pass pass);

  /// The latest committed record with this key; nothing when there is none, when it is a tombstone,
  /// or when it lies before the start of the log.
  core::Task<core::Result<std::optional<KeyedRecord>>> find(core::Bytes key);

  /// Gives up a prefix of the log through Replica::trim() and keeps the count of bytes right.
  core::Task<core::Status> trim(LogStart start, Snapshot snapshot);
  /// The last entry that may go so that at least `bytes_kept` bytes stay, if any may.
  core::Task<core::Result<std::optional<EntryKey>>> surplus(std::uint64_t bytes_kept);

 private:
  /// Tombstones below `end` have been through a pass since `since_ms`.
  struct Horizon {
    Offset end;
    std::int64_t since_ms = 0;
    static void fields(auto& self, auto& visit) {
      visit(self.end);
      visit(self.since_ms);
    }
  };
  struct State {
    LogIndex indexed;  // The last entry whose records are in the index,
    std::uint64_t indexed_bytes = 0;
    LogIndex cleaned;       // The last entry that a whole pass has seen,
    Offset cleaned_offset;  // and where it ends.
    std::uint64_t cleaned_bytes = 0;
    std::int64_t removed_bytes = 0;  // May be negative: some codecs make a batch larger again.
    std::uint64_t tombstones = 0;    // Left by the last pass.
    Offset index_start;              // The index has nothing older.
    std::vector<Horizon> horizons;   // Ascending; of those that have come of age the last.
    Offset released;                 // Tombstones below may go, as all replicas have them,
    Offset gone;                     // and those below have gone in the last pass.
    static void fields(auto& self, auto& visit) {
      visit(self.indexed);
      visit(self.indexed_bytes);
      visit(self.cleaned);
      visit(self.cleaned_offset);
      visit(self.cleaned_bytes);
      visit(self.removed_bytes);
      visit(self.tombstones);
      visit(self.index_start);
      visit(self.horizons);
      visit(self.released);
      visit(self.gone);
    }
  };
  struct Chunk;
  class Turn;

  core::Task<core::Status> index_all();
  core::Task<core::Result<bool>> index_chunk(LogIndex end);
  core::Task<core::Status> index_entry(const EntryKey& key, core::Bytes value, State& state,
                                       lsm::WriteBatch& changes);
  core::Task<core::Result<bool>> clean_chunk(const Pass& pass, Chunk& chunk);
  core::Task<core::Status> clean_entry(const Pass& pass, const EntryKey& key, core::Bytes batch,
                                       Chunk& chunk);
  core::Task<void> write(Chunk& chunk);
  core::Task<core::Result<bool>> is_kept(const Pass& pass, const Record& record, Chunk& chunk);
  core::Task<core::Status> forget_given_up();
  core::Task<core::Result<std::uint64_t>> stored_bytes(LogIndex begin, LogIndex last);
  core::Task<core::Result<std::optional<Offset>>> latest(core::Bytes index_key);
  core::Task<core::Result<std::optional<KeyedRecord>>> record_at(Offset offset);
  core::Task<core::Result<std::optional<EntryKey>>> last_before(EntryTarget target);
  core::Task<core::Result<std::optional<EntryKey>>> last_cleanable();
  core::Task<core::Result<std::optional<EntryKey>>> last_of_age(std::optional<EntryKey> last,
                                                                std::int64_t lag_ms,
                                                                std::optional<std::int64_t> now_ms);
  core::Task<core::Result<bool>> is_overdue(std::int64_t lag_ms, std::int64_t now_ms, Plan& plan);
  core::Task<void> note_horizon(std::int64_t tombstone_ms, std::int64_t now_ms, Plan& plan);
  Offset note_expired(std::int64_t tombstone_ms, std::int64_t now_ms, Plan& plan);
  [[nodiscard]] bool may_let_go() const;
  void put_state(lsm::WriteBatch& batch) const;

  core::Shard& shard_;
  lsm::Db& db_;
  Replica& replica_;
  const bool& stop_;
  State state_;
  std::uint64_t generation_ = 0;  // Of the log.
  core::Semaphore turn_;          // Whoever changes state_ or entries of the log.
};

}  // namespace sentinel::consensus
