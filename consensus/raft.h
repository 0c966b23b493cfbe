#pragma once
/// The Raft protocol of one group on one node, as a pure state machine: messages, ticks and
/// proposals in; messages, entries to store and committed entries out (Output). No clock, no I/O,
/// no threads; randomness is handed in.
///
/// After Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm" (2014), and
/// Ongaro's thesis (2014): elections with pre-vote (9.6) and check-quorum (6.2), replication with
/// batching and pipelining (10.2.1, writing while sending), conflict hints (5.3), single-server
/// membership changes with learners (4.1, 4.2), leadership transfer (3.10), snapshots (7).
///
/// What is stored is stored in order: of two outputs the first is durable before the second. A
/// message that claims something durable (a vote, an answer to entries) leaves only once it is; see
/// Output. A leader counts itself like any other, once its own log has the entry on disk.
///
/// Violations of the protocol by other replicas, which only damage or a bug can bring about, trip
/// asserts; messages that are merely old are ignored.

#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "consensus/progress.h"
#include "consensus/quorum.h"
#include "consensus/raft_log.h"
#include "consensus/raft_message.h"
#include "core/random.h"

namespace sentinel::consensus {

/// What must survive besides the log.
struct HardState {
  Term term;
  MemberId vote{0};  ///< Whom this node voted for in the term; 0 for nobody.
  LogIndex commit;   ///< A hint: entries up to here are committed.

  friend bool operator==(const HardState&, const HardState&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.term);
    visit(self.vote);
    visit(self.commit);
  }
};

class RaftProbe;

struct RaftOptions {
  MemberId self{0};
  int election_ticks = 10;  ///< Without a leader for so many, up to twice as many, a follower runs.
  int heartbeat_ticks = 2;
  std::size_t message_bytes_max = std::size_t{1} << 20;  ///< Of entries in a message; one at least.
  std::size_t messages_in_flight_max = 64;               ///< To one follower.
  std::size_t uncommitted_bytes_max = std::size_t{64} << 20;  ///< More is refused as overloaded.
  std::size_t tail_bytes_max = std::size_t{4} << 20;  ///< Kept in memory for followers that lag.
  /// Followers are told at once what is committed, not with the next message or heartbeat.
  bool tells_commit_at_once = false;
  /// How far the commit index is ahead of the stored one before it is stored again: so much is read
  /// into memory at a start at most, beyond what was not committed.
  std::uint64_t commit_step_entries = 64;
  std::uint64_t commit_step_bytes = std::uint64_t{256} << 10;
  RaftProbe* probe = nullptr;  ///< Watches the replicas of a test; outlives them.
};

/// A configuration and the entry that it came with.
struct PlacedConfiguration {
  LogIndex index;
  Configuration configuration;
};

class Raft {
 public:
  struct Stored {
    HardState hard;
    RaftLog::Stored log;
    /// The one in force at `hard.commit`, and those of later entries, ascending.
    std::vector<PlacedConfiguration> configurations;
    /// A sole member that leads in a term in which nobody else can have been elected.
    bool leads = false;
    /// Where the log ended that was erased here: the replica had been a member, and has become one
    /// again. What it has answered for is as if it still had it: until it has as much again it
    /// neither runs for leader nor votes for one that has less. Others that remember the old
    /// members may ask it.
    LogPosition had = {};
  };
  /// `random` outlives it.
  Raft(RaftOptions options, Stored stored, core::Random& random);

  /// Time passes. The unit is the caller's.
  void tick();
  void step(RaftMessage message);
  /// The node of the leader that this one follows is known to be gone: no use in waiting for long.
  void note_leader_gone();

  /// What the proposer says of an entry; place and term are given here.
  struct Draft {
    EntryType type = EntryType::command;
    core::Bytes payload;
    Offset end_offset{0};
    std::int64_t max_timestamp = -1;
  };
  /// Appends an entry to a leader's log. not_leader: also while leadership is being transferred;
  /// overloaded.
  Result<LogPosition> propose(Draft draft);
  /// What propose() would say now.
  [[nodiscard]] Result<void> may_propose() const;
  /// Changes who takes part. not_leader; overloaded while another change, or the first entry of the
  /// term, is not committed yet; invalid_members.
  Result<LogPosition> propose(ConfigurationChange change);
  /// Hands leadership to a voter, once it has all entries. Given up after an election timeout.
  /// not_leader; invalid_members for anyone else.
  Result<void> transfer_to(MemberId node);
  /// Begins an election at once, without asking first: for a group whose members agree on who
  /// leads.
  void campaign();

