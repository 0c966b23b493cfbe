#pragma once
/// Sees to it that the groups which a shard leads have the members that the metadata want, and that
/// those lead which are to lead first.
///
/// Looks at a group when the metadata change and when it begins to lead; while there is something
/// left to do, again and again.

#include <functional>
#include <map>
#include <optional>
#include <set>

#include "consensus/membership.h"
#include "consensus/multi_raft.h"
#include "core/scope.h"

namespace sentinel::consensus {

class MembershipKeeper {
 public:
  struct Rules {
    /// What a group is to have; nothing when that is not known, or the group is no more.
    std::function<std::optional<WantedMembers>(GroupId)> wanted;
    std::function<bool(GroupId, MemberId)> is_gone;
    std::function<bool(NodeId)> is_alive;
    /// Resolves to true once what is wanted is as new as when this was called.
    std::function<core::Task<bool>()> bring_up_to_date;
    /// A group has what was wanted, after that was not so. Called again until it is not `unsettled`
    /// any more.
    std::function<void(GroupId, std::uint64_t version)> settled;
    /// Whether the metadata still count the group among those that change.
    std::function<bool(GroupId)> unsettled;
  };
  /// `raft` outlives it.
  MembershipKeeper(core::Shard& shard, MultiRaft& raft, Rules rules);
  ~MembershipKeeper();
  void start() { scope_.spawn(run()); }
  core::Task<void> close();

  void look_at(GroupId group);
  void look_at_all();

 private:
  core::Task<void> run();
  bool step(GroupId group);
  bool change(Replica& replica, const WantedMembers& wanted);
  bool is_up_to_date(const Replica& replica);
  core::Task<void> make_sure(GroupId group, Term term);
  bool balance(Replica& replica, const WantedMembers& wanted);
  [[nodiscard]] bool is_caught_up(const Raft& raft, MemberId member) const;
  [[nodiscard]] std::optional<MemberId> successor(const Raft& raft,
                                                  const WantedMembers& wanted) const;

  core::Shard& shard_;
  MultiRaft& raft_;
  const Rules rules_;
  std::set<GroupId> due_;
  std::map<GroupId, Term> up_to_date_;  // The leadership for which that is known.
  std::set<GroupId> asking_;
  std::map<GroupId, core::TimePoint> balance_at_;  // Since when another one could lead.
  bool closing_ = false;
  core::Signal changed_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
