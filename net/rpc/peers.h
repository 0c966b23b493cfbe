#pragma once
/// One shard's connections with other nodes, in both directions.
///
/// A group's messages go from the shard that it lives on here straight to the one that it lives on
/// there, on a connection between the two. Connections are made when they are first needed and then
/// kept up. Each direction has its own: what a node sends travels on the one that it made.

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "consensus/multi_raft.h"
#include "core/log.h"
#include "core/scope.h"
#include "net/flow_budget.h"
#include "net/rpc/handshake.h"
#include "net/rpc/peer_link.h"
#include "net/socket.h"

namespace sentinel::net::rpc {

/// What nodes say to each other beside the replicas of groups. On the shard of the connection.
class PeerEvents {
 public:
  virtual core::Task<core::Bytes> on_request(std::int32_t from, core::Bytes request) = 0;
  virtual core::Task<void> on_leaders(std::int32_t from, core::Bytes note) = 0;
  /// What is sent to this node arrives from now on.
  virtual void on_link_up(std::int32_t node) = 0;

 protected:
  ~PeerEvents() = default;
};

class Peers final : public consensus::PeerTransport, public PeerLink::Owner {
 public:
  /// References outlive it; `log` may be null.
  Peers(core::Shard& shard, LocalNode self, PeerEvents& events, core::Log* log);
  ~Peers();
  [[nodiscard]] core::Shard& shard() { return shard_; }
  /// Where groups' messages go. Before connect().
  void attach(consensus::MultiRaft& raft) { raft_ = &raft; }
  /// Connects to these nodes; known ones get new addresses.
  void connect(const std::vector<PeerAddress>& addresses);
  core::Task<void> close();

  void send(consensus::NodeId to, consensus::GroupId group, Kind kind,
            core::Chain message) override;
  /// A note for a node, to the shard with the number of this one.
  void send_leaders(std::int32_t to, core::Bytes note);
  core::Task<core::Result<core::Bytes>> call(std::int32_t to, core::Bytes request,
                                             core::Deadline deadline);

  void on_link_up(PeerLink& link, const Welcome& welcome) override;
  /// Serves a connection that another node has made, whose handshake is done, to its end.
  static core::Task<bool> serve(Peers* self, core::Handle handle, std::int32_t node);

 private:
  class Inbound;
  struct Layout {
    std::uint32_t shards = 0;
    std::uint32_t stores = 0;
  };

  PeerLink* link_to(std::int32_t node, std::uint32_t shard);

  core::Shard& shard_;
  const LocalNode self_;
  PeerEvents& events_;
  core::Log* const log_;
  consensus::MultiRaft* raft_ = nullptr;
  FlowBudget budget_;
  std::map<std::int32_t, HostPort> addresses_;
  std::map<std::int32_t, Layout> layouts_;
  std::map<std::pair<std::int32_t, std::uint32_t>, std::unique_ptr<PeerLink>> links_;
  std::vector<Inbound*> inbound_;
  core::Signal inbound_ended_;
  core::RateLimit bad_peers_;
  bool closing_ = false;
};

}  // namespace sentinel::net::rpc
