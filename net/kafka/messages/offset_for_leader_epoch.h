#pragma once
/// API 23 OffsetForLeaderEpoch, versions 0-4: where a leader epoch ends; readers find out with it
/// whether their log was truncated.

#include <cstdint>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct LeaderEpochPartition {
  std::int32_t partition = 0;
  std::int32_t current_leader_epoch = -1;
  std::int32_t leader_epoch = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("Partition", self.partition);
    wire.field("CurrentLeaderEpoch", self.current_leader_epoch, {.since = 2});
    wire.field("LeaderEpoch", self.leader_epoch);
  }
};

struct LeaderEpochTopic {
  std::string_view topic;
  std::vector<LeaderEpochPartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic);
    wire.field("Partitions", self.partitions);
  }
};

struct OffsetForLeaderEpochRequest {
  static constexpr ApiKey kKey = ApiKey::offset_for_leader_epoch;
  static constexpr MessageKind kKind = MessageKind::request;

  /// -1 for a consumer, -2 for one that may read above the high watermark.
  std::int32_t replica_id = -2;
  std::vector<LeaderEpochTopic> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ReplicaId", self.replica_id, {.since = 3});
    wire.field("Topics", self.topics);
  }
};

struct LeaderEpochPartitionResponse {
  ErrorCode error_code = ErrorCode::none;
  std::int32_t partition = 0;
  std::int32_t leader_epoch = -1;
  std::int64_t end_offset = -1;

  static void fields(auto& self, auto& wire) {
    wire.field("ErrorCode", self.error_code);
    wire.field("Partition", self.partition);
    wire.field("LeaderEpoch", self.leader_epoch, {.since = 1});
    wire.field("EndOffset", self.end_offset);
  }
};

struct LeaderEpochTopicResponse {
  std::string_view topic;
  std::vector<LeaderEpochPartitionResponse> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic);
    wire.field("Partitions", self.partitions);
  }
};

struct OffsetForLeaderEpochResponse {
  static constexpr ApiKey kKey = ApiKey::offset_for_leader_epoch;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<LeaderEpochTopicResponse> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 2});
    wire.field("Topics", self.topics);
  }
};

}  // namespace sentinel::net::kafka
