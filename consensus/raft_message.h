#pragma once
/// What the replicas of a group say to each other. Names of the Raft paper's RPCs in brackets.

#include <variant>
#include <vector>

#include "consensus/quorum.h"
#include "consensus/raft_log.h"

namespace sentinel::consensus {

/// (RequestVote.) With `pre` a question only: whether the sender would be elected in the message's
/// term, which nobody has begun yet (thesis, section 9.6).
struct VoteRequest {
  bool pre = false;
  bool transfer = false;  ///< The leader has asked for it: its followers need not protect it.
  LogPosition last;
};

/// In the term that was asked for when granted, else in the sender's own.
struct VoteAnswer {
  bool pre = false;
  bool granted = false;
};

/// (AppendEntries.) The entries follow each other behind `previous`.
struct AppendRequest {
  LogPosition previous;
  std::vector<LogEntry> entries;
  LogIndex commit;
};

/// Accepted: the log agrees with the leader's up to `last`, and has it on disk. Refused: it lacks
/// the entry at `refused`, and may agree with the leader's up to `last` at the most.
struct AppendAnswer {
  bool accepted = false;
  LogPosition last;
  LogIndex refused;
};

/// (An empty AppendEntries.) Keeps followers from electing another leader, and tells what is
/// committed, as far as the follower is known to have it.
struct Heartbeat {
  LogIndex commit;
  std::uint64_t round = 0;  ///< See Raft::ask_quorum().
};
struct HeartbeatAnswer {
  std::uint64_t round = 0;
};

/// What stands for the entries up to `last`.
struct StateSnapshot {
  EntryKey last;
  Configuration configuration;  ///< As of `last`.
  core::Bytes state;            ///< Of the group's state machine, and what belongs to it.
};
/// (InstallSnapshot.) Answered by an AppendAnswer.
struct SnapshotRequest {
  StateSnapshot snapshot;
};

/// (TimeoutNow, thesis, section 3.10.) The leader asks the receiver to be elected at once.
struct CampaignRequest {};

struct RaftMessage {
  MemberId from;
  MemberId to;
  Term term;
  std::variant<VoteRequest, VoteAnswer, AppendRequest, AppendAnswer, Heartbeat, HeartbeatAnswer,
               SnapshotRequest, CampaignRequest>
      body;
};

/// Whether a message makes sense by itself, whoever it comes from: entries follow each other in
/// terms up to the message's own, and configurations can be read. Others are to be ignored.
[[nodiscard]] bool is_well_formed(const RaftMessage& message);

/// The payload of an entry that changes the configuration; that of one that begins a term is empty.
core::Bytes encode_configuration(const Configuration& configuration);
/// Errc::corruption unless it is one: voters and learners ascending, none in both, one voter at
/// least.
core::Result<Configuration> decode_configuration(core::ByteSpan payload);
/// Whether the entry brings a configuration.
[[nodiscard]] bool changes_configuration(const LogEntry& entry);

}  // namespace sentinel::consensus
