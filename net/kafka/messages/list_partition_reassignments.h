#pragma once
/// API 46 ListPartitionReassignments, version 0: which partitions are on their way (KIP-455).

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct ListReassignmentsTopic {
  std::string_view name;
  std::vector<std::int32_t> partition_indexes;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("PartitionIndexes", self.partition_indexes);
  }
};

struct ListPartitionReassignmentsRequest {
  static constexpr ApiKey kKey = ApiKey::list_partition_reassignments;
  static constexpr MessageKind kKind = MessageKind::request;

  std::int32_t timeout_ms = 60'000;
  std::optional<std::vector<ListReassignmentsTopic>> topics;  ///< Null: all there are.

  static void fields(auto& self, auto& wire) {
    wire.field("TimeoutMs", self.timeout_ms);
    wire.field("Topics", self.topics);
  }
};

struct OngoingPartitionReassignment {
  std::int32_t partition_index = 0;
  std::vector<std::int32_t> replicas;  ///< All that have it or are to have it.
  std::vector<std::int32_t> adding_replicas;
  std::vector<std::int32_t> removing_replicas;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("Replicas", self.replicas);
    wire.field("AddingReplicas", self.adding_replicas);
    wire.field("RemovingReplicas", self.removing_replicas);
  }
};

struct OngoingTopicReassignment {
  std::string_view name;
  std::vector<OngoingPartitionReassignment> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct ListPartitionReassignmentsResponse {
  static constexpr ApiKey kKey = ApiKey::list_partition_reassignments;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;
  std::vector<OngoingTopicReassignment> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
    wire.field("Topics", self.topics);
  }
};

}  // namespace sentinel::net::kafka
