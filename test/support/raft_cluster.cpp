#include "test/support/raft_cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace sentinel::test {

using namespace consensus;

namespace {

std::string place(const LogPosition& position) {
  return fmt::format("{}/{}", position.index, position.term);
}

struct Describer {
  std::string operator()(const VoteRequest& request) const {
    return fmt::format("{}{} last {}", request.pre ? "ask" : "vote?",
                       request.transfer ? " (transfer)" : "", place(request.last));
  }
  std::string operator()(const VoteAnswer& answer) const {
    return fmt::format("{} {}", answer.pre ? "would" : "vote", answer.granted ? "yes" : "no");
  }
  std::string operator()(const AppendRequest& request) const {
    std::string entries;
    for (const LogEntry& entry : request.entries) {
      const std::string text = changes_configuration(entry) ? "members"
                               : entry.payload.empty()      ? "-"
                                                            : std::string(entry.payload.text());
      entries += fmt::format(" {}={}", place(position_of(entry.key)), text);
    }
    return fmt::format("append behind {}{} commit {}", place(request.previous),
                       entries.empty() ? " nothing" : ":" + entries, request.commit);
  }
  std::string operator()(const AppendAnswer& answer) const {
    return answer.accepted
               ? fmt::format("has {}", place(answer.last))
               : fmt::format("lacks {}, perhaps {}", answer.refused, place(answer.last));
  }
  std::string operator()(const Heartbeat& beat) const {
    return fmt::format("heartbeat commit {}{}", beat.commit,
                       beat.round > 0 ? fmt::format(" round {}", beat.round) : "");
  }
  std::string operator()(const HeartbeatAnswer& answer) const {
    return answer.round > 0 ? fmt::format("alive round {}", answer.round) : "alive";
  }
  std::string operator()(const SnapshotRequest& request) const {
    return fmt::format("snapshot {} '{}'", place(position_of(request.snapshot.last)),
                       request.snapshot.state.text());
  }
  std::string operator()(const CampaignRequest&) const { return "run now"; }
};

std::vector<TermBegin> terms_of(const RaftCluster::Disk& disk, LogIndex until) {
  std::vector<TermBegin> terms;
  EntryKey before = disk.start;
  for (const auto& [index, entry] : disk.entries) {
    if (index > until) break;
    if (entry.key.term != before.term) terms.push_back({.term = entry.key.term, .before = before});
    before = entry.key;
  }
  return terms;
}

/// The configuration in force at the hint of what is committed, and those behind it.
std::vector<PlacedConfiguration> configurations_of(const RaftCluster::Disk& disk) {
  std::vector<PlacedConfiguration> found{{disk.start.index, disk.start_configuration}};
  for (const auto& [index, entry] : disk.entries) {
    if (!changes_configuration(entry)) continue;
    if (index <= disk.hard.commit) found.clear();
    found.push_back({index, *decode_configuration(entry.payload)});
  }
  return found;
}

}  // namespace

std::string describe(const RaftMessage& message) {
  return fmt::format("{}>{} t{} {}", message.from, message.to, message.term,
                     std::visit(Describer(), message.body));
}

RaftCluster::RaftCluster(std::vector<MemberId> voters, std::vector<MemberId> learners,
                         Options options)
    : options_(options),
      random_(options.seed),
      first_configuration_{std::move(voters), std::move(learners)} {
  for (const MemberId id : first_configuration_.members()) {
    nodes_[id].disk.start_configuration = first_configuration_;
    start(id);
  }
}

void RaftCluster::add_node(MemberId id) {
  // It learns from others who takes part.
  nodes_[id].disk.start_configuration = first_configuration_;
  start(id);
}

void RaftCluster::start(MemberId id) {
  Node& node = nodes_.at(id);
  const Disk& disk = node.disk;
  const LogIndex known = std::max(disk.hard.commit, disk.start.index);
  Raft::Stored stored{
      .hard = disk.hard,
      .log = {.start = disk.start, .terms = terms_of(disk, known), .base = disk.start, .tail = {}},
      .configurations = configurations_of(disk)};
  stored.hard.commit = known;
  node.state = disk.start_state;
  node.applied = known;
  for (const auto& [index, entry] : disk.entries) {
    if (index > known) {
      stored.log.tail.push_back(entry);
    } else {
      stored.log.base = entry.key;
      if (entry.key.type == EntryType::command)
        node.state += fmt::format("{} ", entry.payload.text());
    }
  }
  node.raft =
      std::make_unique<Raft>(RaftOptions{.self = id,
                                         .message_bytes_max = options_.message_bytes_max,
                                         .messages_in_flight_max = options_.messages_in_flight_max,
                                         .tail_bytes_max = options_.tail_bytes_max},
                             std::move(stored), random_);
  collect(id);
}

void RaftCluster::lose(MemberId id, int count) {
  auto& entries = nodes_.at(id).disk.entries;
  for (; count > 0 && !entries.empty(); --count) entries.erase(std::prev(entries.end()));
  consensus::HardState& hard = nodes_.at(id).disk.hard;
  if (!entries.empty()) hard.commit = std::min(hard.commit, entries.rbegin()->first);
}

