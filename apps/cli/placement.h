#pragma once
/// Where partitions go when a server comes to a cluster, or is to leave it. Pure.

#include <cstdint>
#include <vector>

#include "core/result.h"
#include "net/kafka/client.h"

namespace sentinel::apps {

using Placements = std::vector<net::kafka::PartitionPlacement>;

/// Moves that give a server its share: as many replicas as others have, and as many to lead. Takes
/// them from those that have most. Errc::not_found when the server is not there.
core::Result<Placements> plan_share(const net::kafka::ClusterView& cluster, std::int32_t node);

/// Moves that leave a server without partitions, spread over the others. Errc::invalid_argument
/// when others are too few for a partition's replicas.
core::Result<Placements> plan_drain(const net::kafka::ClusterView& cluster, std::int32_t node);

}  // namespace sentinel::apps
