/// The cluster command: status, add, drain, remove.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "apps/cli/format.h"
#include "apps/cli/placement.h"
#include "apps/cli/session.h"
#include "apps/cli/terminal.h"

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
  std::size_t moving = 0;  ///< On their way to other servers.

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
      "\"without_leader\":{},\"under_replicated\":{},\"moving\":{}}}\n",
      id, cluster.controller, status.healthy(), nodes, status.partitions, status.leaderless,
      status.behind, status.moving);
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
  if (status.moving > 0)
    fmt::print("{} partition{} on the way to other nodes\n", status.moving,
               status.moving == 1 ? "" : "s");
}

core::Task<ExitCode> show_status(Session* session, const ClusterOptions* options) {
  auto view = co_await session->client->cluster(session->deadline());
  if (!view) co_return report(view.error());
  ClusterStatus status = status_of(*view);
  const auto moving = co_await session->client->moving_partitions(session->deadline());
  if (moving) status.moving = moving->size();  // Old brokers can't say.
  if (options->output == Output::json) {
    print_json(*view, status);
  } else {
    print_text(*view, status);
  }
  co_return status.healthy() && view->controller >= 0 ? ExitCode::ok : ExitCode::failed;
}

/// Until all of them are where they are to be. What is asked for once goes on by itself.
core::Task<ExitCode> await_moves(Session* session, const Placements* moves) {
  constexpr core::Duration kLook = std::chrono::milliseconds(200);
  Progress progress(session->shard, true);
  catch_interrupts();
  for (;;) {
    auto moving = co_await session->client->moving_partitions(session->deadline());
    if (!moving) {
      progress.clear();
      co_return report(moving.error());
    }
    const auto left = std::ranges::count_if(*moves, [&](const auto& move) {
      return std::ranges::any_of(*moving, [&](const auto& each) {
        return each.topic == move.topic && each.partition == move.partition;
      });
    });
    if (left == 0) break;
    if (interrupted()) {
      progress.clear();
      fmt::print(stderr, "sentinel-cli: {} of {} partitions are still on their way\n", left,
                 moves->size());
      co_return ExitCode::failed;
    }
    progress.update(fmt::format("Moving partitions: {} of {} are there", std::ssize(*moves) - left,
                                moves->size()));
    co_await core::sleep_for(session->shard, kLook);
  }
  progress.clear();
  co_return ExitCode::ok;
}

core::Task<ExitCode> move_all(Session* session, const ClusterOptions* options) {
  // So many at a time, that a request is answered soon and a node is not asked for everything.
  constexpr std::size_t kMovesAtOnce = 50;
  const bool adds = options->action == ClusterOptions::Action::add;
  auto view = co_await session->client->cluster(session->deadline());
  if (!view) co_return report(view.error());
  const auto planned = adds ? plan_share(*view, options->node) : plan_drain(*view, options->node);
  if (!planned) co_return report(planned.error());
  for (std::size_t at = 0; at < planned->size(); at += kMovesAtOnce) {
    const auto begin = planned->begin() + static_cast<std::ptrdiff_t>(at);
    const auto count = std::min(kMovesAtOnce, planned->size() - at);
    const Placements some(begin, begin + static_cast<std::ptrdiff_t>(count));
    auto asked = co_await session->client->move_partitions(some, session->deadline());
    if (!asked) co_return report(asked.error());
    const ExitCode moved = co_await await_moves(session, &some);
    if (moved != ExitCode::ok) co_return moved;
  }
  if (options->output == Output::json) {
    fmt::print("{{\"node\":{},\"moved\":{}}}\n", options->node, planned->size());
  } else if (adds) {
    fmt::print("✓ Node {} has its share: {} partition{} moved\n", options->node, planned->size(),
               planned->size() == 1 ? "" : "s");
  } else {
    fmt::print(
        "✓ Node {0} has no partitions any more: {1} moved. To remove it, stop it, and then: "
        "sentinel-cli cluster remove {0}\n",
        options->node, planned->size());
  }
  co_return ExitCode::ok;
}

core::Task<ExitCode> remove(Session* session, const ClusterOptions* options) {
  auto removed = co_await session->client->remove_broker(options->node, session->deadline());
  if (!removed) co_return report(removed.error());
  if (options->output == Output::json) {
    fmt::print("{{\"node\":{},\"removed\":true}}\n", options->node);
  } else {
    fmt::print("✓ Removed node {}; its data directory is of no use any more\n", options->node);
  }
  co_return ExitCode::ok;
}

}  // namespace

core::Task<ExitCode> cluster(Session* session, const ClusterOptions* options) {
  switch (options->action) {
    case ClusterOptions::Action::status: return show_status(session, options);
    case ClusterOptions::Action::add:
    case ClusterOptions::Action::drain: return move_all(session, options);
    case ClusterOptions::Action::remove: return remove(session, options);
  }
  return show_status(session, options);
}

}  // namespace sentinel::apps
