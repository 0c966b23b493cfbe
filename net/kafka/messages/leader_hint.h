#pragma once
/// What Produce and Fetch responses say about a partition that has moved (KIP-951): its new leader,
/// and how to reach that broker.

#include <cstdint>
#include <optional>
#include <string_view>

namespace sentinel::net::kafka {

struct LeaderIdAndEpoch {
  std::int32_t leader_id = -1;
  std::int32_t leader_epoch = -1;

  friend bool operator==(const LeaderIdAndEpoch&, const LeaderIdAndEpoch&) = default;

  static void fields(auto& self, auto& wire) {
    wire.field("LeaderId", self.leader_id);
    wire.field("LeaderEpoch", self.leader_epoch);
  }
};

struct NodeEndpoint {
  std::int32_t node_id = 0;
  std::string_view host;
  std::int32_t port = 0;
  std::optional<std::string_view> rack;

  static void fields(auto& self, auto& wire) {
    wire.field("NodeId", self.node_id);
    wire.field("Host", self.host);
    wire.field("Port", self.port);
    wire.field("Rack", self.rack);
  }
};

}  // namespace sentinel::net::kafka
