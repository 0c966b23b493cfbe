#pragma once
/// API 45 AlterPartitionReassignments, version 0: moves partitions to other brokers (KIP-455).

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct ReassignablePartition {
  std::int32_t partition_index = 0;
  /// Where it is to be, the one to lead first; null: stays where it was before it began to move.
  std::optional<std::vector<std::int32_t>> replicas;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("Replicas", self.replicas);
  }
};

struct ReassignableTopic {
  std::string_view name;
  std::vector<ReassignablePartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct AlterPartitionReassignmentsRequest {
  static constexpr ApiKey kKey = ApiKey::alter_partition_reassignments;
  static constexpr MessageKind kKind = MessageKind::request;

  std::int32_t timeout_ms = 60'000;
  std::vector<ReassignableTopic> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("TimeoutMs", self.timeout_ms);
    wire.field("Topics", self.topics);
  }
};

struct ReassignedPartition {
  std::int32_t partition_index = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
  }
};

struct ReassignedTopic {
  std::string_view name;
  std::vector<ReassignedPartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct AlterPartitionReassignmentsResponse {
  static constexpr ApiKey kKey = ApiKey::alter_partition_reassignments;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;
  std::vector<ReassignedTopic> responses;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
    wire.field("Responses", self.responses);
  }
};

}  // namespace sentinel::net::kafka