  /// Begins a round of heartbeats that proves, once a majority has answered it, that this node led
  /// when it was asked: what it knows to be committed then was all there was. Returns the round;
  /// see Output::confirmed_round. Not unless ready().
  std::uint64_t ask_quorum();

  struct Durable {
    HardState hard;
    LogPosition last;
  };
  /// An output has been stored; `durable` is its own.
  void persisted(const Durable& durable);
  /// The entries that Output::loads asked for, behind `behind`; empty when they could not be read.
  void loaded(MemberId follower, LogIndex behind, std::vector<LogEntry> entries);
  /// The snapshot that Output::snapshots asked for; its last entry is in the log or is where the
  /// log starts.
  void send_snapshot(MemberId follower, StateSnapshot snapshot);
  /// Entries up to `start`, which are committed and applied, have been given up.
  void trim(const EntryKey& start) { log_.trim(start); }

  struct Load {
    MemberId follower;
    LogIndex behind;
    std::size_t bytes_max = 0;
  };
  /// What there is to do. In this order: take over `installed` (all entries give way to it); store
  /// `entries` (what is stored from the first one's index on gives way), `configurations` and
  /// `hard`; all of it as a whole. Then persisted(), and then `messages_once_durable` may leave.
  /// `messages` may leave at once.
  struct Output {
    std::optional<HardState> hard;
    std::optional<StateSnapshot> installed;
    std::vector<LogEntry> entries;
    /// When they have changed: the one in force at some committed entry, and all later ones. They
    /// replace what was stored from the first one's index on.
    std::optional<std::vector<PlacedConfiguration>> configurations;
    Durable durable;
    std::vector<RaftMessage> messages;
    std::vector<RaftMessage> messages_once_durable;
    /// On disk here and on a majority, in order; to be applied.
    std::vector<LogEntry> committed;
    std::vector<Load> loads;
    std::vector<MemberId> snapshots;
    std::uint64_t confirmed_round = 0;

    [[nodiscard]] bool stores_something() const {
      return hard.has_value() || installed.has_value() || !entries.empty() ||
             configurations.has_value();
    }
  };
  [[nodiscard]] bool has_output() const;
  Output take_output();

  [[nodiscard]] MemberId self() const { return options_.self; }
  [[nodiscard]] Term term() const { return hard_.term; }
  [[nodiscard]] bool is_leader() const { return std::holds_alternative<Leader>(role_); }
  /// Whether this node leads and has applied an entry of its term, so that it knows all that was
  /// committed before: only then may it answer clients.
  [[nodiscard]] bool ready() const;
  [[nodiscard]] std::optional<MemberId> leader() const;
  [[nodiscard]] LogIndex commit_index() const { return hard_.commit; }
  [[nodiscard]] const RaftLog& log() const { return log_; }
  /// The last one that is committed, and those behind it in the log.
  [[nodiscard]] const std::vector<PlacedConfiguration>& configurations() const {
    return configurations_;
  }
  [[nodiscard]] const Configuration& configuration() const {
    return configurations_.back().configuration;
  }
  [[nodiscard]] bool is_configuration_committed() const {
    return configurations_.back().index <= hard_.commit;
  }
  /// Whether nobody else takes part.
  [[nodiscard]] bool is_alone() const { return is_sole_member(log_.last().index); }
  [[nodiscard]] bool is_transferring() const {
    const auto* leader = std::get_if<Leader>(&role_);
    return leader != nullptr && leader->transfer.has_value();
  }
  /// Whether a leader has heard of entries here that are not here any more: the drive has lost what
  /// it said it had. Nobody is voted for then.
  [[nodiscard]] bool has_lost_entries() const { return has_lost_entries_; }
  /// Of a leader's follower; null for others.
  [[nodiscard]] const Progress* progress_of(MemberId node) const;
  /// Of a leader: up to where all members have the log on disk; nothing while one still learns.
  [[nodiscard]] std::optional<LogIndex> all_have() const;
  /// "leader", "follower", "asking" (before a vote), "candidate".
  [[nodiscard]] std::string_view role_name() const;
  void check_invariants() const;

 private:
  struct Follower {
    std::optional<MemberId> leader;
  };
  struct Candidate {
    bool pre = false;
    bool transfer = false;
    std::map<MemberId, bool> answers;
  };
  struct Transfer {
    MemberId to;
    int ticks = 0;
    bool asked = false;
  };
  struct Leader {
    std::map<MemberId, Progress> followers;
    LogIndex first;  // Of its own entries.
    std::optional<Transfer> transfer;
    std::uint64_t round = 0;
    std::uint64_t confirmed = 0;
    int ticks_since_heartbeat = 0;
    int ticks_since_check = 0;
  };

