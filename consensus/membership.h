#pragma once
/// From the members that a group has to those that it is to have, one change at a time.
///
/// Who is to come begins as a learner and gets a vote once it has caught up; who is to go goes when
/// all others are there. A member whose disk is lost goes at once: it can't vote any more, and with
/// it the majority would be larger for nothing. Pure.

#include <functional>
#include <optional>
#include <vector>

#include "consensus/quorum.h"

namespace sentinel::consensus {

struct WantedMembers {
  std::vector<MemberId> voters;    ///< In the order in which they are to lead.
  std::vector<MemberId> learners;  ///< Besides.
  std::uint64_t version = 0;       ///< PartitionMove::version, of a partition that moves.

  [[nodiscard]] bool has_voter(MemberId member) const;
  [[nodiscard]] bool has(MemberId member) const;
  /// Whether a configuration is what is wanted.
  [[nodiscard]] bool is(const Configuration& configuration) const;
};

/// What the leader knows of members.
struct MemberKnowledge {
  std::function<bool(MemberId)> is_gone;  ///< Its disk has been replaced.
  std::function<bool(MemberId)> is_caught_up;
};

/// The next change; nothing when there is none to make now.
std::optional<ConfigurationChange> next_change(const Configuration& now,
                                               const WantedMembers& wanted,
                                               const MemberKnowledge& known);

}  // namespace sentinel::consensus
