#pragma once
/// A replica on a store of its own, and a script that is the rest of its group: it hands in what
/// other members send, and sees what leaves. Also what becomes of such a replica after a crash.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/scope.h"
#include "lsm/db.h"
#include "test/support/replica_witness.h"
#include "test/support/sim_world.h"

namespace sentinel::test {

/// The member that the replica is, and its group.
inline constexpr consensus::MemberId kReplicaSelf{1};
inline constexpr consensus::GroupId kReplicaGroup{7};

/// The store that holds it. `large`: with room for entries of which a few are more than the replica
/// writes at once.
lsm::DbOptions replica_store(bool large);

/// Applies an entry by adding it to a checksum.
class ChecksumMachine final : public consensus::StateMachine {
 public:
  /// `witness` is told; may be null.
  explicit ChecksumMachine(ReplicaWitness* witness) : witness_(witness) {}

  static std::string after(const std::string& state, const consensus::LogEntry& entry);

  /// Takes over the stored snapshot and what is committed behind it. The replica outlives the task.
  core::Task<core::Status> recover(const consensus::Replica* replica);
  void apply(const consensus::CommittedEntry& entry) override;
  void on_leading(bool /*leads*/) override {}
  core::Status restore(const consensus::Snapshot& snapshot,
                       const consensus::LogStart& start) override;

  /// The state, and the last entry that it contains.
  [[nodiscard]] const std::string& state() const { return state_; }
  [[nodiscard]] consensus::LogIndex index() const { return index_; }

 private:
  ReplicaWitness* const witness_;
  consensus::LogIndex index_{0};
  std::string state_;
};

/// Hands on what the replica sends. Time passes when the test says so.
class ReplicaHost final : public consensus::RaftHost {
 public:
  using OnSent = std::function<void(const consensus::RaftMessage&)>;
  /// `probe` may be null.
  ReplicaHost(std::uint64_t seed, consensus::RaftProbe* probe, OnSent on_sent)
      : random_(seed), probe_(probe), on_sent_(std::move(on_sent)) {}

  [[nodiscard]] consensus::MemberId self(consensus::GroupId /*group*/) const override {
    return kReplicaSelf;
  }
  [[nodiscard]] core::Random& random() override { return random_; }
  [[nodiscard]] consensus::RaftOptions options() const override;
  void add(consensus::Replica& /*replica*/) override {}
  void remove(consensus::Replica& /*replica*/) override {}
  void send(consensus::Replica& from, std::vector<consensus::RaftMessage> messages) override;
  void on_role(consensus::Replica& /*replica*/) override {}
  void on_lost_entries(consensus::Replica& /*replica*/) override {}

 private:
  core::Random random_;
  consensus::RaftProbe* const probe_;
  const OnSent on_sent_;
};

/// Another member as the leader of a term, with all of its log from index 1 on.
struct PlayedLeader {
  consensus::MemberId id;
  consensus::Term term;
  std::vector<consensus::LogEntry> log;

  [[nodiscard]] consensus::LogIndex last() const { return consensus::LogIndex(log.size()); }
  [[nodiscard]] consensus::LogPosition at(consensus::LogIndex index) const;
  /// Its log without what is behind `index`.
  [[nodiscard]] std::vector<consensus::LogEntry> up_to(consensus::LogIndex index) const;
};

/// The program of a node; what it lives through is live(), of a derived class.
class ReplicaLife : public NodeProgram {
 public:
  struct Plan {
    std::uint64_t variant = 0;  ///< Which sizes, and where the script waits for the disk.
    /// Of the group when it was founded, this member among them.
    consensus::Configuration base{};
    bool large = false;
  };
  /// `witness` outlives it.
  ReplicaLife(const NodeContext& context, Plan plan, ReplicaWitness& witness);

  core::Task<void> run(core::Shard& shard) final;
  void request_stop() final {}
  [[nodiscard]] bool done() const { return done_; }
  /// What the script found wrong; empty when nothing was.
  [[nodiscard]] const std::string& problem() const { return problem_; }

 protected:
  using Configuration = consensus::Configuration;
  using LogIndex = consensus::LogIndex;
  using MemberId = consensus::MemberId;
  using Term = consensus::Term;

  virtual core::Task<void> live() = 0;

  [[nodiscard]] std::uint64_t variant() const { return plan_.variant; }
  [[nodiscard]] consensus::Replica& replica() { return *replica_; }
  void expect(bool holds, const char* what);

  // The replica's store.

  core::Task<void> open_replica();
  core::Task<void> close_replica();
  /// Closes it and opens it again, now and then with the store.
  core::Task<void> restart();
  core::Task<void> let_it_begin();
  /// Waits until nothing that it has given out is under way.
  core::Task<void> settle();
  /// Waits for the disk or not, another way each time: what comes next may meet any write.
  core::Task<void> pause();
  /// Gives up the entries up to `index`, which is committed.
  core::Task<void> trim(LogIndex index);
  core::Task<void> save_snapshot();
  /// What becomes of the stored replica when the partition goes elsewhere; it is closed.
  core::Task<void> let_go();

