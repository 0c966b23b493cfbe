#pragma once
/// A whole broker: data directory, stores, controller, connections and listener over a set of
/// shards. The server program and the simulator start the same one.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "consensus/broker_shard.h"
#include "consensus/data_directory.h"
#include "core/log.h"
#include "core/scope.h"
#include "net/kafka/cluster.h"
#include "net/kafka/connection_host.h"
#include "net/kafka/controller_gate.h"

namespace sentinel::net::kafka {

struct NodeOptions {
  std::string data_directory;
  std::uint16_t port = 9092;  ///< 0 picks a free one.
  /// Whose data it is; nothing: whoever's it is.
  std::optional<std::int32_t> node_id;
  /// The nodes of the cluster, this one among them; none: it is a cluster of its own.
  std::vector<rpc::PeerAddress> peers;
  std::optional<HostPort> advertise;
  bool auto_create_topics = true;
  std::int32_t default_partitions = 1;
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;          ///< See plan_memory().
  std::size_t memtable_bytes_max = std::size_t{32} << 20;       ///< Smaller in tests.
  lsm::WalOptions wal;                                          ///< Sizes only; smaller in tests.
  consensus::RaftOptions raft = {};                             ///< The same.
  core::Duration cleaning_gather = consensus::kCleaningGather;  ///< The same.
  core::Duration sequence_patience = consensus::kSequencePatience;  ///< The same.
  /// The node is to be closed and opened again: a store of it will be made anew then. Called at
  /// most once, on shards[0].
  std::function<void()> restart = {};
};

/// Which part of the start failed; the program's exit code depends on it. again: nothing has, but a
/// store was found damaged, and opening the node again makes it anew.
enum class StartStep : std::uint8_t { data, cluster, network, again };
struct StartError {
  StartStep step = StartStep::data;
  core::Error error;
};

class Node {
 public:
  /// Runs on shards[0]; the shards are connected (core::Shard::connect) and turn. `log` may be
  /// null. Resolves when the port listens.
  static core::Task<core::Result<std::unique_ptr<Node>, StartError>> open(
      std::vector<core::Shard*> shards, NodeOptions options, core::Log* log);
  ~Node();

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] const consensus::Identity& identity() const { return directory_->identity(); }
  /// Hands over what this node leads, stops taking requests, ends those in flight, and closes the
  /// stores. On shards[0].
  core::Task<void> close();

 private:
  /// What lives on one shard; made and closed there.
  struct Seat;

  Node(std::vector<core::Shard*> shards, NodeOptions options, core::Log* log);
  core::Task<core::Result<void, StartError>> start();
  core::Task<core::Status> open_data();
  core::Task<core::Status> open_seats();
  [[nodiscard]] std::uint32_t controllers_store() const;
  [[nodiscard]] bool is_controller_damaged() const;
  core::Task<core::Result<void, StartError>> renew_controller();
  core::Task<core::Status> renew(consensus::StoreDamage damage);
  core::Task<core::Result<bool>> adopt(consensus::StoreNumbers numbers);
  core::Task<void> renew_while_running(consensus::StoreDamage damage);
  void note_damage(consensus::StoreDamage damage);
  static core::Task<bool> note_damage_here(Node* node, consensus::StoreDamage damage);
  static core::Task<void> report_damage(Node* node, std::size_t index,
                                        consensus::StoreDamage damage);
  core::Task<void> open_seat(std::size_t index, core::Status* status);
  core::Task<core::Status> start_seats();
  core::Task<core::Status> enter_cluster();
  core::Task<core::Result<consensus::StoreNumbers>> register_self();
  core::Task<core::Status> listen();
  void accept_clients();
  [[nodiscard]] HostPort client_address() const;

  static core::Task<core::Status> open_seat_there(Node* node, std::size_t index);
  static core::Task<core::Status> start_seat_there(Node* node, std::size_t index);
  static core::Task<bool> close_connections_there(Node* node, std::size_t index);
  static core::Task<bool> hand_over_there(Node* node, std::size_t index);
  static core::Task<bool> close_peers_there(Node* node, std::size_t index);
  static core::Task<bool> close_seat_there(Node* node, std::size_t index);

  const std::vector<core::Shard*> shards_;
  const NodeOptions options_;
  core::Log* const log_;
  BrokerConfig config_;
  consensus::BrokerLayout layout_;
  std::unique_ptr<consensus::DataDirectory> directory_;
  std::vector<std::unique_ptr<Seat>> seats_;
  std::unique_ptr<Cluster> cluster_;  // Null for a cluster of one.
  std::unique_ptr<ControllerGate> gate_;
  std::unique_ptr<Listener> listener_;  // Until it belongs to the acceptor.
  std::unique_ptr<Acceptor> acceptor_;
  std::uint16_t port_ = 0;
  bool started_ = false;
  std::vector<consensus::StoreDamage> found_early_;  ///< Before it had started.
  std::set<std::uint32_t> renewing_;                 ///< Stores whose damage is being seen to.
  bool restarts_ = false;
  core::TaskScope renewals_;
};

}  // namespace sentinel::net::kafka
