#include "net/kafka/node.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "core/call.h"

namespace sentinel::net::kafka {

namespace {
/// Tells the controller that a group has the members that were wanted.
core::Task<void> gate_settle(consensus::BrokerShard* broker, ControllerGate* gate,
                             consensus::GroupId group, std::uint64_t version) {
  // One that is not heard is told again.
  std::ignore = co_await gate->settle_group(broker->shard(), {group, version});
}

/// A stop waits for other nodes no longer than that.
constexpr core::Duration kHandOverTime = std::chrono::seconds(3);
/// Before others are asked again whether they can make up for a store.
constexpr core::Duration kRenewPause = std::chrono::seconds(1);
constexpr core::Duration kLongPause = std::chrono::seconds(30);
}  // namespace

struct Node::Seat {
  std::unique_ptr<ClusterEvents> events;
  std::unique_ptr<rpc::Peers> peers;
  std::unique_ptr<consensus::BrokerShard> broker;
  std::unique_ptr<ConnectionHost> connections;
};

Node::Node(std::vector<core::Shard*> shards, NodeOptions options, core::Log* log)
    : shards_(std::move(shards)),
      options_(std::move(options)),
      log_(log),
      renewals_(*shards_.front()) {
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
  if (!status) co_return std::unexpected(StartError{StartStep::data, std::move(status).error()});
  if (!options_.peers.empty()) status = co_await enter_cluster();
  if (!status) co_return std::unexpected(StartError{StartStep::cluster, std::move(status).error()});
  status = co_await open_seats();
  if (status && is_controller_damaged()) co_return co_await renew_controller();
  if (status && !directory_->identity().ready) status = co_await directory_->mark_ready();
  if (status && !directory_->identity().to_make.empty()) status = co_await directory_->note_made();
  if (status) {
    status = co_await start_seats();
    // Of the stores only the controller's has been read.
    if (!status && status.error().code == core::Errc::corruption && cluster_ != nullptr) {
      status = co_await renew({controllers_store(), status.error().message});
      if (status) co_return std::unexpected(StartError{.step = StartStep::again, .error = {}});
    }
  }
  if (!status) co_return std::unexpected(StartError{StartStep::data, std::move(status).error()});
  // Clients come in once the metadata are the cluster's; until then they go to others.
  if (options_.port == 0) status = co_await listen();
  if (!status) co_return std::unexpected(StartError{StartStep::network, std::move(status).error()});
  if (cluster_ != nullptr) {
    const auto numbers = co_await register_self();
    if (!numbers) co_return std::unexpected(StartError{StartStep::cluster, numbers.error()});
    const auto others = co_await adopt(*numbers);
    if (!others) co_return std::unexpected(StartError{StartStep::data, others.error()});
    if (*others) co_return std::unexpected(StartError{.step = StartStep::again, .error = {}});
    co_await cluster_->catch_up(*gate_);
  }
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    co_await core::call(*shards_.front(), *shards_[i], &consensus::BrokerShard::note_caught_up,
                        seats_[i]->broker.get());
  }
  if (listener_ == nullptr) status = co_await listen();
  if (!status) co_return std::unexpected(StartError{StartStep::network, std::move(status).error()});
  accept_clients();
  started_ = true;
  for (const auto& seat : seats_) {
    for (const consensus::StoreDamage& damage : seat->broker->damaged()) note_damage(damage);
  }
  for (consensus::StoreDamage& damage : std::exchange(found_early_, {}))
    note_damage(std::move(damage));
  co_return core::Result<void, StartError>();
}

core::Task<core::Result<consensus::StoreNumbers>> Node::register_self() {
  std::vector<rpc::Peers*> peers;
  for (const auto& seat : seats_) peers.push_back(seat->peers.get());
  cluster_->open_doors(*seats_.front()->broker, std::move(peers));
  co_return co_await cluster_->register_self(*gate_, client_address());
}

/// From here on it is known who this node is.
core::Task<core::Status> Node::enter_cluster() {
  cluster_ =
      std::make_unique<Cluster>(*shards_.front(), ClusterOptions{options_.peers, client_address()},
                                *directory_, static_cast<std::uint32_t>(shards_.size()), log_);
  SENTINEL_CO_CHECK(co_await cluster_->enter());
  const consensus::Identity& identity = directory_->identity();
  layout_.identity = identity;
  layout_.controllers = cluster_->controllers();
  config_.cluster_id = identity.cluster_id.to_string();
  co_return core::Status();
}

/// Where other nodes send this node's clients.
HostPort Node::client_address() const {
  HostPort address{.host = "localhost", .port = options_.port};
  if (listener_ != nullptr) address.port = listener_->port();
  for (const rpc::PeerAddress& peer : options_.peers) {
    if (peer.node_id == directory_->identity().node_id) address.host = peer.address.host;
  }
  if (!options_.advertise.has_value()) return address;
  address.host = options_.advertise->host;
  if (options_.advertise->port != 0) address.port = options_.advertise->port;
  return address;
}

