#include "consensus/quorum.h"

#include <algorithm>

namespace sentinel::consensus {

namespace {

void insert(std::vector<MemberId>& nodes, MemberId node) {
  nodes.insert(std::ranges::lower_bound(nodes, node), node);
}

}  // namespace

bool Configuration::has_voter(MemberId node) const {
  return std::ranges::binary_search(voters, node);
}

bool Configuration::has_learner(MemberId node) const {
  return std::ranges::binary_search(learners, node);
}

std::vector<MemberId> Configuration::members() const {
  std::vector<MemberId> all = voters;
  all.insert(all.end(), learners.begin(), learners.end());
  return all;
}

std::optional<Configuration> changed(const Configuration& before, ConfigurationChange change) {
  Configuration after = before;
  std::erase(after.voters, change.node);
  std::erase(after.learners, change.node);
  switch (change.kind) {
    case ConfigurationChange::Kind::add_learner:
      if (before.has(change.node)) return std::nullopt;
      insert(after.learners, change.node);
      break;
    case ConfigurationChange::Kind::add_voter:
      if (before.has_voter(change.node)) return std::nullopt;
      insert(after.voters, change.node);
      break;
    case ConfigurationChange::Kind::remove:
      if (!before.has(change.node)) return std::nullopt;
      break;
  }
  if (after.voters.empty()) return std::nullopt;
  return after;
}

Vote count_votes(const Configuration& configuration, const std::map<MemberId, bool>& answers) {
  std::size_t yes = 0;
  std::size_t no = 0;
  for (const MemberId node : configuration.voters) {
    const auto answer = answers.find(node);
    if (answer == answers.end()) continue;
    ++(answer->second ? yes : no);
  }
  if (yes >= configuration.majority()) return Vote::won;
  // Who has not answered can't make up for it.
  if (configuration.voters.size() - no < configuration.majority()) return Vote::lost;
  return Vote::pending;
}

}  // namespace sentinel::consensus
