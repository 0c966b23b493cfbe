#include "net/kafka/node.h"

#include <algorithm>

#include "core/call.h"

namespace sentinel::net::kafka {

struct Node::Seat {
  std::unique_ptr<consensus::BrokerShard> broker;
  std::unique_ptr<ConnectionHost> connections;
};

Node::Node(std::vector<core::Shard*> shards, NodeOptions options, core::Log* log)
    : shards_(std::move(shards)), options_(std::move(options)), log_(log) {
  for (std::size_t i = 0; i < shards_.size(); ++i) seats_.push_back(std::make_unique<Seat>());
}

Node::~Node() = default;

core::Task<core::Result<std::unique_ptr<Node>, StartError>> Node::open(
    std::vector<core::Shard*> shards, NodeOptions options, core::Log* log) {
  std::unique_ptr<Node> node(new Node(std::move(shards), std::move(options), log));
  auto started = co_await node->start();
  if (!started) {
    co_await node->close();
    co_return std::unexpected(std::move(started).error());
  }
  co_return node;
}

core::Task<core::Result<void, StartError>> Node::start() {
  core::Status status = co_await open_data();
  if (status) status = co_await open_seats();
  if (status && !directory_->identity().ready) status = co_await directory_->mark_ready();
  if (status) status = co_await start_seats();
  if (!status) co_return std::unexpected(StartError{StartStep::data, std::move(status).error()});
  status = co_await listen();
  if (!status) co_return std::unexpected(StartError{StartStep::network, std::move(status).error()});
  co_return core::Result<void, StartError>();
}

core::Task<core::Status> Node::open_data() {
  constexpr std::int32_t kOnlyNode = 1;
  const auto new_stores = static_cast<std::uint32_t>(shards_.size());
  auto directory = co_await consensus::DataDirectory::open(
      *shards_.front(), options_.data_directory, kOnlyNode, new_stores);
  if (!directory) co_return std::unexpected(std::move(directory).error());
  directory_ = std::move(*directory);
  const consensus::Identity& identity = directory_->identity();
  SENTINEL_CO_TRY(plan, plan_memory(options_.memory_bytes, new_stores, identity.store_count));
  config_ = BrokerConfig{.node_id = identity.node_id,
                         .cluster_id = identity.cluster_id.to_string(),
                         .advertise = options_.advertise,
                         .auto_create_topics = options_.auto_create_topics,
                         .default_partitions = options_.default_partitions,
                         .memory = plan};
  layout_ = consensus::BrokerLayout{
      .data_directory = options_.data_directory,
      .identity = identity,
      .create = !identity.ready,
      .memtable_bytes = std::min(plan.memtable, options_.memtable_bytes_max),
      .cache_bytes = plan.cache,
      .read_ahead = {.bytes_max = plan.read_ahead},
      .wal = options_.wal,
      .log = log_};
  co_return core::Status();
}

/// All shards open their stores at the same time.
core::Task<core::Status> Node::open_seats() {
  std::vector<core::Status> statuses(shards_.size());
  core::TaskScope scope(*shards_.front());
  for (std::size_t i = 0; i < shards_.size(); ++i) scope.spawn(open_seat(i, &statuses[i]));
  co_await scope.join();
  for (core::Status& status : statuses) {
    SENTINEL_CO_CHECK(std::move(status));
  }
  co_return core::Status();
}

core::Task<void> Node::open_seat(std::size_t index, core::Status* status) {
  *status =
      co_await core::call(*shards_.front(), *shards_[index], &Node::open_seat_there, this, index);
}

core::Task<core::Status> Node::open_seat_there(Node* node, std::size_t index) {
  Seat& seat = *node->seats_[index];
  const auto count = static_cast<std::uint32_t>(node->shards_.size());
  auto broker = co_await consensus::BrokerShard::open(*node->shards_[index], node->layout_, count);
  if (!broker) co_return std::unexpected(std::move(broker).error());
  seat.broker = std::move(*broker);
  seat.connections = std::make_unique<ConnectionHost>(node->config_, *seat.broker, node->log_);
  co_return core::Status();
}

/// The controller comes last: it publishes to all shards.
core::Task<core::Status> Node::start_seats() {
  for (std::size_t i = shards_.size(); i-- > 0;) {
    SENTINEL_CO_CHECK(
        co_await core::call(*shards_.front(), *shards_[i], &Node::start_seat_there, this, i));
  }
  co_return core::Status();
}

core::Task<core::Status> Node::start_seat_there(Node* node, std::size_t index) {
  std::vector<consensus::BrokerShard*> brokers;
  std::vector<ConnectionHost*> hosts;
  for (const auto& seat : node->seats_) {
    brokers.push_back(seat->broker.get());
    hosts.push_back(seat->connections.get());
  }
  Seat& seat = *node->seats_[index];
  seat.connections->connect(std::move(hosts));
  co_return co_await seat.broker->start(std::move(brokers));
}

core::Task<core::Status> Node::listen() {
  auto listener = co_await Listener::open(*shards_.front(), core::Address::any(options_.port));
  if (!listener) co_return std::unexpected(std::move(listener).error());
  std::vector<ConnectionHost*> hosts;
  for (const auto& seat : seats_) hosts.push_back(seat->connections.get());
  acceptor_ =
      std::make_unique<Acceptor>(*shards_.front(), std::move(*listener), std::move(hosts), log_);
  co_return core::Status();
}

core::Task<void> Node::close() {
  core::Shard& here = *shards_.front();
  if (acceptor_ != nullptr) co_await acceptor_->close();
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    co_await core::call(here, *shards_[i], &Node::close_connections_there, this, i);
  }
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    co_await core::call(here, *shards_[i], &Node::close_seat_there, this, i);
  }
  if (directory_ != nullptr) co_await directory_->close();
}

core::Task<bool> Node::close_connections_there(Node* node, std::size_t index) {
  Seat& seat = *node->seats_[index];
  if (seat.connections != nullptr) co_await seat.connections->close();
  co_return true;
}

core::Task<bool> Node::close_seat_there(Node* node, std::size_t index) {
  Seat& seat = *node->seats_[index];
  if (seat.broker != nullptr) co_await seat.broker->close();
  co_return true;
}

}  // namespace sentinel::net::kafka
