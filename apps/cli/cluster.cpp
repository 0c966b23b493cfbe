/// The cluster command: status.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "apps/cli/format.h"
#include "apps/cli/session.h"

namespace sentinel::apps {

namespace {

using core::ExitCode;
using net::kafka::ClusterView;
using net::kafka::PartitionView;

struct NodeStatus {
  std::string address;  ///< Empty for one that is not there.
  std::size_t leads = 0;
  std::size_t has = 0;
};

/// What the metadata of all topics add up to.
struct ClusterStatus {
  std::map<std::int32_t, NodeStatus> nodes;
  std::size_t partitions = 0;
  std::size_t leaderless = 0;
  std::size_t behind = 0;  ///< With replicas that are not in sync.

  [[nodiscard]] bool healthy() const {
    return leaderless == 0 && behind == 0 && std::ranges::none_of(nodes, [](const auto& each) {
             return each.second.address.empty();
           });
  }
};

ClusterStatus status_of(const ClusterView& cluster) {
  ClusterStatus status;
  for (const auto& broker : cluster.brokers)
    status.nodes[broker.node_id].address = broker.address.to_string();
  for (const auto& topic : cluster.topics) {
    for (const PartitionView& partition : topic.partitions) {
      ++status.partitions;
      if (partition.leader < 0) {
        ++status.leaderless;
      } else {
        ++status.nodes[partition.leader].leads;
      }
      if (partition.in_sync.size() < partition.replicas.size()) ++status.behind;
      for (const std::int32_t node : partition.replicas) ++status.nodes[node].has;
    }
  }
  return status;
}

void print_json(const ClusterView& cluster, const ClusterStatus& status) {
  std::string nodes;
  for (const auto& [id, node] : status.nodes) {
    std::string address;
    append_json_string(address, node.address);
    nodes += fmt::format("{}{{\"node\":{},\"alive\":{},\"address\":{},\"leads\":{},\"has\":{}}}",
                         nodes.empty() ? "" : ",", id, !node.address.empty(), address, node.leads,
                         node.has);
  }
  std::string id;
  append_json_string(id, cluster.cluster_id);
  fmt::print(
      "{{\"cluster\":{},\"controller\":{},\"healthy\":{},\"nodes\":[{}],\"partitions\":{},"
      "\"without_leader\":{},\"under_replicated\":{}}}\n",
      id, cluster.controller, status.healthy(), nodes, status.partitions, status.leaderless,
      status.behind);
}

void print_text(const ClusterView& cluster, const ClusterStatus& status) {
  fmt::print("Cluster {}, {} node{}\n", cluster.cluster_id, status.nodes.size(),
             status.nodes.size() == 1 ? "" : "s");
  for (const auto& [id, node] : status.nodes) {
    fmt::print("node {} | {} | leads {} of {} partition{}{}\n", id,
               node.address.empty() ? "not there" : node.address, node.leads, node.has,
               node.has == 1 ? "" : "s", id == cluster.controller ? " | controller" : "");
  }
  if (cluster.controller < 0) fmt::print("no controller at the moment\n");
  fmt::print("{} partition{}: {}\n", status.partitions, status.partitions == 1 ? "" : "s",
             status.leaderless == 0 && status.behind == 0
                 ? "all replicas are there"
                 : fmt::format("{} without a leader, {} with replicas missing", status.leaderless,
                               status.behind));
}

}  // namespace

core::Task<ExitCode> cluster(Session* session, const ClusterOptions* options) {
  auto view = co_await session->client->cluster(session->deadline());
  if (!view) co_return report(view.error());
  const ClusterStatus status = status_of(*view);
  if (options->output == Output::json) {
    print_json(*view, status);
  } else {
    print_text(*view, status);
  }
  co_return status.healthy() && view->controller >= 0 ? ExitCode::ok : ExitCode::failed;
}

}  // namespace sentinel::apps
