#pragma once
/// What one run of the simulator is made of: the cluster, what its clients do, and what goes wrong
/// when. All of it is drawn from the seed before the run, so that a run can be repeated with less
/// of it.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace sentinel::simulator {

using Millis = std::chrono::milliseconds;

enum class FaultKind : std::uint8_t {
  // Processes.
  crash,      ///< Node a dies, and starts again; `variant` says what becomes of its writes.
  crash_all,  ///< All at once: a power cut.
  pause,      ///< Node a gets no turns.
  freeze,     ///< Node a gets no turns, and then sees no other node.
  slow_node,  ///< Node a takes long for everything.
  // Network.
  isolate,       ///< Node a sees no other node.
  cut_one_way,   ///< Nothing comes from a to b.
  cut_pair,      ///< a and b don't see each other: a bridge, among three.
  cut_ring,      ///< Each node sees its neighbours only.
  cut_clients,   ///< Clients don't see node a.
  reset,         ///< Connections between a and b break.
  flap,          ///< a and b lose each other again and again.
  slow_network,  ///< Everything takes long.
  // Disks.
  slow_disk,
  sync_error,   ///< A sync of node a's log fails: it ends itself.
  stuck_write,  ///< One write to the log of node a takes long, while others go on.
  disk_full,
  read_error,  ///< A read of a table of node a fails.
  rot,         ///< Bytes change on the disk of node a while it is down.
  wipe,        ///< Node a comes back with an empty disk.
  stale,       ///< Node a comes back with an old copy of its disk, and must be refused.
  swap,        ///< Nodes a and b come back with each other's disks, and must be refused.
  // Clocks.
  clock_jump,   ///< Node a's wall clock is off.
  clock_drift,  ///< Node a's time runs at another rate.
  // What operators do.
  join,       ///< A node that was not there before comes.
  move,       ///< Partitions move to other nodes.
  elect,      ///< Preferred leaders lead.
  transfer,   ///< A partition's first replica becomes another one, and leads.
  grow,       ///< The topic gets another partition.
  topics,     ///< Another topic is made or deleted.
  trim,       ///< Old records of a partition are deleted.
  come_back,  ///< A replica leaves a partition and is to come back, while not all see each other.
};
inline constexpr std::size_t kFaultKinds = static_cast<std::size_t>(FaultKind::come_back) + 1;
std::string_view to_string(FaultKind kind);

struct Fault {
  Millis at{};
  FaultKind kind = FaultKind::crash;
  std::uint32_t a = 1;  ///< A node, from 1.
  std::uint32_t b = 2;
  Millis lasts{};
  std::uint64_t variant = 0;  ///< What is left to choose is drawn from it.
};

struct Scenario {
  std::uint64_t seed = 0;
  std::uint32_t nodes = 3;    ///< Founders.
  std::uint32_t joiners = 0;  ///< Nodes that a fault may bring in.
  std::uint32_t shards = 2;   ///< Of each node.
  std::int32_t partitions = 8;
  std::uint32_t producers = 3;
  std::uint32_t pollers = 2;
  double sends_per_second = 16;  ///< Of all producers together.
  std::uint32_t in_flight = 5;
  double weak_sends = 0;  ///< How many of the sends ask for less than acks=all.
  double large_values = 0.02;
  bool small_windows = false;  ///< Of Raft, so that slow paths are taken.
  bool small_files = true;
  double misdelivered = 0;  ///< How many of the messages between replicas are lost, or come again.
  bool roving = false;      ///< Readers go on with another client, which asks another node first.
  bool keyed = false;       ///< There is a topic that keeps the latest record of each key, too.
  bool core_only = false;   ///< In the end one node stays away.
  Millis lasts{30'000};
  std::vector<Fault> faults;

  [[nodiscard]] bool has(FaultKind kind) const {
    return std::ranges::find(faults, kind, &Fault::kind) != faults.end();
  }
};

enum class Profile : std::uint8_t {
  mix,       ///< Swarm: each seed has other sizes and another subset of faults; or `moving`.
  moving,    ///< One or two partitions of five nodes leave some, and soon come back to them.
  standard,  ///< Three nodes of two shards, 8 partitions, 20 operations a second, a fault each 2 s.
  calm,      ///< The same without faults.
};

Scenario draw(std::uint64_t seed, Profile profile);

/// A line a setting and a line a fault; what read_scenario() reads.
void write_scenario(std::ostream& out, const Scenario& scenario);
core::Result<Scenario> read_scenario(std::istream& in);

}  // namespace sentinel::simulator
