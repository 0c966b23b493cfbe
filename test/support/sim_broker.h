#pragma once
/// A broker, or a cluster of them, with clients of ours in a simulated world, and what the clients
/// know of it.

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/sync.h"
#include "net/kafka/node.h"
#include "test/support/sim_world.h"

namespace sentinel::test {

inline constexpr std::uint16_t kBrokerPort = 9092;
inline constexpr std::uint16_t kPeerPort = 9192;

/// The broker as the server program composes it, with small files. With other nodes it is one of a
/// cluster.
class BrokerProgram final : public NodeProgram {
 public:
  explicit BrokerProgram(const NodeContext& context, std::vector<NodeId> cluster = {},
                         consensus::RaftOptions raft = {});

  core::Task<void> run(core::Shard& shard) override;
  void request_stop() override;
  /// Why the broker could not start; empty when it could.
  [[nodiscard]] const std::string& error() const { return error_; }
  /// Null until it has started.
  [[nodiscard]] net::kafka::Node* broker() { return node_.get(); }

 private:
  const NodeContext context_;
  std::unique_ptr<core::Log> log_;  // With SENTINEL_SIM_LOG in the environment.
  const std::vector<NodeId> cluster_;
  const consensus::RaftOptions raft_;
  core::Signal stop_;
  bool stopping_ = false;
  std::string error_;
  std::unique_ptr<net::kafka::Node> node_;
};

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
