#pragma once
/// One group's replicated log on this node: proposals in, committed entries out.
///
/// This is the interface that everything above appends through. Inside, Raft (consensus/raft.h)
/// decides, the store keeps what it wants kept, and the host carries messages to other nodes. A
/// single node is a cluster of one: it leads every group, and an entry is committed as soon as this
/// node's write-ahead log has it on disk.
///
/// What Raft gives out is written in order, each output as one batch of the store; what claims to
/// be durable leaves when its batch is on disk. Entries leave for followers before that.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "consensus/entry_key.h"
#include "consensus/log_cursor.h"
#include "consensus/raft.h"
#include "consensus/types.h"
#include "core/scope.h"
#include "core/sync.h"
#include "lsm/db.h"

namespace sentinel::consensus {

/// The term of a log before its first election; nobody can be elected in it.
inline constexpr Term kFirstTerm{1};

using CommittedEntry = LogEntry;

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

/// What a group's log drives, on the group's shard. Nothing here waits.
class StateMachine {
 public:
  /// Called once an entry is committed, in log order.
  virtual void apply(const CommittedEntry& entry) = 0;
  /// Whether this node leads the group and has applied all that was committed before: only then it
  /// answers clients and proposes. What it proposed before and was not applied may be gone.
  virtual void on_leading(bool leads) = 0;
  /// The log begins anew behind `start.before`, as another node has it, and so does the state.
  /// Errc::corruption for a snapshot that can't be read.
  virtual core::Status restore(const Snapshot& snapshot, const LogStart& start) = 0;

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
};

class Replica;

/// What all replicas of a shard share: who they are, other nodes, and time.
class RaftHost {
 public:
  /// Which member this node is of a group.
  [[nodiscard]] virtual MemberId self(GroupId group) const = 0;
  [[nodiscard]] virtual core::Random& random() = 0;
  /// What a group's Raft is to be told, but for `self`.
  [[nodiscard]] virtual RaftOptions options() const = 0;
  virtual void add(Replica& replica) = 0;
  virtual void remove(Replica& replica) = 0;
  virtual void send(Replica& from, std::vector<RaftMessage> messages) = 0;
  /// The replica has begun or ended to lead, or knows another leader or term.
  virtual void on_role(Replica& replica) = 0;
  /// Raft::has_lost_entries(), for the first time.
  virtual void on_lost_entries(Replica& replica) = 0;

 protected:
  ~RaftHost() = default;
};

class Replica {
 public:
  /// All references outlive the replica.
  Replica(core::Shard& shard, RaftHost& host, lsm::Db& db, GroupId group, StateMachine& machine);
  ~Replica();

  /// Reads what is stored. `base` is the configuration before the first entry; empty for a member
  /// that joins later and learns it from the others.
  core::Task<core::Status> open(Configuration base);
  /// Takes part from now on: the first entries may be applied before it returns.
  void begin();
  /// Ends what is under way; what was proposed and not applied ends with Errc::closed.
  core::Task<void> close();

  /// Whether this node leads and is ready; StateMachine::on_leading().
  [[nodiscard]] bool is_leader() const { return leads_; }
  [[nodiscard]] Term term() const { return raft_->term(); }
  /// Whether the log has entries of earlier terms: others may have led before.
  [[nodiscard]] bool has_earlier_terms() const;
  [[nodiscard]] GroupId group() const { return group_; }
  [[nodiscard]] const Raft& raft() const { return *raft_; }
  /// The last entry of the log, committed or not; index 0 when the log is empty.
  [[nodiscard]] const EntryKey& last() const { return raft_->log().last(); }
  /// The last entry that was applied.
  [[nodiscard]] LogIndex commit_index() const { return applied_; }

  /// Whether the store has room for more records.
  [[nodiscard]] bool has_space() const { return db_.has_space(); }

  /// Appends an entry and resolves when it is committed and applied. Its place in the log is taken
  /// when the task starts; proposals are applied in that order. not_leader, also when leadership is
  /// lost meanwhile: the entry may then still be committed; overloaded; closed.
  core::Task<Result<LogIndex>> propose(Proposal proposal);
  /// What propose() would say now.
  [[nodiscard]] Result<void> may_propose() const;
  /// Resolves once a majority has confirmed that this node leads: what it has applied by then is
  /// all that was committed when this was called. not_leader, timed_out, closed.
  core::Task<Result<void>> confirm_leadership(core::Deadline deadline);
  Result<LogPosition> propose(ConfigurationChange change);
  Result<void> transfer_to(MemberId member);
  /// Raft::campaign().
  void campaign();

  /// Ends what waits for other nodes, which may never answer: the end is near.
  void give_up_waiting();

  // For the host.
  void step(RaftMessage message);
  void tick();
  void note_leader_gone();

