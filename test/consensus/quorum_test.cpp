#include "consensus/quorum.h"

#include <doctest/doctest.h>

#include <set>

namespace sentinel::consensus {
namespace {

using Kind = ConfigurationChange::Kind;

std::vector<MemberId> nodes(std::initializer_list<int> numbers) {
  std::vector<MemberId> made;
  for (const int number : numbers) made.push_back(MemberId(number));
  return made;
}

/// The voters among the first `count` nodes, by the bits of `mask`.
std::set<MemberId> chosen(int count, unsigned mask) {
  std::set<MemberId> made;
  for (int i = 0; i < count; ++i) {
    if ((mask >> i & 1u) != 0) made.insert(MemberId(i + 1));
  }
  return made;
}

Configuration first(int count) {
  Configuration made;
  for (int i = 1; i <= count; ++i) made.voters.push_back(MemberId(i));
  return made;
}

TEST_CASE("an election is decided as soon as it can't turn out otherwise") {
  for (int count = 1; count <= 5; ++count) {
    // Each voter says yes, no, or nothing yet.
    for (unsigned yes = 0; yes < 1u << count; ++yes) {
      for (unsigned no = 0; no < 1u << count; ++no) {
        if ((yes & no) != 0) continue;
        std::map<MemberId, bool> answers{{MemberId(9), true}};  // Of no voter.
        for (const MemberId node : chosen(count, yes)) answers[node] = true;
        for (const MemberId node : chosen(count, no)) answers[node] = false;
        const auto agree = chosen(count, yes).size() * 2;
        const auto refuse = chosen(count, no).size() * 2;
        const auto all = static_cast<std::size_t>(count);
        const Vote expected = agree > all ? Vote::won : refuse >= all ? Vote::lost : Vote::pending;
        CHECK(count_votes(first(count), answers) == expected);
      }
    }
  }
}

TEST_CASE("a majority has the index, and no larger one") {
  for (int count = 1; count <= 5; ++count) {
    unsigned cases = 1;
    for (int i = 0; i < count; ++i) cases *= 4;
    for (unsigned number = 0; number < cases; ++number) {
      const auto index_of = [number](MemberId node) {
        return LogIndex(number >> (2 * (node.value() - 1)) & 3u);
      };
      const LogIndex found = majority_index(first(count), index_of);
      std::size_t reach = 0;
      std::size_t exceed = 0;
      for (const MemberId node : first(count).voters) {
        reach += index_of(node) >= found ? 1 : 0;
        exceed += index_of(node) > found ? 1 : 0;
      }
      CHECK(reach * 2 > static_cast<std::size_t>(count));
      CHECK(exceed * 2 <= static_cast<std::size_t>(count));
    }
  }
}

TEST_CASE("learners count neither in elections nor for what is committed") {
  const Configuration group{nodes({1, 2, 3}), nodes({4, 5})};
  CHECK(count_votes(group, {{MemberId(1), true}, {MemberId(4), true}, {MemberId(5), true}}) ==
        Vote::pending);
  const auto index_of = [](MemberId node) { return LogIndex(node >= MemberId(3) ? 9u : 1u); };
  CHECK(majority_index(group, index_of) == LogIndex(1));
}

TEST_CASE("a change adds or removes one node") {
  const Configuration group{nodes({1, 3}), nodes({4})};
  CHECK(changed(group, {Kind::add_learner, MemberId(2)}) ==
        Configuration{nodes({1, 3}), nodes({2, 4})});
  CHECK(changed(group, {Kind::add_voter, MemberId(4)}) == Configuration{nodes({1, 3, 4}), {}});
  CHECK(changed(group, {Kind::add_voter, MemberId(2)}) ==
        Configuration{nodes({1, 2, 3}), nodes({4})});
  CHECK(changed(group, {Kind::remove, MemberId(1)}) == Configuration{nodes({3}), nodes({4})});
  CHECK(changed(group, {Kind::remove, MemberId(4)}) == Configuration{nodes({1, 3}), {}});
}

TEST_CASE("a change that changes nothing, or leaves no voter, is none") {
  const Configuration group{nodes({1}), nodes({4})};
  CHECK_FALSE(changed(group, {Kind::add_voter, MemberId(1)}).has_value());
  CHECK_FALSE(changed(group, {Kind::add_learner, MemberId(1)}).has_value());
  CHECK_FALSE(changed(group, {Kind::add_learner, MemberId(4)}).has_value());
  CHECK_FALSE(changed(group, {Kind::remove, MemberId(2)}).has_value());
  CHECK_FALSE(changed(group, {Kind::remove, MemberId(1)}).has_value());
}

}  // namespace
}  // namespace sentinel::consensus
