#pragma once
/// A broker in a simulated world, alone or one of a cluster.

#include <cstdint>
#include <memory>
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
  struct Options {
    std::vector<NodeId> cluster{};  ///< With this one; empty: a cluster of its own.
    consensus::RaftOptions raft{};
    core::Duration cleaning_gather = consensus::kCleaningGather;
    core::Duration sequence_patience = consensus::kSequencePatience;
    std::size_t memtable_bytes = std::size_t{48} << 10;
    std::uint64_t segment_bytes = std::uint64_t{128} << 10;
  };
  explicit BrokerProgram(const NodeContext& context) : BrokerProgram(context, Options()) {}
  BrokerProgram(const NodeContext& context, Options options);

  core::Task<void> run(core::Shard& shard) override;
  void request_stop() override;
  /// Why the broker could not start; empty when it could.
  [[nodiscard]] const std::string& error() const { return error_; }
  /// Null until it has started.
  [[nodiscard]] net::kafka::Node* broker() { return node_.get(); }

 private:
  net::kafka::NodeOptions node_options();

  const NodeContext context_;
  std::unique_ptr<core::Log> log_;  // With SENTINEL_SIM_LOG in the environment.
  const Options options_;
  core::Signal stop_;
  bool stopping_ = false;
  bool restarting_ = false;
  std::string error_;
  std::unique_ptr<net::kafka::Node> node_;
};

}  // namespace sentinel::test
