#pragma once
/// Who takes part in a group, and what their majority says. Pure arithmetic.
///
/// Voters elect and commit; learners get the log without a say. A change adds or removes one voter
/// at a time, so that any majority before it and any after it share a node (Ongaro, "Consensus:
/// Bridging Theory and Practice", section 4.1).

#include <algorithm>
#include <functional>
#include <map>
#include <optional>
#include <vector>

#include "consensus/types.h"
#include "core/bytes.h"

namespace sentinel::consensus {

struct Configuration {
  std::vector<MemberId> voters;    ///< Ascending.
  std::vector<MemberId> learners;  ///< Ascending; none is a voter too.

  static void fields(auto& self, auto& visit) {
    visit(self.voters);
    visit(self.learners);
  }
  friend bool operator==(const Configuration&, const Configuration&) = default;

  [[nodiscard]] bool has_voter(MemberId node) const;
  [[nodiscard]] bool has_learner(MemberId node) const;
  [[nodiscard]] bool has(MemberId node) const { return has_voter(node) || has_learner(node); }
  /// Voters, then learners.
  [[nodiscard]] std::vector<MemberId> members() const;
  [[nodiscard]] std::size_t majority() const { return voters.size() / 2 + 1; }
};

struct ConfigurationChange {
  enum class Kind : std::uint8_t {
    add_learner,
    add_voter,  ///< A learner, or a node that is not in the group yet.
    remove,
  };
  Kind kind = Kind::add_learner;
  MemberId node;
};

/// The configuration after the change; nothing when it would change nothing, or leave no voter.
[[nodiscard]] std::optional<Configuration> changed(const Configuration& before,
                                                   ConfigurationChange change);

enum class Vote : std::uint8_t { pending, won, lost };
/// What an election has come to. Who is not in `answers` has not answered.
[[nodiscard]] Vote count_votes(const Configuration& configuration,
                               const std::map<MemberId, bool>& answers);

/// The largest index that a majority of voters has, where `index_of(node)` is what each one has.
[[nodiscard]] LogIndex majority_index(const Configuration& configuration, auto&& index_of) {
  std::vector<LogIndex> indexes;
  for (const MemberId node : configuration.voters) indexes.push_back(index_of(node));
  std::ranges::sort(indexes, std::greater());
  return indexes[configuration.majority() - 1];
}

}  // namespace sentinel::consensus
