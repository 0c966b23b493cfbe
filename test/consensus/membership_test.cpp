#include "consensus/membership.h"

#include <doctest/doctest.h>

#include <set>

namespace sentinel::consensus {
namespace {

using Kind = ConfigurationChange::Kind;

std::vector<MemberId> members(std::initializer_list<int> numbers) {
  std::vector<MemberId> all;
  for (const int number : numbers) all.emplace_back(number);
  return all;
}

/// What a leader does until nothing is left to do, with all learners caught up.
std::string steps(Configuration now, const WantedMembers& wanted, const std::set<int>& gone = {}) {
  std::string text;
  const MemberKnowledge known{
      .is_gone = [&](MemberId member) { return gone.contains(static_cast<int>(member.value())); },
      .is_caught_up = [](MemberId) { return true; }};
  while (const auto change = next_change(now, wanted, known)) {
    static constexpr const char* kNames[] = {"learner", "voter", "remove"};
    text += kNames[static_cast<int>(change->kind)] + std::string(" ") +
            std::to_string(change->node.value()) + ", ";
    now = *changed(now, *change);
    REQUIRE(text.size() < 500);
  }
  CHECK(wanted.is(now));
  return text;
}

TEST_CASE("who is to come learns first, then votes; who is to go goes last") {
  CHECK(steps({members({1, 2, 3}), {}}, {members({1, 2, 4}), {}}) ==
        "learner 4, voter 4, remove 3, ");
  CHECK(steps({members({1}), {}}, {members({1, 2, 3}), {}}) ==
        "learner 2, learner 3, voter 2, voter 3, ");
  CHECK(steps({members({1, 2, 3}), {}}, {members({2, 1, 3}), {}}) == "");
}

TEST_CASE("a member whose disk is lost goes first") {
  CHECK(steps({members({1, 2, 3}), {}}, {members({1, 2, 13}), {}}, {3}) ==
        "remove 3, learner 13, voter 13, ");
}

TEST_CASE("a voter that is only to learn leaves and comes back") {
  CHECK(steps({members({1, 2, 3}), {}}, {members({1, 2, 4}), members({3})}) ==
        "learner 4, voter 4, remove 3, learner 3, ");
}

TEST_CASE("nobody gets a vote before it has caught up, and nobody goes before that") {
  const MemberKnowledge behind{.is_gone = [](MemberId) { return false; },
                               .is_caught_up = [](MemberId) { return false; }};
  const Configuration now{members({1, 2, 3}), members({4})};
  CHECK_FALSE(next_change(now, {members({1, 2, 4}), {}}, behind).has_value());
}

}  // namespace
}  // namespace sentinel::consensus
