#pragma once
/// API 0 Produce, versions 0-12: appends record batches to partitions.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "net/kafka/api.h"
#include "net/kafka/error_code.h"
#include "net/kafka/messages/leader_hint.h"

namespace sentinel::net::kafka {

struct ProducePartition {
  std::int32_t index = 0;
  std::optional<core::Chain> records;

  static void fields(auto& self, auto& wire) {
    wire.field("Index", self.index);
    wire.field("Records", self.records);
  }
};

struct ProduceTopic {
  std::string_view name;
  std::vector<ProducePartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("PartitionData", self.partitions);
  }
};

struct ProduceRequest {
  static constexpr ApiKey kKey = ApiKey::produce;
  static constexpr MessageKind kKind = MessageKind::request;

  std::optional<std::string_view> transactional_id;
  /// 0: no response at all; 1: the leader has it; -1: a majority has it.
  std::int16_t acks = -1;
  std::int32_t timeout_ms = 0;
  std::vector<ProduceTopic> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("TransactionalId", self.transactional_id, {.since = 3});
    wire.field("Acks", self.acks);
    wire.field("TimeoutMs", self.timeout_ms);
    wire.field("TopicData", self.topics);
  }
};

/// One record that made the broker refuse its whole batch.
struct ProduceRecordError {
  std::int32_t batch_index = 0;
  std::optional<std::string_view> message;

  static void fields(auto& self, auto& wire) {
    wire.field("BatchIndex", self.batch_index);
    wire.field("BatchIndexErrorMessage", self.message);
  }
};

struct ProducePartitionResponse {
  std::int32_t index = 0;
  ErrorCode error_code = ErrorCode::none;
  std::int64_t base_offset = 0;
  /// -1 unless the topic's timestamps are those of the broker.
  std::int64_t log_append_time_ms = -1;
  std::int64_t log_start_offset = -1;
  std::vector<ProduceRecordError> record_errors;
  std::optional<std::string_view> error_message;
  LeaderIdAndEpoch current_leader;

  static void fields(auto& self, auto& wire) {
    wire.field("Index", self.index);
    wire.field("ErrorCode", self.error_code);
    wire.field("BaseOffset", self.base_offset);
    wire.field("LogAppendTimeMs", self.log_append_time_ms, {.since = 2});
    wire.field("LogStartOffset", self.log_start_offset, {.since = 5});
    wire.field("RecordErrors", self.record_errors, {.since = 8});
    wire.field("ErrorMessage", self.error_message, {.since = 8});
    wire.tagged(0, "CurrentLeader", self.current_leader, {.since = 10});
  }
};

struct ProduceTopicResponse {
  std::string_view name;
  std::vector<ProducePartitionResponse> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("PartitionResponses", self.partitions);
  }
};

struct ProduceResponse {
  static constexpr ApiKey kKey = ApiKey::produce;
  static constexpr MessageKind kKind = MessageKind::response;

  std::vector<ProduceTopicResponse> topics;
  std::int32_t throttle_time_ms = 0;
  std::vector<NodeEndpoint> node_endpoints;

  static void fields(auto& self, auto& wire) {
    wire.field("Responses", self.topics);
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 1});
    wire.tagged(0, "NodeEndpoints", self.node_endpoints, {.since = 10});
  }
};

}  // namespace sentinel::net::kafka
