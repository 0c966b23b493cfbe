#pragma once
/// API 3 Metadata, versions 0-13: which brokers there are, and who leads which partition.

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "core/uuid.h"
#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

/// What an authorized-operations field holds when the client did not ask for it.
inline constexpr std::int32_t kOperationsNotRequested = std::numeric_limits<std::int32_t>::min();

struct MetadataRequestTopic {
  core::Uuid topic_id;
  std::optional<std::string_view> name;

  static void fields(auto& self, auto& wire) {
    wire.field("TopicId", self.topic_id, {.since = 10});
    wire.field("Name", self.name, {.nullable_since = 10});
  }
};

struct MetadataRequest {
  static constexpr ApiKey kKey = ApiKey::metadata;
  static constexpr MessageKind kKind = MessageKind::request;

  /// Null asks for all topics. Version 0 can't say null: there an empty list means all, while from
  /// version 1 it means none.
  std::optional<std::vector<MetadataRequestTopic>> topics;
  bool allow_auto_topic_creation = true;
  bool include_cluster_authorized_operations = false;
  bool include_topic_authorized_operations = false;

  [[nodiscard]] bool wants_all_topics(std::int16_t version) const {
    return !topics || (version == 0 && topics->empty());
  }

  static void fields(auto& self, auto& wire) {
    wire.field("Topics", self.topics, {.nullable_since = 1});
    wire.field("AllowAutoTopicCreation", self.allow_auto_topic_creation, {.since = 4});
    wire.field("IncludeClusterAuthorizedOperations", self.include_cluster_authorized_operations,
               {.since = 8, .until = 10});
    wire.field("IncludeTopicAuthorizedOperations", self.include_topic_authorized_operations,
               {.since = 8});
  }
};

struct MetadataBroker {
  std::int32_t node_id = 0;
  std::string_view host;
  std::int32_t port = 0;
  std::optional<std::string_view> rack;

  static void fields(auto& self, auto& wire) {
    wire.field("NodeId", self.node_id);
    wire.field("Host", self.host);
    wire.field("Port", self.port);
    wire.field("Rack", self.rack, {.since = 1});
  }
};

struct MetadataPartition {
  ErrorCode error_code = ErrorCode::none;
  std::int32_t partition_index = 0;
  std::int32_t leader_id = 0;
  std::int32_t leader_epoch = -1;
  std::vector<std::int32_t> replica_nodes;
  std::vector<std::int32_t> isr_nodes;
  std::vector<std::int32_t> offline_replicas;

  static void fields(auto& self, auto& wire) {
    wire.field("ErrorCode", self.error_code);
    wire.field("PartitionIndex", self.partition_index);
    wire.field("LeaderId", self.leader_id);
    wire.field("LeaderEpoch", self.leader_epoch, {.since = 7});
    wire.field("ReplicaNodes", self.replica_nodes);
    wire.field("IsrNodes", self.isr_nodes);
    wire.field("OfflineReplicas", self.offline_replicas, {.since = 5});
  }
};

struct MetadataTopic {
  ErrorCode error_code = ErrorCode::none;
  /// Null only when the client asked by an id that is not known.
  std::optional<std::string_view> name;
  core::Uuid topic_id;
  bool is_internal = false;
  std::vector<MetadataPartition> partitions;
  std::int32_t topic_authorized_operations = kOperationsNotRequested;

  static void fields(auto& self, auto& wire) {
    wire.field("ErrorCode", self.error_code);
    wire.field("Name", self.name, {.nullable_since = 12});
    wire.field("TopicId", self.topic_id, {.since = 10});
    wire.field("IsInternal", self.is_internal, {.since = 1});
    wire.field("Partitions", self.partitions);
    wire.field("TopicAuthorizedOperations", self.topic_authorized_operations, {.since = 8});
  }
};

struct MetadataResponse {
  static constexpr ApiKey kKey = ApiKey::metadata;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<MetadataBroker> brokers;
  std::optional<std::string_view> cluster_id;
  std::int32_t controller_id = -1;
  std::vector<MetadataTopic> topics;
  std::int32_t cluster_authorized_operations = kOperationsNotRequested;
  ErrorCode error_code = ErrorCode::none;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 3});
    wire.field("Brokers", self.brokers);
    wire.field("ClusterId", self.cluster_id, {.since = 2});
    wire.field("ControllerId", self.controller_id, {.since = 1});
    wire.field("Topics", self.topics);
    wire.field("ClusterAuthorizedOperations", self.cluster_authorized_operations,
               {.since = 8, .until = 10});
    wire.field("ErrorCode", self.error_code, {.since = 13});
  }
};

}  // namespace sentinel::net::kafka
