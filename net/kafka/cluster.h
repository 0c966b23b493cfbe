#pragma once
/// This node among the others: how a cluster is founded, how a node joins one, and what is kept up
/// between nodes while they run.
///
/// Founding. Nodes that belong to no cluster ask the others of their --peers who they are. When all
/// of them are there and new, the one with the lowest id founds the cluster: it writes down an id
/// and who the founders are, node by node with its disk. The others ask until one can tell them,
/// and write the same down. Whoever comes with another disk is no founder: it is a new member, that
/// has none of what the disk before it has promised, and gets its number from the controller. So a
/// disk that was lost can never be taken for one that is merely empty.
///
/// Running. Every node registers with the controller at each start, with its addresses and the
/// count of its starts, and tells the others which groups it leads.

#include <memory>
#include <optional>
#include <vector>

#include "consensus/broker_shard.h"
#include "consensus/data_directory.h"
#include "core/log.h"
#include "core/scope.h"
#include "net/kafka/controller_gate.h"
#include "net/rpc/peer_listener.h"
#include "net/rpc/peers.h"

namespace sentinel::net::kafka {

struct ClusterOptions {
  /// All nodes, this one among them: where it listens for the others.
  std::vector<rpc::PeerAddress> peers;
  /// Where clients reach this node, as far as it is known before it listens.
  HostPort client_address;
};

/// On shard 0.
class Cluster {
 public:
  /// References outlive it; `log` may be null.
  Cluster(core::Shard& shard, ClusterOptions options, consensus::DataDirectory& directory,
          std::uint32_t shard_count, core::Log* log);
  ~Cluster();

  /// Listens for other nodes and takes part in a cluster: founds it, finds it, or joins it. Waits
  /// for other nodes for as long as it takes. Errors are one sentence.
  core::Task<core::Status> enter();
  /// What other nodes are told of this one; after enter().
  [[nodiscard]] const rpc::LocalNode& self() const { return self_; }
  [[nodiscard]] consensus::Configuration controllers() const;
  /// Nodes that are not among the peers of the flags are reached as the metadata says.
  [[nodiscard]] std::vector<rpc::PeerAddress> addresses(
      const consensus::MetadataImage& image) const;

  /// The shards are open: lets other nodes in. `peers[i]` belongs to shard i.
  void open_doors(consensus::BrokerShard& broker, std::vector<rpc::Peers*> peers);
  /// Registers this node, with the address that clients reach it at. Waits for a controller for as
  /// long as it takes. Returns the numbers that the cluster knows. Errc::refused for an old copy of
  /// a data directory.
  core::Task<core::Result<consensus::StoreNumbers>> register_self(ControllerGate& gate,
                                                                  HostPort client_address);
  /// Resolves when the metadata here are those of the cluster, and no longer those of an earlier
  /// life; for a node that has the numbers that the cluster knows.
  core::Task<void> catch_up(ControllerGate& gate);
  /// Asks for a number for a store that is to be made anew, before the stores are open. Waits until
  /// the others can make up for it, for as long as it takes. Errc::refused when they never can.
  core::Task<core::Result<std::int32_t>> number_for(std::uint32_t store);
  /// The same while the node runs, at most for a while: Controller::register_node().
  core::Task<consensus::Result<std::int32_t>> number_for(ControllerGate& gate, std::uint32_t store);
  /// The metadata has changed.
  void note_image(const consensus::MetadataImage& image);
  /// This node leads groups that it has not led before.
  void tell_leaders(const std::vector<consensus::GroupLeader>& led);
  /// Another node can be told something again.
  void on_link_up(std::int32_t node);
  core::Task<void> close();

 private:
  struct Asked {
    rpc::PeerAddress peer;
    std::optional<rpc::Welcome> welcome;
    std::optional<rpc::HandshakeError> error;
  };

  core::Task<core::Status> listen();
  core::Task<bool> note_met(core::Uuid disk, consensus::Boot boot);
  core::Task<std::vector<Asked>> ask_all();
  core::Task<void> ask(Asked* asked);
  core::Result<bool> check_answers(const std::vector<Asked>& asked);
  core::Task<core::Result<bool>> found_or_find(const std::vector<Asked>& asked);
  core::Task<core::Result<bool>> found(const std::vector<Asked>& asked);
  core::Task<core::Status> get_number();
  core::Task<core::Result<consensus::BrokerNode>> register_from_outside(rpc::PeerAddress peer,
                                                                        consensus::BrokerNode node);
  void introduce();
  void note_no_controller();
  void note_waiting(const std::vector<Asked>& asked);
  [[nodiscard]] const rpc::PeerAddress* own_address() const;
  [[nodiscard]] consensus::BrokerNode description() const;
  [[nodiscard]] consensus::BrokerNode description_without(std::uint32_t store) const;
  [[nodiscard]] std::string removed_message() const;

  core::Shard& shard_;
  const ClusterOptions options_;
  consensus::DataDirectory& directory_;
  const std::uint32_t shard_count_;
  core::Log* const log_;
  rpc::LocalNode self_;
  std::unique_ptr<rpc::PeerListener> listener_;
  consensus::BrokerShard* broker_ = nullptr;
  std::vector<rpc::Peers*> peers_;
  HostPort client_address_;
  core::RateLimit waiting_lines_;
  std::optional<core::TimePoint> duplicate_until_;
};

/// What one shard does with what other nodes send.
class ClusterEvents final : public rpc::PeerEvents {
 public:
  /// `cluster` and `gate` live on shard 0, `broker` on this one.
  ClusterEvents(core::Shard& shard, Cluster& cluster) : shard_(shard), cluster_(cluster) {}
  void attach(consensus::BrokerShard& broker, consensus::BrokerShard& front, ControllerGate& gate) {
    broker_ = &broker;
    front_ = &front;
    gate_ = &gate;
  }
  core::Task<core::Bytes> on_request(std::int32_t from, core::Bytes request) override;
  core::Task<void> on_leaders(std::int32_t from, core::Bytes note) override;
  void on_link_up(std::int32_t node) override;

 private:
  static core::Task<core::Bytes> serve_there(ControllerGate* gate, core::Bytes request);

  core::Shard& shard_;
  Cluster& cluster_;
  consensus::BrokerShard* broker_ = nullptr;
  consensus::BrokerShard* front_ = nullptr;  // Of shard 0.
  ControllerGate* gate_ = nullptr;
};

}  // namespace sentinel::net::kafka
