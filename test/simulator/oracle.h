#pragma once
/// Sees every step of every replica of the cluster, and knows what Raft promises of them.
///
/// The names R1 to R10 are those of the promises:
///   R1  one leader a term, and one vote of a member in a term, across its restarts;
///   R2  a member's term never goes back, nor what it has on disk; nor a replica's commit index;
///   R3  an entry of one index and term is the same everywhere, and so is the entry before it;
///   R4  a new leader has all that is committed;
///   R5  one entry an index is ever given out as committed;
///   R7  what is committed is on the disks of a majority;
///   R8  nothing that is committed gives way to another leader's;
///   R9  at most one change of members is not committed;
///   R10 a stored state knows what all entries up to its own did: the producers' last batches. Of a
///       compacted topic a replica may be sent what was cleaned, which tells of those that are
///       remembered further on: it is elected with no less.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/metadata.h"
#include "consensus/raft.h"
#include "test/simulator/postman.h"

namespace sentinel::simulator {

class Oracle {
 public:
  using MemberId = consensus::MemberId;

  /// `producers_expire`: clocks jump so far that nodes may forget producers.
  explicit Oracle(bool producers_expire);
  ~Oracle();
  /// The probe of one life of a node; lives as long as the oracle. Null for a life with a disk with
  /// which the node must not be let in: what it does is of no consequence.
  /// With a postman its messages come by way of that.
  consensus::RaftProbe* begin_life(bool with_own_disk, Postman* postman);

  /// The first promise that was broken; empty while none is.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  /// Whether every group has the members that it is to have, and all that it has committed is on
  /// the disks of all of them.
  [[nodiscard]] bool is_fully_replicated() const { return lack().empty(); }
  /// What is missing for that.
  [[nodiscard]] std::string lack() const;
  /// Where a partition is to be; empty for one that is not known.
  [[nodiscard]] std::vector<consensus::NodeId> nodes_of(std::string_view topic,
                                                        std::int32_t partition) const;
  /// Which members a node is, as the cluster knows.
  [[nodiscard]] consensus::StoreNumbers numbers_of(consensus::NodeId node) const;
  /// Who was elected last to control the cluster; 0 before anybody was.
  [[nodiscard]] consensus::NodeId controller() const;
  [[nodiscard]] std::uint64_t committed_entries() const { return committed_entries_; }
  [[nodiscard]] std::uint64_t elections() const { return elections_; }
  /// The disk is lost with what it has promised.
  void forget(consensus::NodeId node);

 private:
  class Life;
  struct Entry {
    consensus::Term term;
    std::uint64_t hash = 0;
    consensus::Term committed_in;  ///< The term of who gave it out first. Leaders of earlier terms,
                                   ///< also late ones, need not have it.
  };
  struct Stored {
    std::uint64_t hash = 0;
    consensus::Term term_before;
  };
  struct Member {
    consensus::HardState hard;
    /// How far its log was on disk when it ended with an entry of a term.
    std::map<consensus::Term, consensus::LogIndex> durable;
    consensus::LogPosition last;
    bool lost = false;  ///< With its disk. What it had answered before may still be on its way.
  };
  /// A batch of an idempotent producer.
  struct Batch {
    consensus::LogIndex index;
    consensus::Offset base_offset;
    core::Bytes bytes;
  };
  struct Group {
    std::map<consensus::Term, MemberId> leaders;
    std::map<std::int64_t, std::vector<Batch>> produced;  ///< Committed, by producer.
    consensus::LogIndex newest;  ///< The furthest that a stored state has reached,
    core::Bytes newest_state;    ///< and that state.
    std::map<consensus::LogIndex, Entry> committed;
    std::map<std::pair<consensus::LogIndex, consensus::Term>, Stored> entries;
    std::map<MemberId, Member> members;
    consensus::LogIndex commit;              ///< The highest that a leader has given out.
    consensus::Configuration configuration;  ///< Of the leader that did.
  };

  template <typename... Args>
  void fail(std::string_view promise, consensus::GroupId group, const consensus::Raft& raft,
            fmt::format_string<Args...> format, Args&&... args);
  void check_stored(consensus::GroupId id, Group& group, const consensus::Raft& raft,
                    const consensus::Raft::Output& output);
  void check_committed(consensus::GroupId id, Group& group, const consensus::Raft& raft,
                       const consensus::Raft::Output& output);
  void check_leader(consensus::GroupId id, Group& group, const consensus::Raft& raft);
  void check_majority(consensus::GroupId id, Group& group, const consensus::Raft& raft);
  void check_snapshot(consensus::GroupId id, Group& group, const consensus::Raft& raft,
                      consensus::LogIndex index, core::ByteSpan state);
  static void note_batch(Group& group, const consensus::LogEntry& entry);

  [[nodiscard]] bool is_compacted(consensus::GroupId group) const;
  [[nodiscard]] std::uint64_t hash_of(consensus::GroupId group,
                                      const consensus::LogEntry& entry) const;
  [[nodiscard]] std::string lack_of(consensus::GroupId group, std::vector<MemberId> replicas) const;

  std::map<consensus::GroupId, Group> groups_;
  consensus::MetadataImage image_;  ///< As of the last entry of the controller's group.
  std::vector<std::unique_ptr<Life>> lives_;
  const bool producers_expire_;
  std::string violation_;
  std::uint64_t committed_entries_ = 0;
  std::uint64_t elections_ = 0;
};

}  // namespace sentinel::simulator
