#include "test/simulator/oracle.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <tuple>

#include "consensus/producer_state.h"
#include "consensus/topic_config.h"
#include "core/crc32c.h"

namespace sentinel::simulator {

using consensus::EntryType;
using consensus::GroupId;
using consensus::LogEntry;
using consensus::LogIndex;
using consensus::LogPosition;
using consensus::Raft;
using consensus::Term;

/// Whether it keeps the latest records only.
bool Oracle::is_compacted(GroupId group) const {
  const consensus::Topic* topic = image_.topic_of(group);
  return topic != nullptr && consensus::cleaning_rules(*topic).compact;
}

/// What must be the same everywhere. A compacted log is cleaned by each replica when it comes to
/// that: what an entry held may be gone from it.
std::uint64_t Oracle::hash_of(GroupId group, const LogEntry& entry) const {
  const auto end = static_cast<std::uint64_t>(entry.key.end_offset.value()) << 32;
  const std::uint64_t type = static_cast<std::uint64_t>(entry.key.type) << 56;
  if (is_compacted(group)) return type ^ end;
  return type ^ end ^ core::crc32c(entry.payload);
}

/// One life of a node: what may not go back within it.
class Oracle::Life final : public consensus::RaftProbe {
 public:
  Life(Oracle& oracle, Postman* postman) : oracle_(oracle), postman_(postman) {}

  std::vector<consensus::RaftMessage> on_message(GroupId id,
                                                 consensus::RaftMessage message) override {
    if (postman_ == nullptr) return RaftProbe::on_message(id, std::move(message));
    return postman_->deliver(id, std::move(message));
  }

  void on_open(GroupId id, const Raft& raft) override {
    commits_[id] = raft.commit_index();
    Group& group = oracle_.groups_[id];
    const auto known = group.members.find(raft.self());
    // A node that has become another member has made its store anew.
    for (auto& [member, its] : group.members)
      its.lost |=
          member < raft.self() && consensus::node_of(member) == consensus::node_of(raft.self());
    if (known == group.members.end()) return;
    // A group that went elsewhere and has come back begins anew: until it has caught up, and with
    // that knows the term, it has no vote.
    const bool is_new = raft.log().last().index == LogIndex(0);
    const bool was_away = is_new && !group.configuration.has_voter(raft.self());
    // One whose topic has been deleted may be opened by a node that has erased it and does not
    // remember why.
    if (was_away || oracle_.image_.is_deleted(id)) {
      group.members.erase(known);
      return;
    }
    if (raft.term() < known->second.hard.term)
      oracle_.fail("R2", id, raft, "has forgotten term {}", known->second.hard.term);
    const LogPosition& had = known->second.last;
    if (!consensus::is_up_to_date(raft.log().last_position(), had))
      oracle_.fail("R2", id, raft, "opens with a log up to {} of term {}, and had {} of term {}",
                   raft.log().last().index, raft.log().last().term, had.index, had.term);
    // What was read was on the disk, also if the last life did not hear of it.
    const LogPosition has = raft.log().last_position();
    LogIndex& reached = known->second.durable[has.term];
    reached = std::max(reached, has.index);
    known->second.last = has;
  }

  void on_output(GroupId id, const Raft& raft, const Raft::Output& output) override {
    // Nodes that have erased it may begin it anew, until they know again that it has been deleted.
    if (oracle_.image_.is_deleted(id)) return;
    Group& group = oracle_.groups_[id];
    LogIndex& commit = commits_[id];
    if (raft.commit_index() < commit)
      oracle_.fail("R2", id, raft, "commit index went back from {}", commit);
    commit = raft.commit_index();
    oracle_.check_stored(id, group, raft, output);
    if (raft.is_leader()) {
      oracle_.check_leader(id, group, raft);
    } else {
      // One that has just committed its own removal leads no more; nor may one that has committed
      // what its own disk did not have yet.
      oracle_.check_majority(id, group, raft);
    }
    oracle_.check_committed(id, group, raft, output);
  }

  void on_durable(GroupId id, const Raft& raft, const Raft::Durable& durable) override {
    if (oracle_.image_.is_deleted(id)) return;
    Member& member = oracle_.groups_[id].members[raft.self()];
    const consensus::HardState& now = durable.hard;
    if (now.term < member.hard.term)
      oracle_.fail("R2", id, raft, "stored term {} after {}", now.term, member.hard.term);
    const bool voted = member.hard.vote != MemberId(0) && now.term == member.hard.term;
    if (voted && now.vote != member.hard.vote)
      oracle_.fail("R1", id, raft, "voted for {} and {} in term {}", member.hard.vote, now.vote,
                   now.term);
    member.hard = now;
    member.last = durable.last;
    LogIndex& reached = member.durable[durable.last.term];
    reached = std::max(reached, durable.last.index);
  }

  void on_snapshot(GroupId id, const Raft& raft, LogIndex index, core::ByteSpan state) override {
    if (id == consensus::kControllerGroup || oracle_.image_.is_deleted(id)) return;
    oracle_.check_snapshot(id, oracle_.groups_[id], raft, index, state);
  }