void RaftCluster::crash(MemberId id) {
  nodes_.at(id).raft.reset();
  nodes_.at(id).writes.clear();
}

void RaftCluster::collect(MemberId id) {
  Node& node = nodes_.at(id);
  while (node.raft != nullptr && node.raft->has_output()) {
    node.raft->check_invariants();
    Raft::Output output = node.raft->take_output();
    for (RaftMessage& message : std::exchange(output.messages, {})) {
      event(id, describe(message));
      network_.push_back(std::move(message));
    }
    apply(node, output.committed);
    if (!output.committed.empty()) event(id, fmt::format("{} applied up to {}", id, node.applied));
    if (output.confirmed_round > node.confirmed_round)
      event(id, fmt::format("{} confirmed round {}", id, output.confirmed_round));
    node.confirmed_round = std::max(node.confirmed_round, output.confirmed_round);
    const auto loads = std::exchange(output.loads, {});
    const auto snapshots = std::exchange(output.snapshots, {});
    // What claims to be durable waits for all writes before it.
    if (output.stores_something() || !node.writes.empty()) {
      node.writes.push_back(std::move(output));
    } else {
      finish(id, output);
    }
    for (const Raft::Load& wanted : loads) load(id, wanted);
    for (const MemberId follower : snapshots) make_snapshot(id, follower);
  }
}

bool RaftCluster::persist(MemberId id) {
  Node& node = nodes_.at(id);
  if (node.writes.empty()) return false;
  Raft::Output output = std::move(node.writes.front());
  node.writes.pop_front();
  Disk& disk = node.disk;
  if (output.installed.has_value()) {
    disk.entries.clear();
    disk.start = output.installed->last;
    disk.start_configuration = output.installed->configuration;
    disk.start_state = node.state = output.installed->state.text();
    node.applied = disk.start.index;
  }
  if (!output.entries.empty()) {
    disk.entries.erase(disk.entries.lower_bound(output.entries.front().key.index),
                       disk.entries.end());
  }
  for (const LogEntry& entry : output.entries) disk.entries[entry.key.index] = entry;
  if (output.hard.has_value()) disk.hard = *output.hard;
  if (output.stores_something()) node.raft->persisted(output.durable);
  finish(id, output);
  collect(id);
  return true;
}

void RaftCluster::finish(MemberId id, Raft::Output& output) {
  for (RaftMessage& message : output.messages_once_durable) {
    event(id, describe(message));
    network_.push_back(std::move(message));
  }
}

void RaftCluster::apply(Node& node, const std::vector<LogEntry>& entries) {
  for (const LogEntry& entry : entries) {
    if (entry.key.type == EntryType::command)
      node.state += fmt::format("{} ", entry.payload.text());
    node.applied = entry.key.index;
  }
}

void RaftCluster::load(MemberId id, const Raft::Load& load) {
  Node& node = nodes_.at(id);
  std::vector<LogEntry> entries;
  for (auto at = node.disk.entries.upper_bound(load.behind); at != node.disk.entries.end(); ++at) {
    if (entries.size() == 3) break;
    entries.push_back(at->second);
  }
  event(id, fmt::format("{} reads {} for {}", id, entries.size(), load.follower));
  node.raft->loaded(load.follower, load.behind, std::move(entries));
}

void RaftCluster::make_snapshot(MemberId id, MemberId follower) {
  Node& node = nodes_.at(id);
  const auto last = node.disk.entries.find(node.applied);
  Configuration configuration = node.disk.start_configuration;
  for (const auto& [index, entry] : node.disk.entries) {
    if (index <= node.applied && changes_configuration(entry))
      configuration = *decode_configuration(entry.payload);
  }
  node.raft->send_snapshot(
      follower, {.last = last == node.disk.entries.end() ? node.disk.start : last->second.key,
                 .configuration = std::move(configuration),
                 .state = core::Bytes::copy(node.state)});
}

void RaftCluster::trim(MemberId id, std::uint64_t keep) {
  Node& node = nodes_.at(id);
  if (node.applied.value() <= node.disk.start.index.value() + keep) return;
  const LogIndex start(node.applied.value() - keep);
  Disk& disk = node.disk;
  for (const auto& [index, entry] : disk.entries) {
    if (index > start) break;
    if (changes_configuration(entry))
      disk.start_configuration = *decode_configuration(entry.payload);
    if (entry.key.type == EntryType::command)
      disk.start_state += fmt::format("{} ", entry.payload.text());
  }
  disk.start = disk.entries.at(start).key;
  disk.entries.erase(disk.entries.begin(), disk.entries.upper_bound(start));
  node.raft->trim(disk.start);
}

void RaftCluster::deliver(std::size_t at) {
  const RaftMessage message = network_[at];
  drop(at);
  const auto to = nodes_.find(message.to);
  if (to == nodes_.end() || to->second.raft == nullptr) return;
  to->second.raft->step(message);
  collect(message.to);
}

}  // namespace sentinel::test