  // What other members do.

  void deliver(MemberId from, Term term, decltype(consensus::RaftMessage::body) body);
  void ask_for_vote(MemberId from, Term term, const consensus::LogPosition& last, bool pre = false);
  void give_votes(const std::vector<MemberId>& voters, Term term, bool granted, bool pre = false);
  /// A leader that has just been elected: its first entry has no contents.
  PlayedLeader elect(MemberId id, Term term, std::vector<consensus::LogEntry> log);
  void extend(PlayedLeader& leader, int count);
  void extend_by(PlayedLeader& leader, std::size_t bytes);
  void extend(PlayedLeader& leader, const Configuration& members);
  /// Sends the entries behind `behind`, at most up to `until`.
  void append(const PlayedLeader& leader, LogIndex behind, LogIndex commit,
              LogIndex until = LogIndex(UINT64_MAX));
  void heartbeat(const PlayedLeader& leader, LogIndex commit);
  /// Sends a state with entries up to `state_index`, for a log that starts behind `start`.
  void install(const PlayedLeader& leader, LogIndex start, LogIndex state_index,
               const Configuration& members);

  // The replica as leader.

  void propose(int count);
  void change(consensus::ConfigurationChange::Kind kind, MemberId member);
  /// A follower has all that was sent to it.
  void answer(MemberId from);
  /// The second member's log: what the replica, as leader, has sent to it beyond `log`.
  void begin_copy(std::vector<consensus::LogEntry> log) { copy_ = std::move(log); }
  [[nodiscard]] const std::vector<consensus::LogEntry>& copy() const { return copy_; }
  /// Whether a state that it sends is the one that it has stored.
  void check_sent_state(const consensus::StateSnapshot& sent);

  // What it has sent.

  void forget_heard() { heard_.clear(); }
  /// The last message of a kind to a member; null when there was none.
  template <typename Body>
  [[nodiscard]] const Body* heard(MemberId by) const {
    const Body* found = nullptr;
    for (const consensus::RaftMessage& message : heard_) {
      const auto* body = std::get_if<Body>(&message.body);
      if (body != nullptr && message.to == by) found = body;
    }
    return found;
  }
  template <typename Body>
  core::Task<void> until_heard(MemberId by) {
    for (int i = 0; i < kWaitsMax && heard<Body>(by) == nullptr; ++i) co_await wait_a_little();
    expect(heard<Body>(by) != nullptr, "a message that was to come has not");
  }

 private:
  static constexpr int kWaitsMax = 10'000;

  core::Task<void> open_store();
  core::Task<void> close_store();
  core::Task<void> wait_a_little();
  void on_sent(const consensus::RaftMessage& message);
  void check_agreement(const consensus::LogPosition& last, Term term);
  core::Bytes payload_of(std::size_t bytes);
  void add_entry(PlayedLeader& leader, consensus::EntryType type, core::Bytes payload);

  core::Shard& shard_;
  const Plan plan_;
  ReplicaWitness& witness_;
  ReplicaHost host_;
  std::unique_ptr<lsm::Db> db_;
  std::unique_ptr<ChecksumMachine> machine_;
  std::unique_ptr<consensus::Replica> replica_;
  core::TaskScope scope_;  // Of proposals.

  std::vector<consensus::RaftMessage> heard_;
  std::map<Term, std::vector<consensus::LogEntry>> logs_;  // Of played leaders.
  std::map<MemberId, consensus::LogPosition> reached_;     // What was sent to followers.
  std::vector<consensus::LogEntry> copy_;
  consensus::Snapshot saved_{};  // The last one that was stored.
  std::uint64_t payloads_ = 0;
  std::uint64_t pauses_ = 0;
  std::uint64_t restarts_ = 0;
  std::string problem_;
  bool done_ = false;
};

// After a crash.

struct Reopening {
  bool create = false;  ///< There may be no store yet.
  bool large = false;
  consensus::Configuration base{};
  /// A candidate of the term that the replica finds itself in, with a longer log, which asks for
  /// its vote. 0: nobody does.
  consensus::MemberId asker{0};
  SimDisk::Observer observer{};
};
struct Reopened {
  std::optional<std::string> error{};  ///< Why the store or the replica could not be opened.
  FoundReplica found{};
  std::optional<bool> granted{};  ///< The vote; nothing when the replica is alone.
  DiskImage disk{};               ///< After everything was closed.
};
/// Opens the replica on a disk and closes it again.
Reopened reopen(const DiskImage& image, const Reopening& how);

}  // namespace sentinel::test