core::Task<core::Status> Node::open_data() {
  const auto new_stores = static_cast<std::uint32_t>(shards_.size());
  auto directory =
      co_await consensus::DataDirectory::open(*shards_.front(), options_.data_directory,
                                              {.node_id = options_.node_id,
                                               .new_store_count = new_stores,
                                               .alone = options_.peers.empty()});
  if (!directory) co_return std::unexpected(std::move(directory).error());
  directory_ = std::move(*directory);
  const consensus::Identity& identity = directory_->identity();
  SENTINEL_CO_TRY(plan, plan_memory(options_.memory_bytes, new_stores, identity.numbers.stores));
  config_ = BrokerConfig{.node_id = identity.node_id,
                         .cluster_id = identity.cluster_id.to_string(),
                         .advertise = options_.advertise,
                         .auto_create_topics = options_.auto_create_topics,
                         .default_partitions = options_.default_partitions,
                         .memory = plan};
  layout_ = consensus::BrokerLayout{
      .data_directory = options_.data_directory,
      .identity = identity,
      .controllers = {.voters = {member_of(consensus::NodeId(identity.node_id), 1)},
                      .learners = {}},
      .create = !identity.ready,
      .memtable_bytes = std::min(plan.memtable, options_.memtable_bytes_max),
      .cache_bytes = plan.cache,
      .read_ahead = {.bytes_max = plan.read_ahead},
      .wal = options_.wal,
      .raft = options_.raft,
      .cleaning_gather = options_.cleaning_gather,
      .sequence_patience = options_.sequence_patience,
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
  core::Shard& shard = *node->shards_[index];
  if (node->cluster_ != nullptr) {
    seat.events = std::make_unique<ClusterEvents>(shard, *node->cluster_);
    seat.peers =
        std::make_unique<rpc::Peers>(shard, node->cluster_->self(), *seat.events, node->log_);
  }
  auto broker =
      co_await consensus::BrokerShard::open(shard, node->layout_, count, seat.peers.get());
  if (!broker) co_return std::unexpected(std::move(broker).error());
  seat.broker = std::move(*broker);
  if (seat.peers != nullptr) seat.peers->attach(seat.broker->raft());
  seat.connections = std::make_unique<ConnectionHost>(node->config_, *seat.broker, node->log_);
  co_return core::Status();
}

/// The controller comes last: it publishes to all shards.
core::Task<core::Status> Node::start_seats() {
  Seat& front = *seats_.front();
  gate_ = std::make_unique<ControllerGate>(*front.broker, front.peers.get());
  config_.controller = gate_.get();
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
  if (node->cluster_ != nullptr) {
    Cluster* cluster = node->cluster_.get();
    rpc::Peers* peers = seat.peers.get();
    seat.events->attach(*seat.broker, *brokers.front(), *node->gate_);
    consensus::BrokerShard* broker = seat.broker.get();
    broker->on_settled = [broker, gate = node->gate_.get()](consensus::GroupId group,
                                                            std::uint64_t version) {
      broker->report_settled(gate_settle(broker, gate, group, version));
    };
    broker->on_damage = [broker, node, index](consensus::StoreDamage damage) {
      broker->run(report_damage(node, index, std::move(damage)));
    };
    broker->catch_up = [broker, gate = node->gate_.get()] {
      return gate->catch_up(broker->shard());
    };
    peers->connect(cluster->addresses(*seat.broker->image()));
    seat.broker->on_image = [cluster, peers, index](const consensus::MetadataImage& image) {
      peers->connect(cluster->addresses(image));
      if (index == 0) cluster->note_image(image);
    };
    seat.broker->on_led = [cluster](const std::vector<consensus::GroupLeader>& led) {
      cluster->tell_leaders(led);
    };
  }
  co_return co_await seat.broker->start(std::move(brokers));
}

// Stores that are damaged.

std::uint32_t Node::controllers_store() const {
  return layout_.identity.numbers.store_of(consensus::kControllerGroup);
}

/// Without the controller's store nothing goes; what else is damaged is seen to while the node
/// runs.
bool Node::is_controller_damaged() const {
  const auto& damaged = seats_.front()->broker->damaged();
  return std::ranges::find(damaged, controllers_store(), &consensus::StoreDamage::store) !=
         damaged.end();
}

core::Task<core::Result<void, StartError>> Node::renew_controller() {
  const auto& damaged = seats_.front()->broker->damaged();
  const core::Status renewed = co_await renew(
      *std::ranges::find(damaged, controllers_store(), &consensus::StoreDamage::store));
  if (!renewed) co_return std::unexpected(StartError{StartStep::data, renewed.error()});
  co_return std::unexpected(StartError{.step = StartStep::again, .error = {}});
}

core::Task<core::Status> Node::renew(consensus::StoreDamage damage) {
  // Two nodes decide nothing without each other.
  if (options_.peers.size() < 3) co_return core::fail(core::Errc::corruption, damage.what);
  if (log_ != nullptr)
    log_->write(core::LogLevel::error, "store {}: {}", damage.store, damage.what);
  const auto number = co_await cluster_->number_for(damage.store);
  if (!number && number.error().code == core::Errc::refused) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{}, and {}", damage.what, number.error().message));
  }
  if (!number) co_return std::unexpected(number.error());
  co_return co_await directory_->renew_store(damage.store, *number);
}

