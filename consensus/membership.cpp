#include "consensus/membership.h"

#include <algorithm>

namespace sentinel::consensus {

namespace {
using Kind = ConfigurationChange::Kind;

bool contains(const std::vector<MemberId>& members, MemberId member) {
  return std::ranges::find(members, member) != members.end();
}
}  // namespace

bool WantedMembers::has_voter(MemberId member) const { return contains(voters, member); }
bool WantedMembers::has(MemberId member) const {
  return has_voter(member) || contains(learners, member);
}

bool WantedMembers::is(const Configuration& configuration) const {
  Configuration sorted{voters, learners};
  std::ranges::sort(sorted.voters);
  std::ranges::sort(sorted.learners);
  return sorted == configuration;
}

std::optional<ConfigurationChange> next_change(const Configuration& now,
                                               const WantedMembers& wanted,
                                               const MemberKnowledge& known) {
  for (const MemberId member : now.members()) {
    if (!wanted.has(member) && known.is_gone(member))
      return ConfigurationChange{Kind::remove, member};
  }
  for (const auto* group : {&wanted.voters, &wanted.learners}) {
    for (const MemberId member : *group) {
      if (!now.has(member)) return ConfigurationChange{Kind::add_learner, member};
    }
  }
  for (const MemberId member : wanted.voters) {
    if (now.has_learner(member) && known.is_caught_up(member))
      return ConfigurationChange{Kind::add_voter, member};
  }
  const bool all_there =
      std::ranges::all_of(wanted.voters, [&](MemberId member) { return now.has_voter(member); });
  if (!all_there) return std::nullopt;
  for (const MemberId member : now.members()) {
    const bool stays = now.has_voter(member) ? wanted.has_voter(member) : wanted.has(member);
    if (!stays) return ConfigurationChange{Kind::remove, member};
  }
  return std::nullopt;
}

}  // namespace sentinel::consensus