  /// The stored snapshot, or one with index 0 and no state.
  core::Task<core::Result<Snapshot>> snapshot() const;
  [[nodiscard]] const LogStart& start() const { return start_; }
  /// Payload bytes between the start and the end of the log.
  [[nodiscard]] std::uint64_t size_bytes() const {
    return last().end_bytes - start_.before.end_bytes;
  }
  /// Gives up the entries up to `start.before`, which is applied. Durable when it resolves; what is
  /// behind the present start already is left as it is. `snapshot` contains what the entries did;
  /// `with` is written together with it.
  core::Task<void> trim(LogStart start, Snapshot snapshot, lsm::WriteBatch with = {});
  /// Stores a snapshot without an entry. Durable when it resolves.
  core::Task<void> store_snapshot(Snapshot snapshot);
  /// Tells a store again what is given up; it forgets when it is closed.
  static void discard_before(lsm::Db& db, GroupId group, const LogStart& start);
  /// A cursor over the group's entries.
  [[nodiscard]] LogCursor entries(lsm::ReadOptions read = {}) const {
    return LogCursor(db_, ranges_, read);
  }
  /// The same for a group that is not open.
  static core::Task<core::Result<std::shared_ptr<const LogRanges>>> stored_ranges(const lsm::Db& db,
                                                                                  GroupId group);
  /// Erases what a group has here, but for what it has promised: in which term it voted for whom,
  /// where its log ended, and that it is no member, so that it does not take itself for a founder
  /// when the group comes back to it. Errc::cancelled when it was cut short; open() goes on with
  /// it.
  static core::Task<core::Status> erase(lsm::Db& db, GroupId group, core::CancelToken stop);
  /// Begins to read what entries() will come to behind the target; lsm::Db::look_ahead().
  core::Task<void> look_ahead(const EntryTarget& target, std::uint64_t bytes_max) const;
  /// lsm::Db::may_look_ahead().
  [[nodiscard]] bool may_look_ahead(std::size_t windows) const {
    return db_.may_look_ahead(windows);
  }

 private:
  /// An output on its way to the disk, or a part of one.
  struct Stage {
    std::optional<Raft::Durable> durable;  ///< Of the last part.
    std::vector<RaftMessage> messages;
    bool installs = false;
  };
  struct Pending;

  static core::Task<core::Result<lsm::WriteBatch>> let_go(const lsm::Db& db, GroupId group);
  static core::Task<core::Status> finish_erasing(lsm::Db& db, GroupId group,
                                                 core::CancelToken stop);
  core::Task<core::Result<Raft::Stored>> load(Configuration base);
  core::Task<core::Status> load_tail(Raft::Stored* stored);
  void take(RaftMessage message);
  void pump_soon();
  core::Task<void> pump_later();
  void pump();
  void handle(Raft::Output output);
  void begin_store(const Raft::Output& output, std::vector<RaftMessage> once_durable);
  void put_states(const Raft::Output& output, lsm::WriteBatch& batch);
  void install(const StateSnapshot& installed, lsm::WriteBatch& batch);
  void put_snapshot(const Snapshot& snapshot, lsm::WriteBatch& batch);
  void note_configurations(const std::vector<PlacedConfiguration>& changed);
  void note_ranges();
  core::Task<void> store(lsm::WriteBatch batch);
  void apply(const std::vector<LogEntry>& entries);
  void note_role();
  void fail_pending(Errc error);
  core::Task<void> load_for(Raft::Load load);
  core::Task<core::Status> read_entries(Raft::Load load, std::vector<LogEntry>* entries) const;
  core::Task<void> make_snapshot(MemberId follower);

  core::Shard& shard_;
  RaftHost& host_;
  lsm::Db& db_;
  const GroupId group_;
  StateMachine& machine_;
  std::unique_ptr<Raft> raft_;
  RaftProbe* probe_ = nullptr;
  LogStart start_;          // As of the last trim().
  LogStart durable_start_;  // As stored.
  std::shared_ptr<const LogRanges> ranges_;
  std::uint64_t terms_version_ = 0;           // Of the log, as of ranges_.
  std::vector<PlacedConfiguration> history_;  // The configuration in force at the log's start on.
  LogIndex applied_{0};
  bool leads_ = false;
  bool started_ = false;
  bool closed_ = false;
  bool gave_up_ = false;
  bool told_of_loss_ = false;
  bool pump_due_ = false;
  bool seen_leads_ = false;  // What the host was told last.
  Term seen_term_;
  std::optional<MemberId> seen_leader_;
  std::deque<Stage> stages_;
  std::deque<Pending*> pending_;
  std::uint64_t confirmed_round_ = 0;  // Of the present leadership.
  core::Signal confirmed_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
