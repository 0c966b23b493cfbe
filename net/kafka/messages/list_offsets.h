#pragma once
/// API 2 ListOffsets, versions 0-10: finds the offset that belongs to a timestamp or a special
/// position.

#include <cstdint>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct ListOffsetsPartition {
  std::int32_t partition_index = 0;
  std::int32_t current_leader_epoch = -1;
  /// Milliseconds since 1970, or a special position: -1 latest, -2 earliest, -3 the largest
  /// timestamp, -4 earliest on local disk.
  std::int64_t timestamp = 0;
  std::int32_t max_num_offsets = 1;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("CurrentLeaderEpoch", self.current_leader_epoch, {.since = 4});
    wire.field("Timestamp", self.timestamp);
    wire.field("MaxNumOffsets", self.max_num_offsets, {.until = 0});
  }
};

struct ListOffsetsTopic {
  std::string_view name;
  std::vector<ListOffsetsPartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct ListOffsetsRequest {
  static constexpr ApiKey kKey = ApiKey::list_offsets;
  static constexpr MessageKind kKind = MessageKind::request;

  /// -1 for a consumer.
  std::int32_t replica_id = -1;
  /// 0 read uncommitted, 1 read committed.
  std::int8_t isolation_level = 0;
  std::vector<ListOffsetsTopic> topics;
  std::int32_t timeout_ms = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("ReplicaId", self.replica_id);
    wire.field("IsolationLevel", self.isolation_level, {.since = 2});
    wire.field("Topics", self.topics);
    wire.field("TimeoutMs", self.timeout_ms, {.since = 10});
  }
};

struct ListOffsetsPartitionResponse {
  std::int32_t partition_index = 0;
  ErrorCode error_code = ErrorCode::none;
  std::vector<std::int64_t> old_style_offsets;
  std::int64_t timestamp = -1;
  std::int64_t offset = -1;
  std::int32_t leader_epoch = -1;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("ErrorCode", self.error_code);
    wire.field("OldStyleOffsets", self.old_style_offsets, {.until = 0});
    wire.field("Timestamp", self.timestamp, {.since = 1});
    wire.field("Offset", self.offset, {.since = 1});
    wire.field("LeaderEpoch", self.leader_epoch, {.since = 4});
  }
};

struct ListOffsetsTopicResponse {
  std::string_view name;
  std::vector<ListOffsetsPartitionResponse> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct ListOffsetsResponse {
  static constexpr ApiKey kKey = ApiKey::list_offsets;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<ListOffsetsTopicResponse> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 2});
    wire.field("Topics", self.topics);
  }
};

}  // namespace sentinel::net::kafka
