#include "apps/cli/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

namespace sentinel::apps {

namespace {

using net::kafka::ClusterView;
using net::kafka::PartitionPlacement;

struct Load {
  std::size_t leads = 0;
  std::size_t has = 0;
};

/// Where all partitions are, as moves are added to it.
class Plan {
 public:
  explicit Plan(const ClusterView& cluster) {
    for (const auto& broker : cluster.brokers) loads_[broker.node_id];
    for (const auto& topic : cluster.topics) {
      for (const auto& partition : topic.partitions) {
        partitions_.push_back({topic.name, partition.index, partition.replicas});
        for (const std::int32_t node : partition.replicas) note(node, partition.replicas, 1);
      }
    }
    moved_.resize(partitions_.size());
  }

  [[nodiscard]] bool has(std::int32_t node) const { return loads_.contains(node); }
  [[nodiscard]] std::size_t node_count() const { return loads_.size(); }
  [[nodiscard]] const std::vector<PartitionPlacement>& partitions() const { return partitions_; }
  [[nodiscard]] const Load& load(std::int32_t node) const { return loads_.at(node); }

  /// Puts one node in the place of another.
  void replace(std::size_t at, std::int32_t from, std::int32_t to) {
    std::vector<std::int32_t>& replicas = partitions_[at].replicas;
    note(from, replicas, -1);
    *std::ranges::find(replicas, from) = to;
    note(to, replicas, 1);
    moved_[at] = true;
  }

  /// Who has least and not this partition yet; -1 when all have it. `leads`: who is to lead it.
  [[nodiscard]] std::int32_t least_loaded(std::size_t at, std::int32_t without, bool leads) const {
    const std::vector<std::int32_t>& replicas = partitions_[at].replicas;
    std::int32_t least = -1;
    for (const auto& [node, load] : loads_) {
      if (node == without || std::ranges::find(replicas, node) != replicas.end()) continue;
      const auto rank = [leads](const Load& of) {
        return leads ? std::tuple(of.leads, of.has) : std::tuple(of.has, of.leads);
      };
      if (least < 0 || rank(load) < rank(loads_.at(least))) least = node;
    }
    return least;
  }

  [[nodiscard]] Placements moves() const {
    Placements moves;
    for (std::size_t i = 0; i < partitions_.size(); ++i) {
      if (moved_[i]) moves.push_back(partitions_[i]);
    }
    return moves;
  }

 private:
  void note(std::int32_t node, const std::vector<std::int32_t>& replicas, int change) {
    const auto found = loads_.find(node);
    if (found == loads_.end()) return;  // Not there at the moment.
    found->second.has += static_cast<std::size_t>(change);
    if (replicas.front() == node) found->second.leads += static_cast<std::size_t>(change);
  }

  std::vector<PartitionPlacement> partitions_;
  std::vector<bool> moved_;
  std::map<std::int32_t, Load> loads_;
};

/// The partition whose place is best given to `node`: of the server that has most of its kind.
struct Donation {
  std::size_t at = 0;
  std::int32_t from = -1;
  std::size_t load = 0;
};
Donation best_donation(const Plan& plan, std::int32_t node, bool leads) {
  Donation best;
  for (std::size_t at = 0; at < plan.partitions().size(); ++at) {
    const auto& replicas = plan.partitions()[at].replicas;
    if (std::ranges::find(replicas, node) != replicas.end()) continue;
    for (const std::int32_t from : replicas) {
      if ((from == replicas.front()) != leads || !plan.has(from)) continue;
      const std::size_t load = leads ? plan.load(from).leads : plan.load(from).has;
      if (load > best.load) best = {.at = at, .from = from, .load = load};
    }
  }
  return best;
}

void take_share(Plan& plan, std::int32_t node, bool leads) {
  for (;;) {
    const std::size_t own = leads ? plan.load(node).leads : plan.load(node).has;
    const Donation best = best_donation(plan, node, leads);
    // Else the giver would have less than the taker.
    if (best.from < 0 || best.load <= own + 1) return;
    plan.replace(best.at, best.from, node);
  }
}

}  // namespace

core::Result<Placements> plan_share(const ClusterView& cluster, std::int32_t node) {
  Plan plan(cluster);
  if (!plan.has(node)) {
    return core::fail(core::Errc::not_found,
                      fmt::format("node {0} is not there; start it with sentinel-server --node-id "
                                  "{0} --peers and the addresses of the others and its own",
                                  node));
  }
  take_share(plan, node, true);
  take_share(plan, node, false);
  return plan.moves();
}

core::Result<Placements> plan_drain(const ClusterView& cluster, std::int32_t node) {
  Plan plan(cluster);
  const std::size_t others = plan.node_count() - (plan.has(node) ? 1 : 0);
  for (std::size_t at = 0; at < plan.partitions().size(); ++at) {
    const auto& replicas = plan.partitions()[at].replicas;
    if (std::ranges::find(replicas, node) == replicas.end()) continue;
    const std::int32_t to = plan.least_loaded(at, node, replicas.front() == node);
    if (to < 0) {
      return core::fail(core::Errc::invalid_argument,
                        fmt::format("{}/{} has {} replicas, and besides node {} there are {} "
                                    "servers; add one first",
                                    plan.partitions()[at].topic, plan.partitions()[at].partition,
                                    replicas.size(), node, others));
    }
    plan.replace(at, node, to);
  }
  return plan.moves();
}

}  // namespace sentinel::apps