/// The cluster may have given numbers that this node has not heard of: the members that it has been
/// in the groups of those stores are gone. Whether there are any.
core::Task<core::Result<bool>> Node::adopt(consensus::StoreNumbers numbers) {
  bool others = false;
  for (const consensus::StoreNumber& each : numbers.renewed) {
    if (directory_->identity().numbers.number_of(each.store) == each.number) continue;
    SENTINEL_CO_CHECK(co_await directory_->renew_store(each.store, each.number));
    others = true;
  }
  co_return others;
}

core::Task<void> Node::report_damage(Node* node, std::size_t index, consensus::StoreDamage damage) {
  co_await core::call(*node->shards_[index], *node->shards_.front(), &Node::note_damage_here, node,
                      std::move(damage));
}

core::Task<bool> Node::note_damage_here(Node* node, consensus::StoreDamage damage) {
  node->note_damage(std::move(damage));
  co_return true;
}

/// Once the cluster has given a number for a store, its groups don't know this node any more: the
/// start would wait for their metadata in vain.
void Node::note_damage(consensus::StoreDamage damage) {
  if (!started_) {
    found_early_.push_back(std::move(damage));
    return;
  }
  const bool is_new = renewing_.insert(damage.store).second;
  if (is_new && !renewals_.cancelled()) renewals_.spawn(renew_while_running(std::move(damage)));
}

/// Serves what is whole until others can make up for the rest.
core::Task<void> Node::renew_while_running(consensus::StoreDamage damage) {
  if (log_ != nullptr)
    log_->write(core::LogLevel::error, "store {}: {}", damage.store, damage.what);
  for (bool told = false; !renewals_.cancelled();) {
    const auto number = co_await cluster_->number_for(*gate_, damage.store);
    if (number) {
      const core::Status renewed = co_await directory_->renew_store(damage.store, *number);
      if (!renewed) {
        shards_.front()->fail(core::ExitCode::io_failed, renewed.error().message);
      } else if (!std::exchange(restarts_, true) && options_.restart) {
        options_.restart();
      }
      co_return;
    }
    const bool only_copy = number.error() == consensus::Errc::only_copy;
    if (only_copy && log_ != nullptr && !std::exchange(told, true)) {
      log_->write(core::LogLevel::error,
                  "store {} is kept as it is: there are topics in it that have less than three "
                  "replicas",
                  damage.store);
    }
    co_await core::sleep_for(*shards_.front(), only_copy ? kLongPause : kRenewPause,
                             renewals_.token());
  }
}

core::Task<core::Status> Node::listen() {
  auto listener = co_await Listener::open(*shards_.front(), core::Address::any(options_.port));
  if (!listener) co_return std::unexpected(std::move(listener).error());
  listener_ = std::move(*listener);
  co_return core::Status();
}

void Node::accept_clients() {
  std::vector<ConnectionHost*> hosts;
  for (const auto& seat : seats_) hosts.push_back(seat->connections.get());
  port_ = listener_->port();
  acceptor_ =
      std::make_unique<Acceptor>(*shards_.front(), std::move(listener_), std::move(hosts), log_);
}

core::Task<void> Node::close() {
  core::Shard& here = *shards_.front();
  renewals_.cancel();
  if (gate_ != nullptr && cluster_ != nullptr) {
    for (std::size_t i = 0; i < shards_.size(); ++i)
      co_await core::call(here, *shards_[i], &Node::hand_over_there, this, i);
  }
  if (gate_ != nullptr) gate_->close();
  if (acceptor_ != nullptr) co_await acceptor_->close();
  if (listener_ != nullptr) co_await listener_->close();
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    co_await core::call(here, *shards_[i], &Node::close_connections_there, this, i);
  }
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    co_await core::call(here, *shards_[i], &Node::close_peers_there, this, i);
  }
  // What it has asked others has ended with the connections to them.
  co_await renewals_.close();
  if (cluster_ != nullptr) co_await cluster_->close();
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

core::Task<bool> Node::hand_over_there(Node* node, std::size_t index) {
  consensus::BrokerShard& broker = *node->seats_[index]->broker;
  co_await broker.hand_over(broker.shard().deadline_in(kHandOverTime));
  co_return true;
}

core::Task<bool> Node::close_peers_there(Node* node, std::size_t index) {
  Seat& seat = *node->seats_[index];
  if (seat.peers != nullptr) co_await seat.peers->close();
  co_return true;
}

core::Task<bool> Node::close_seat_there(Node* node, std::size_t index) {
  Seat& seat = *node->seats_[index];
  if (seat.broker != nullptr) co_await seat.broker->close();
  co_return true;
}

}  // namespace sentinel::net::kafka