  void send(MemberId to, decltype(RaftMessage::body) body);
  void send_in_term(MemberId to, Term term, decltype(RaftMessage::body) body);
  void send_once_durable(MemberId to, decltype(RaftMessage::body) body);

  void begin_term(Term term, MemberId vote);
  void become_follower(Term term, std::optional<MemberId> leader);
  void become_leader();
  void run_for_leader(bool pre, bool transfer);
  void ask_for_votes(const Candidate& candidate);
  void count_answers();
  void start_timer();
  [[nodiscard]] bool has_what_it_had() const;
  [[nodiscard]] bool may_run() const;
  [[nodiscard]] bool hears_leader() const;

  void step_of_older_term(const RaftMessage& message);
  bool step_of_newer_term(const RaftMessage& message);
  void take(const RaftMessage& message, const VoteRequest& request);
  void take(const RaftMessage& message, const VoteAnswer& answer);
  void take(const RaftMessage& message, const AppendRequest& request);
  void take(const RaftMessage& message, const AppendAnswer& answer);
  void take(const RaftMessage& message, const Heartbeat& heartbeat);
  void take(const RaftMessage& message, const HeartbeatAnswer& answer);
  void take(const RaftMessage& message, const SnapshotRequest& request);
  void take(const RaftMessage& message, const CampaignRequest& request);
  void follow(MemberId leader);
  void accept(const AppendRequest& request);
  void accept_entry(const LogEntry& entry);

  void tick_leader(Leader& leader);
  void send_heartbeats(Leader& leader);
  void check_quorum(Leader& leader);
  void confirm_rounds(Leader& leader);
  void replicate(MemberId to, bool even_if_empty);
  void replicate_to_all();
  void send_entries(MemberId to, Progress& progress, std::vector<LogEntry> entries);
  void advance_transfer(MemberId heard);
  void advance_commit();
  void commit_to(LogIndex index);
  void forget_applied();
  [[nodiscard]] bool is_worth_storing(LogIndex commit) const;
  LogPosition append(Draft draft);
  void add_configuration(LogIndex index, Configuration configuration);
  void sync_followers(Leader& leader);
  void truncate_from(LogIndex index);
  [[nodiscard]] bool is_sole_member(LogIndex at) const;

  const RaftOptions options_;
  core::Random& random_;
  HardState hard_;
  HardState stored_hard_;  // As of the last output.
  RaftLog log_;
  const LogPosition had_;
  LogIndex to_store_;      // Entries behind this one have not been in an output.
  bool appended_ = false;  // A leader's own entries since the last output.
  bool configurations_changed_ = false;
  bool has_lost_entries_ = false;
  std::uint64_t stored_commit_bytes_ = 0;  // Where the log is committed as of stored_hard_.
  std::optional<StateSnapshot> installed_;
  LogIndex applied_;  // Given out as committed.
  std::vector<PlacedConfiguration> configurations_;
  std::variant<Follower, Candidate, Leader> role_;
  int ticks_ = 0;  // Since something kept this node from running.
  int ticks_to_run_ = 0;
  std::vector<RaftMessage> messages_;
  std::vector<RaftMessage> messages_once_durable_;
  std::vector<Load> loads_;
  std::vector<MemberId> snapshots_;
  std::uint64_t reported_round_ = 0;
};

/// Sees what replicas do, as they do it: the simulator holds it against what Raft promises.
class RaftProbe {
 public:
  /// A replica has read what it has stored.
  virtual void on_open(GroupId group, const Raft& raft) = 0;
  /// It is about to do what `output` says.
  virtual void on_output(GroupId group, const Raft& raft, const Raft::Output& output) = 0;
  /// A message has come. Returns what the replica is to be given in its place: a test may lose it,
  /// or have others come again.
  virtual std::vector<RaftMessage> on_message(GroupId, RaftMessage message) {
    std::vector<RaftMessage> given;
    given.push_back(std::move(message));
    return given;
  }
  /// So much is on its disk.
  virtual void on_durable(GroupId group, const Raft& raft, const Raft::Durable& durable) = 0;
  /// It stores `state`, which is to be that of all entries up to `index`.
  virtual void on_snapshot(GroupId group, const Raft& raft, LogIndex index, core::ByteSpan state) {
    std::ignore = std::tie(group, raft, index, state);
  }

 protected:
  ~RaftProbe() = default;
};

}  // namespace sentinel::consensus
