#pragma once
/// Sees what one replica gives to its disk and what it tells others, and says of what is found on a
/// disk after a crash whether the replica has kept its word.
///
/// All that a replica writes goes through the log of its store, in the order in which it was given.
/// So a disk holds what the replica had as of one of its writes: the last one, or an earlier one,
/// but none before the one of which a message has told that has left.

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "consensus/replica.h"

namespace sentinel::test {

/// What a disk holds as of one write of the replica.
struct StoredReplica {
  consensus::HardState hard;  ///< But for the commit index, which is a hint.
  consensus::LogStart start;
  consensus::LogIndex snapshot;       ///< What the stored snapshot contains.
  consensus::Configuration at_start;  ///< In force where the log starts.
  std::vector<consensus::LogEntry> log{};
  /// Entries that once stood behind the last one, in its term. They gave way to others, which gave
  /// way in turn: whoever opens the log finds them, and they are as good as any.
  std::vector<consensus::LogEntry> revived{};
  std::string text{};  ///< All of it as it is found: describe().

  [[nodiscard]] consensus::LogPosition last() const;
  /// Whether the log has the entry, or had it before it was given up.
  [[nodiscard]] bool has(const consensus::LogPosition& position) const;
  [[nodiscard]] consensus::Configuration members_at(consensus::LogIndex index) const;
};

/// What a replica finds when it opens a disk.
struct FoundReplica {
  consensus::HardState hard;  ///< As stored.
  consensus::LogStart start;
  consensus::Snapshot snapshot;
  consensus::Configuration members;
  std::vector<consensus::LogEntry> log{};
  consensus::LogIndex commit;
  std::string state{};  ///< Of the state machine: the snapshot, and what is committed behind it.
  consensus::LogIndex state_index;
};
/// All of it, for people and to compare.
std::string describe(const FoundReplica& found);

class ReplicaWitness final : public consensus::RaftProbe {
 public:
  ReplicaWitness(consensus::MemberId self, consensus::Configuration base);

  // What the replica does.

  void on_open(consensus::GroupId group, const consensus::Raft& raft) override;
  void on_output(consensus::GroupId group, const consensus::Raft& raft,
                 const consensus::Raft::Output& output) override;
  void on_durable(consensus::GroupId group, const consensus::Raft& raft,
                  const consensus::Raft::Durable& durable) override;
  void note_sent(const consensus::RaftMessage& message);
  /// The state machine's state behind an entry that was given out as committed.
  void note_applied(const consensus::LogEntry& entry, const std::string& state);
  /// The state of another node, which was taken over.
  void note_restored(consensus::LogIndex index, const std::string& state);

  // What is done to it.

  void note_delivered(const consensus::RaftMessage& message);
  /// Right before the call of the same name. Returns what note_done() is told once it resolves.
  std::size_t note_trim(const consensus::LogStart& start, consensus::LogIndex snapshot);
  std::size_t note_store_snapshot(consensus::LogIndex snapshot);
  std::size_t note_let_go();
  void note_done(std::size_t write);
  /// No entry is left in the store.
  void note_erased();

  /// What a crash at some moment may leave, and what it must not.
  struct Mark {
    std::size_t given = 0;  ///< Writes that had been given to the disk,
    std::size_t told = 0;   ///< of which the last one was told.
    consensus::LogIndex committed;
    consensus::Term term;         ///< The highest that it had told of being durable,
    consensus::MemberId vote{0};  ///< and whom it had voted for in it, if that was told.
  };
  [[nodiscard]] Mark mark() const;
  /// What is wrong with a disk after a crash at `mark`; empty when nothing is. Once the whole
  /// script is over.
  [[nodiscard]] std::string find_wrong(const FoundReplica& found, const Mark& mark) const;

  /// The first thing that was wrong while the replica ran; empty when nothing was.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  [[nodiscard]] std::size_t outputs_under_way() const { return under_way_; }
  [[nodiscard]] const StoredReplica& last() const { return states_.back(); }
  [[nodiscard]] const StoredReplica& told() const { return states_[told_]; }

 private:
  using Place = std::pair<consensus::Term, consensus::LogIndex>;
  /// What a message says is on the sender's disk.
  struct Claim {
    consensus::Term term{0};
    consensus::MemberId vote{0};
    std::optional<consensus::LogPosition> has{};
    bool has_others = false;  ///< That it is not alone in the group.
  };
  static std::optional<Claim> claim_of(const consensus::RaftMessage& message);
  [[nodiscard]] bool is_alone(const StoredReplica& state) const;
  [[nodiscard]] bool satisfies(const StoredReplica& state, const Claim& claim) const;
  bool tell(const Claim& claim);
  void note_entries(const consensus::Raft& raft, const std::vector<consensus::LogEntry>& entries);
  void push(StoredReplica next);
  void fail(std::string what);

  const consensus::MemberId self_;
  std::vector<StoredReplica> states_;
  std::size_t told_ = 0;
  consensus::Term told_term_{0};
  consensus::MemberId told_vote_{0};
  consensus::LogIndex committed_{0};  // As far as the replica can know.
  std::size_t under_way_ = 0;
  std::map<Place, consensus::LogEntry> sent_;     // By leaders.
  std::map<Place, consensus::LogEntry> written_;  // By the replica, also what is dead.
  std::map<consensus::LogIndex, std::string> applied_;
  std::string violation_;
};

}  // namespace sentinel::test
