#include "test/support/sim_broker.h"

#include <fmt/format.h>

#include <cstdlib>
#include <utility>

namespace sentinel::test {

using core::Shard;
using core::Task;
using net::kafka::Node;

BrokerProgram::BrokerProgram(const NodeContext& context, Options options)
    : context_(context), options_(std::move(options)), stop_(*context.shards.front()) {}

Task<void> BrokerProgram::run(Shard& shard) {
  if (shard.id() != 0) co_return;
  if (std::getenv("SENTINEL_SIM_LOG") != nullptr) {
    log_ = std::make_unique<core::Log>(core::LogLevel::debug, [id = context_.node](auto line) {
      fmt::print(stderr, "node {}: {}\n", id, line);
    });
  }
  for (bool again = true; again;) {
    again = false;
    auto opened = co_await Node::open(context_.shards, node_options(), log_.get());
    if (!opened) {
      again = opened.error().step == net::kafka::StartStep::again;
      if (again) continue;
      error_ = opened.error().error.message;
      co_return;
    }
    node_ = std::move(*opened);
    while (!stopping_ && !restarting_) co_await stop_.wait();
    co_await node_->close();
    node_.reset();
    again = std::exchange(restarting_, false) && !stopping_;
  }
}

net::kafka::NodeOptions BrokerProgram::node_options() {
  net::kafka::NodeOptions options;
  options.data_directory = "/data";
  options.port = kBrokerPort;
  options.memtable_bytes_max = options_.memtable_bytes;
  options.wal.segment_bytes = options_.segment_bytes;
  options.wal.first_segment_bytes = 16 << 10;
  options.wal.buffer_bytes = 32 << 10;
  options.raft = options_.raft;
  options.cleaning_gather = options_.cleaning_gather;
  options.sequence_patience = options_.sequence_patience;
  for (const NodeId node : options_.cluster) {
    options.peers.push_back({.node_id = static_cast<std::int32_t>(node),
                             .address = {.host = fmt::format("node-{}", node), .port = kPeerPort}});
  }
  if (!options_.cluster.empty()) options.node_id = static_cast<std::int32_t>(context_.node);
  options.restart = [this] {
    restarting_ = true;
    stop_.notify_all();
  };
  return options;
}

void BrokerProgram::request_stop() {
  stopping_ = true;
  stop_.notify_all();
}

}  // namespace sentinel::test