 private:
  Oracle& oracle_;
  Postman* const postman_;
  std::map<GroupId, LogIndex> commits_;
};

Oracle::Oracle(bool producers_expire) : producers_expire_(producers_expire) {}
Oracle::~Oracle() = default;

consensus::RaftProbe* Oracle::begin_life(bool with_own_disk, Postman* postman) {
  if (!with_own_disk) return nullptr;
  lives_.push_back(std::make_unique<Life>(*this, postman));
  return lives_.back().get();
}

template <typename... Args>
void Oracle::fail(std::string_view promise, GroupId group, const Raft& raft,
                  fmt::format_string<Args...> format, Args&&... args) {
  if (!violation_.empty()) return;
  violation_ = fmt::format("{}: group {}, node {}, term {}, {}: {}", promise, group,
                           consensus::node_of(raft.self()), raft.term(), raft.role_name(),
                           fmt::format(format, std::forward<Args>(args)...));
}

void Oracle::check_stored(GroupId id, Group& group, const Raft& raft, const Raft::Output& output) {
  for (const LogEntry& entry : output.entries) {
    const LogIndex index = entry.key.index;
    const auto before = raft.log().term_at(LogIndex(index.value() - 1));
    const Stored stored{.hash = hash_of(id, entry), .term_before = before.value_or(Term(0))};
    const auto [known, is_new] = group.entries.emplace(std::pair(index, entry.key.term), stored);
    if (!is_new && known->second.hash != stored.hash)
      fail("R3", id, raft, "entry {} of term {} is another one elsewhere", index, entry.key.term);
    if (!is_new && before.has_value() && known->second.term_before != *before)
      fail("R3", id, raft, "entry {} of term {} follows one of term {}, elsewhere of term {}",
           index, entry.key.term, *before, known->second.term_before);
    const auto committed = group.committed.find(index);
    // A leader that is none any more may still append what will give way.
    if (committed != group.committed.end() && committed->second.committed_in < entry.key.term)
      fail("R8", id, raft, "entry {} of term {} was committed, and one of term {} takes its place",
           index, committed->second.term, entry.key.term);
  }
  if (!output.configurations.has_value()) return;
  const auto open = std::ranges::count_if(*output.configurations, [&](const auto& placed) {
    return placed.index > std::max(group.commit, raft.commit_index());
  });
  if (open > 1) fail("R9", id, raft, "{} changes of members are not committed", open);
}

void Oracle::check_leader(GroupId id, Group& group, const Raft& raft) {
  const auto [leader, is_new] = group.leaders.emplace(raft.term(), raft.self());
  if (leader->second != raft.self())
    fail("R1", id, raft, "node {} leads in the same term", consensus::node_of(leader->second));
  if (!is_new) {
    check_majority(id, group, raft);
    return;
  }
  ++elections_;
  // One that was elected in a later term meanwhile may have committed more.
  const auto last = std::ranges::find_if(
      group.committed.rbegin(), group.committed.rend(),
      [&](const auto& committed) { return committed.second.committed_in < raft.term(); });
  if (last == group.committed.rend()) return;
  const auto& [index, entry] = *last;
  const auto term = raft.log().term_at(index);
  if (index > raft.log().start().index && term != entry.term)
    fail("R4", id, raft, "was elected without entry {} of term {}, which is committed", index,
         entry.term);
}

/// R7: of what the leader says is committed.
void Oracle::check_majority(GroupId id, Group& group, const Raft& raft) {
  const LogIndex commit = raft.commit_index();
  if (commit <= group.commit) return;
  const Term term = raft.log().term_at(commit).value_or(Term(0));
  if (raft.is_leader() && term != raft.term())
    fail("R6", id, raft, "counted entry {} of term {} as committed", commit, term);
  const auto has = [&](MemberId voter) {
    const auto member = group.members.find(voter);
    if (member == group.members.end()) return false;
    return std::ranges::any_of(member->second.durable, [&](const auto& each) {
      return each.first >= term && each.second >= commit;
    });
  };
  // Members that were proposed after it was committed, and before this was told, don't count yet.
  const auto& all = raft.configurations();
  const bool by_majority = std::ranges::any_of(all, [&](const auto& placed) {
    const bool is_last = &placed == &all.back() || (&placed + 1)->index > commit;
    const auto& voters = placed.configuration.voters;
    const auto count = static_cast<std::size_t>(std::ranges::count_if(voters, has));
    return is_last && count * 2 > voters.size();
  });
  if (!by_majority) {
    const auto& voters = raft.configuration().voters;
    fail("R7", id, raft, "committed entry {}, which {} of {} voters have on disk", commit,
         std::ranges::count_if(voters, has), voters.size());
  }
  group.commit = commit;
  group.configuration = raft.configuration();
}

void Oracle::check_committed(GroupId id, Group& group, const Raft& raft,
                             const Raft::Output& output) {
  for (const LogEntry& entry : output.committed) {
    const Entry given{
        .term = entry.key.term, .hash = hash_of(id, entry), .committed_in = raft.term()};
    const auto [known, is_new] = group.committed.emplace(entry.key.index, given);
    if (is_new) ++committed_entries_;
    if (is_new && id == consensus::kControllerGroup && entry.key.type == EntryType::command)
      std::ignore = image_.apply(entry.payload);
    if (is_new && entry.key.type == EntryType::records) note_batch(group, entry);
    if (known->second.term != given.term || known->second.hash != given.hash)
      fail("R5", id, raft, "entry {} of term {} is committed, and was of term {}", entry.key.index,
           given.term, known->second.term);
  }
}

void Oracle::note_batch(Group& group, const LogEntry& entry) {
  const auto batch = consensus::RecordBatchView::parse(entry.payload);
  if (!batch || !batch->is_idempotent()) return;
  group.produced[batch->producer_id()].push_back(
      {entry.key.index, batch->base_offset(), core::Bytes::copy(entry.payload)});
}

/// R10: a state of the log up to an entry knows of each producer the last batch up to there, so
/// that it is not taken again.
void Oracle::check_snapshot(GroupId id, Group& group, const Raft& raft, LogIndex index,
                            core::ByteSpan state) {
  const auto producers = consensus::ProducerState::decode(state);
  if (!producers) {
    fail("R10", id, raft, "stores a state that can't be read: {}", producers.error().message);
    return;
  }
  const auto knows = [](const consensus::ProducerState& of, const Batch& batch) {
    const auto check = of.check(*consensus::RecordBatchView::parse(batch.bytes));
    return check.outcome == consensus::ProducerCheck::Outcome::duplicate &&
           check.original_base_offset == batch.base_offset;
  };
  const auto forgot = [&](const Batch& batch) {
    const auto view = consensus::RecordBatchView::parse(batch.bytes);
    return producers_expire_ && !producers->knows(view->producer_id());
  };
  const bool may_lag = index < group.newest && is_compacted(id);
  const auto newest = consensus::ProducerState::decode(may_lag ? group.newest_state.view() : state);
  if (index > group.newest) {
    group.newest = index;
    group.newest_state = core::Bytes::copy(state);
  }
  for (const auto& [producer, batches] : group.produced) {
    const auto behind = std::ranges::upper_bound(batches, index, {}, &Batch::index);
    if (behind == batches.begin()) continue;
    const Batch& last = *std::prev(behind);
    if (knows(*producers, last) || forgot(last) || (may_lag && !knows(*newest, last))) continue;
    fail("R10", id, raft, "the state up to {} does not know entry {}, the last of producer {}",
         index, last.index, producer);
  }
}

/// What a group lacks of having these replicas (of the controller's: any), with all that is
/// committed on their disks; empty when it lacks nothing.
std::string Oracle::lack_of(GroupId id, std::vector<MemberId> replicas) const {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return fmt::format("group {} has not begun", id);
  const Group& group = found->second;
  std::ranges::sort(replicas);
  if (!replicas.empty() && group.configuration.voters != replicas)
    return fmt::format("group {} has members {}, and is to have {}", id,
                       fmt::join(group.configuration.voters, " "), fmt::join(replicas, " "));
  for (const MemberId voter : group.configuration.voters) {
    const auto member = group.members.find(voter);
    if (member == group.members.end() || member->second.lost)
      return fmt::format("group {} has nothing at {}", id, voter);
    if (member->second.last.index < group.commit)
      return fmt::format("group {} is committed up to {}, and {} has {}", id, group.commit, voter,
                         member->second.last.index);
  }
  return {};
}

std::string Oracle::lack() const {
  std::string lack = lack_of(consensus::kControllerGroup, {});
  for (const auto& [name, topic] : image_.topics()) {
    if (lack.empty() && !topic.moves.empty()) lack = fmt::format("topic {} is moving", name);
    for (std::int32_t i = 0; lack.empty() && i < topic.partition_count; ++i) {
      const GroupId group = topic.group(consensus::PartitionIndex(i));
      lack = lack_of(group, topic.replicas_of(group));
    }
  }
  return lack;
}

std::vector<consensus::NodeId> Oracle::nodes_of(std::string_view name,
                                                std::int32_t partition) const {
  std::vector<consensus::NodeId> nodes;
  const consensus::Topic* topic = image_.find(name);
  if (topic == nullptr || !topic->has(partition)) return nodes;
  for (const MemberId member : topic->replicas[static_cast<std::size_t>(partition)])
    nodes.push_back(consensus::node_of(member));
  return nodes;
}

consensus::StoreNumbers Oracle::numbers_of(consensus::NodeId node) const {
  const auto known = image_.nodes().find(node);
  return known == image_.nodes().end() ? consensus::StoreNumbers() : known->second.numbers;
}

consensus::NodeId Oracle::controller() const {
  const auto group = groups_.find(consensus::kControllerGroup);
  if (group == groups_.end() || group->second.leaders.empty()) return consensus::NodeId(0);
  return consensus::node_of(group->second.leaders.rbegin()->second);
}

void Oracle::forget(consensus::NodeId node) {
  for (auto& [id, group] : groups_) {
    for (auto& [member, its] : group.members) its.lost |= consensus::node_of(member) == node;
  }
}

}  // namespace sentinel::simulator
