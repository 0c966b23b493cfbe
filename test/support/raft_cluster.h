#pragma once
/// Several replicas of one group with their disks and the network between them: the Raft state
/// machine is real, all else is as simple as it can be. The test decides what happens when.

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/raft.h"

namespace sentinel::test {

class RaftCluster {
 public:
  using LogEntry = consensus::LogEntry;
  using LogIndex = consensus::LogIndex;
  using MemberId = consensus::MemberId;
  using Raft = consensus::Raft;
  using RaftMessage = consensus::RaftMessage;

  struct Options {
    std::uint64_t seed = 1;
    std::size_t message_bytes_max = std::size_t{1} << 20;
    std::size_t messages_in_flight_max = 4;
    std::size_t tail_bytes_max = std::size_t{1} << 20;
  };

  /// What survives a crash.
  struct Disk {
    consensus::HardState hard;
    consensus::EntryKey start;
    consensus::Configuration start_configuration;
    std::string start_state;  ///< Of the state machine, as of `start`.
    std::map<LogIndex, LogEntry> entries;
  };
  struct Node {
    Disk disk;
    std::unique_ptr<Raft> raft;       ///< Null while the node is down.
    std::deque<Raft::Output> writes;  ///< On their way to the disk.
    std::string state;                ///< Payloads applied, joined by spaces.
    LogIndex applied;
    std::uint64_t confirmed_round = 0;
  };

  RaftCluster(std::vector<MemberId> voters, std::vector<MemberId> learners, Options options);

  /// A node that is in no configuration yet.
  void add_node(MemberId id);
  [[nodiscard]] Node& node(MemberId id) { return nodes_.at(id); }
  [[nodiscard]] Raft& raft(MemberId id) { return *nodes_.at(id).raft; }
  [[nodiscard]] std::map<MemberId, Node>& nodes() { return nodes_; }
  [[nodiscard]] bool is_up(MemberId id) { return nodes_.at(id).raft != nullptr; }

  /// Takes a node's outputs, after whatever was done to it. Writes wait for persist().
  void collect(MemberId id);
  /// Completes a node's oldest write; false when there is none.
  bool persist(MemberId id);
  /// Hands over the message at a place in the network, or drops it.
  void deliver(std::size_t at);
  void drop(std::size_t at) { network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(at)); }
  [[nodiscard]] std::deque<RaftMessage>& network() { return network_; }

  void crash(MemberId id);
  void start(MemberId id);
  /// The disk of a node that is down loses its last entries.
  void lose(MemberId id, int count);
  /// Gives up what a node has applied, but for the last `keep` entries.
  void trim(MemberId id, std::uint64_t keep);

  /// Told of what nodes do, for transcripts; may be empty.
  std::function<void(MemberId, std::string)> on_event;

 private:
  void finish(MemberId id, Raft::Output& output);
  void apply(Node& node, const std::vector<LogEntry>& entries);
  void load(MemberId id, const Raft::Load& load);
  void make_snapshot(MemberId id, MemberId follower);
  void event(MemberId id, std::string text) const {
    if (on_event) on_event(id, std::move(text));
  }

  Options options_;
  core::Random random_;
  std::map<MemberId, Node> nodes_;
  std::deque<RaftMessage> network_;
  consensus::Configuration first_configuration_;
};

/// "1>2 append 3/1 +2 commit 3": a message for people.
std::string describe(const consensus::RaftMessage& message);

}  // namespace sentinel::test
