#pragma once
/// One group's replicated log on this node: proposals in, committed entries out.
///
/// This is the interface that everything above appends through. A single node is a cluster of one:
/// it leads every group, and an entry is committed as soon as this node's write-ahead log has it on
/// disk. Consensus among several nodes changes what happens between propose() and apply(), not who
/// calls them.

#include <cstdint>
#include <deque>
#include <optional>

#include "consensus/entry_key.h"
#include "consensus/types.h"
#include "core/sync.h"
#include "lsm/db.h"

namespace sentinel::consensus {

/// The term of a log's first entries.
inline constexpr Term kFirstTerm{1};

/// A committed entry as a state machine sees it.
struct CommittedEntry {
  EntryKey key;
  core::Bytes payload;
};

/// What a group's log drives. apply() is called once an entry is committed, in log order, on the
/// group's shard; it does not wait.
class StateMachine {
 public:
  virtual void apply(const CommittedEntry& entry) = 0;

 protected:
  ~StateMachine() = default;
};

struct Proposal {
  EntryType type = EntryType::command;
  core::Bytes payload;
  /// Kafka offset behind the entry's last record, and the largest timestamp of the log up to it;
  /// see EntryKey. For commands the values of the entry before.
  Offset end_offset{0};
  std::int64_t max_timestamp = -1;
  /// State of the state machine just before this entry, to be stored together with it.
  std::optional<core::Bytes> snapshot;
};

/// Where a group's log begins. What is before has been given up for good.
struct LogStart {
  /// The first offset that may be read; it may lie inside the first batch that is left.
  Offset offset{0};
  /// The last entry that was given up; index 0 when none was. A log may be empty behind it.
  EntryKey before{};

  [[nodiscard]] core::Bytes encode() const;
  static core::Result<LogStart> decode(core::ByteSpan bytes);
};

/// A state machine's state with the last index it contains.
struct Snapshot {
  LogIndex index;
  core::Bytes state;
};

class Replica {
 public:
  /// All references outlive the replica.
  Replica(lsm::Db& db, GroupId group, StateMachine& machine);

  /// Finds the end of the stored log. Everything in it is committed: this node is the only voter.
  core::Task<core::Status> open();
  [[nodiscard]] bool is_leader() const { return true; }
  [[nodiscard]] Term term() const { return last_.term; }
  [[nodiscard]] GroupId group() const { return group_; }
  /// The last entry of the log, committed or not; index 0 when the log is empty.
  [[nodiscard]] const EntryKey& last() const { return last_; }
  [[nodiscard]] LogIndex commit_index() const { return commit_index_; }

  /// Whether the store has room for more records.
  [[nodiscard]] bool has_space() const { return db_.has_space(); }

  /// Appends an entry and resolves when it is committed and applied. Its place in the log is taken
  /// when the task starts; proposals are applied in that order.
  core::Task<LogIndex> propose(Proposal proposal);

  /// The stored snapshot, or one with index 0 and no state.
  core::Task<core::Result<Snapshot>> snapshot() const;
  [[nodiscard]] const LogStart& start() const { return start_; }
  /// Payload bytes between the start and the end of the log.
  [[nodiscard]] std::uint64_t size_bytes() const {
    return last_.end_bytes - start_.before.end_bytes;
  }
  /// Gives up the entries up to `start.before`, which is committed. Durable when it resolves; what
  /// is behind the present start already is left as it is. `snapshot` contains what the entries
  /// did; `with` is written together with it.
  core::Task<void> trim(LogStart start, Snapshot snapshot, lsm::WriteBatch with = {});
  /// Stores a snapshot without an entry. Durable when it resolves.
  core::Task<void> store_snapshot(Snapshot snapshot);
  /// Tells a store again what is given up; it forgets when it is closed.
  static void discard_before(lsm::Db& db, GroupId group, const LogStart& start);
  /// A cursor over the group's entries; position it with EntryTarget.
  [[nodiscard]] lsm::Cursor entries(lsm::ReadOptions read = {}) const;
  /// Begins to read what entries() will come to behind the target; lsm::Db::look_ahead().
  core::Task<void> look_ahead(const EntryTarget& target, std::uint64_t bytes_max) const;
  /// lsm::Db::may_look_ahead().
  [[nodiscard]] bool may_look_ahead(std::size_t windows) const {
    return db_.may_look_ahead(windows);
  }

 private:
  lsm::Db& db_;
  const GroupId group_;
  StateMachine& machine_;
  LogStart start_;
  EntryKey last_;
  LogIndex commit_index_{0};
};

}  // namespace sentinel::consensus
