#pragma once
/// Clients of ours that work with a broker in a simulated world, and what they know of it.

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "test/support/sim_broker.h"

namespace sentinel::test {

struct Place {
  int partition = 0;
  std::int64_t offset = 0;
  friend auto operator<=>(const Place&, const Place&) = default;
};

/// What the clients know.
struct History {
  std::map<std::string, Place> acked;
  std::set<std::string> attempted;
  int producers_done = 0;
  std::map<Place, std::string> log;
  bool read_all = false;
  std::string error;
};

struct Workload {
  std::vector<NodeId> brokers;
  int partitions = 3;
  int batches = 25;  ///< Of each producer.
};

/// Makes the topic that all write to.
core::Task<void> create_topic(core::Shard* shard, Workload workload);
/// Sends batches of unique values, one after the other, until all were answered or given up.
core::Task<void> produce(core::Shard* shard, Workload workload, int id, std::uint64_t seed,
                         History* history);
/// Reads every partition from its start to its end.
core::Task<void> read_all(core::Shard* shard, Workload workload, History* history);

/// Nothing that was acknowledged is lost, doubled, or elsewhere; producers' order is kept.
void check(const History& history);

}  // namespace sentinel::test
