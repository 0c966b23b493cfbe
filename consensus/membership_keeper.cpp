#include "consensus/membership_keeper.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace sentinel::consensus {

namespace {

using namespace std::chrono_literals;

constexpr core::Duration kPause = 100ms;
/// A node that has come back keeps well for so long before it leads again.
constexpr core::Duration kBalanceAfter = 10s;
/// How far behind a learner may be that gets a vote: a round or two of messages.
constexpr std::uint64_t kNearlyThere = 64;

}  // namespace

MembershipKeeper::MembershipKeeper(core::Shard& shard, MultiRaft& raft, Rules rules)
    : shard_(shard), raft_(raft), rules_(std::move(rules)), changed_(shard), scope_(shard) {}

MembershipKeeper::~MembershipKeeper() = default;

core::Task<void> MembershipKeeper::close() {
  closing_ = true;
  changed_.notify_all();
  co_await scope_.close();
}

void MembershipKeeper::look_at(GroupId group) {
  due_.insert(group);
  changed_.notify_all();
}

void MembershipKeeper::look_at_all() {
  for (const GroupId group : raft_.led_groups()) due_.insert(group);
  changed_.notify_all();
}

core::Task<void> MembershipKeeper::run() {
  while (!closing_) {
    if (due_.empty()) {
      co_await changed_.wait();
      continue;
    }
    const std::vector<GroupId> groups(due_.begin(), due_.end());
    for (const GroupId group : groups) {
      if (!step(group)) {
        due_.erase(group);
        up_to_date_.erase(group);
        balance_at_.erase(group);
      }
    }
    if (!closing_) co_await core::sleep_for(shard_, kPause, scope_.token());
  }
}

/// Whether there is more to do.
bool MembershipKeeper::step(GroupId group) {
  Replica* replica = raft_.find(group);
  if (replica == nullptr || !replica->is_leader()) return false;
  const auto wanted = rules_.wanted(group);
  if (!wanted.has_value()) return false;
  if (replica->raft().is_transferring()) return true;
  if (!wanted->is(replica->raft().configuration())) return change(*replica, *wanted);
  // Until then who has left may be needed for a majority, and must not be told to go.
  if (!replica->raft().is_configuration_committed()) return true;
  if (rules_.unsettled(group)) {
    rules_.settled(group, wanted->version);
    return true;
  }
  return balance(*replica, *wanted);
}

bool MembershipKeeper::change(Replica& replica, const WantedMembers& wanted) {
  const Raft& raft = replica.raft();
  const auto next = next_change(
      raft.configuration(), wanted,
      {.is_gone = [&](MemberId member) { return rules_.is_gone(replica.group(), member); },
       .is_caught_up = [&](MemberId member) { return is_caught_up(raft, member); }});
  if (!next.has_value()) return true;
  if (next->kind != ConfigurationChange::Kind::remove && !is_up_to_date(replica)) return true;
  const bool leaves = next->kind == ConfigurationChange::Kind::remove && next->node == raft.self();
  if (!leaves) {
    // One that is under way, or a majority that is not there: tried again.
    std::ignore = replica.propose(*next);
  } else if (const auto heir = successor(raft, wanted)) {
    std::ignore = replica.transfer_to(*heir);
  } else {
    std::ignore = replica.propose(*next);
  }
  return true;
}

/// Whether what is wanted is not older than this leadership. Else another leader may have carried
/// out a later wish since, and who would be taken in again is about to erase what it has.
bool MembershipKeeper::is_up_to_date(const Replica& replica) {
  const GroupId group = replica.group();
  const auto known = up_to_date_.find(group);
  if (group == GroupId(0) || (known != up_to_date_.end() && known->second == replica.term()))
    return true;
  if (asking_.insert(group).second) scope_.spawn(make_sure(group, replica.term()));
  return false;
}

core::Task<void> MembershipKeeper::make_sure(GroupId group, Term term) {
  const bool sure = co_await rules_.bring_up_to_date();
  if (sure) up_to_date_[group] = term;
  asking_.erase(group);
}

std::optional<MemberId> MembershipKeeper::successor(const Raft& raft,
                                                    const WantedMembers& wanted) const {
  for (const MemberId member : wanted.voters) {
    if (member != raft.self() && raft.configuration().has_voter(member) &&
        rules_.is_alive(node_of(member)) && is_caught_up(raft, member))
      return member;
  }
  return std::nullopt;
}

/// Hands a group to the one that is to lead it first, once that has been there for a while.
bool MembershipKeeper::balance(Replica& replica, const WantedMembers& wanted) {
  const Raft& raft = replica.raft();
  const MemberId first = wanted.voters.front();
  if (first == raft.self() || replica.group() == GroupId(0)) return false;
  const bool could = rules_.is_alive(node_of(first)) && is_caught_up(raft, first);
  if (!could) {
    balance_at_.erase(replica.group());
    return rules_.is_alive(node_of(first));
  }
  const auto [at, is_new] = balance_at_.emplace(replica.group(), shard_.now() + kBalanceAfter);
  if (shard_.now() < at->second) return true;
  balance_at_.erase(at);
  std::ignore = replica.transfer_to(first);
  return true;
}

bool MembershipKeeper::is_caught_up(const Raft& raft, MemberId member) const {
  const Progress* progress = raft.progress_of(member);
  // Who has not agreed to a message yet may be known by a late answer of an earlier stay only.
  return progress != nullptr && progress->mode() == Progress::Mode::replicate &&
         progress->match() + kNearlyThere >= raft.log().last().index &&
         progress->match() > LogIndex(0);
}

}  // namespace sentinel::consensus
