#pragma once
/// API 1 Fetch, versions 0-17: reads record batches of partitions.

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/uuid.h"
#include "net/kafka/api.h"
#include "net/kafka/error_code.h"
#include "net/kafka/messages/leader_hint.h"

namespace sentinel::net::kafka {

struct FetchPartition {
  std::int32_t partition = 0;
  std::int32_t current_leader_epoch = -1;
  std::int64_t fetch_offset = 0;
  std::int32_t last_fetched_epoch = -1;
  std::int64_t log_start_offset = -1;
  std::int32_t partition_max_bytes = 0;
  core::Uuid replica_directory_id;

  static void fields(auto& self, auto& wire) {
    wire.field("Partition", self.partition);
    wire.field("CurrentLeaderEpoch", self.current_leader_epoch, {.since = 9});
    wire.field("FetchOffset", self.fetch_offset);
    wire.field("LastFetchedEpoch", self.last_fetched_epoch, {.since = 12});
    wire.field("LogStartOffset", self.log_start_offset, {.since = 5});
    wire.field("PartitionMaxBytes", self.partition_max_bytes);
    wire.tagged(0, "ReplicaDirectoryId", self.replica_directory_id, {.since = 17});
  }
};

/// Named up to version 12, identified from 13.
struct FetchTopic {
  std::string_view topic;
  core::Uuid topic_id;
  std::vector<FetchPartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic, {.until = 12});
    wire.field("TopicId", self.topic_id, {.since = 13});
    wire.field("Partitions", self.partitions);
  }
};

struct FetchForgottenTopic {
  std::string_view topic;
  core::Uuid topic_id;
  std::vector<std::int32_t> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic, {.until = 12});
    wire.field("TopicId", self.topic_id, {.since = 13});
    wire.field("Partitions", self.partitions);
  }
};

struct FetchReplicaState {
  std::int32_t replica_id = -1;
  std::int64_t replica_epoch = -1;

  friend bool operator==(const FetchReplicaState&, const FetchReplicaState&) = default;

  static void fields(auto& self, auto& wire) {
    wire.field("ReplicaId", self.replica_id);
    wire.field("ReplicaEpoch", self.replica_epoch);
  }
};

struct FetchRequest {
  static constexpr ApiKey kKey = ApiKey::fetch;
  static constexpr MessageKind kKind = MessageKind::request;

  std::optional<std::string_view> cluster_id;
  std::int32_t replica_id = -1;
  FetchReplicaState replica_state;
  std::int32_t max_wait_ms = 0;
  std::int32_t min_bytes = 0;
  std::int32_t max_bytes = std::numeric_limits<std::int32_t>::max();
  /// 0 read uncommitted, 1 read committed.
  std::int8_t isolation_level = 0;
  std::int32_t session_id = 0;
  std::int32_t session_epoch = -1;
  std::vector<FetchTopic> topics;
  std::vector<FetchForgottenTopic> forgotten_topics;
  std::string_view rack_id;

  static void fields(auto& self, auto& wire) {
    wire.tagged(0, "ClusterId", self.cluster_id, {.since = 12});
    wire.field("ReplicaId", self.replica_id, {.until = 14});
    wire.tagged(1, "ReplicaState", self.replica_state, {.since = 15});
    wire.field("MaxWaitMs", self.max_wait_ms);
    wire.field("MinBytes", self.min_bytes);
    wire.field("MaxBytes", self.max_bytes, {.since = 3});
    wire.field("IsolationLevel", self.isolation_level, {.since = 4});
    wire.field("SessionId", self.session_id, {.since = 7});
    wire.field("SessionEpoch", self.session_epoch, {.since = 7});
    wire.field("Topics", self.topics);
    wire.field("ForgottenTopicsData", self.forgotten_topics, {.since = 7});
    wire.field("RackId", self.rack_id, {.since = 11});
  }
};

/// Where the reader's log parts from the leader's.
struct FetchDivergingEpoch {
  std::int32_t epoch = -1;
  std::int64_t end_offset = -1;

  friend bool operator==(const FetchDivergingEpoch&, const FetchDivergingEpoch&) = default;

  static void fields(auto& self, auto& wire) {
    wire.field("Epoch", self.epoch);
    wire.field("EndOffset", self.end_offset);
  }
};

struct FetchSnapshotId {
  std::int64_t end_offset = -1;
  std::int32_t epoch = -1;

  friend bool operator==(const FetchSnapshotId&, const FetchSnapshotId&) = default;

  static void fields(auto& self, auto& wire) {
    wire.field("EndOffset", self.end_offset);
    wire.field("Epoch", self.epoch);
  }
};

struct FetchAbortedTransaction {
  std::int64_t producer_id = 0;
  std::int64_t first_offset = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("ProducerId", self.producer_id);
    wire.field("FirstOffset", self.first_offset);
  }
};

struct FetchPartitionResponse {
  std::int32_t partition_index = 0;
  ErrorCode error_code = ErrorCode::none;
  std::int64_t high_watermark = 0;
  std::int64_t last_stable_offset = -1;
  std::int64_t log_start_offset = -1;
  FetchDivergingEpoch diverging_epoch;
  LeaderIdAndEpoch current_leader;
  FetchSnapshotId snapshot_id;
  /// Null for readers of uncommitted records.
  std::optional<std::vector<FetchAbortedTransaction>> aborted_transactions;
  std::int32_t preferred_read_replica = -1;
  /// The schema allows null, but several clients take null records for a parse error: send none as
  /// empty, the default.
  std::optional<core::Chain> records{std::in_place};

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("ErrorCode", self.error_code);
    wire.field("HighWatermark", self.high_watermark);
    wire.field("LastStableOffset", self.last_stable_offset, {.since = 4});
    wire.field("LogStartOffset", self.log_start_offset, {.since = 5});
    wire.tagged(0, "DivergingEpoch", self.diverging_epoch, {.since = 12});
    wire.tagged(1, "CurrentLeader", self.current_leader, {.since = 12});
    wire.tagged(2, "SnapshotId", self.snapshot_id, {.since = 12});
    wire.field("AbortedTransactions", self.aborted_transactions, {.since = 4});
    wire.field("PreferredReadReplica", self.preferred_read_replica, {.since = 11});
    wire.field("Records", self.records);
  }
};

struct FetchTopicResponse {
  std::string_view topic;
  core::Uuid topic_id;
  std::vector<FetchPartitionResponse> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic, {.until = 12});
    wire.field("TopicId", self.topic_id, {.since = 13});
    wire.field("Partitions", self.partitions);
  }
};

struct FetchResponse {
  static constexpr ApiKey kKey = ApiKey::fetch;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::int32_t session_id = 0;
  std::vector<FetchTopicResponse> topics;
  std::vector<NodeEndpoint> node_endpoints;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 1});
    wire.field("ErrorCode", self.error_code, {.since = 7});
    wire.field("SessionId", self.session_id, {.since = 7});
    wire.field("Responses", self.topics);
    wire.tagged(0, "NodeEndpoints", self.node_endpoints, {.since = 16});
  }
};

}  // namespace sentinel::net::kafka
