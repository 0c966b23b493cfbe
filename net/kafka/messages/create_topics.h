#pragma once
/// API 19 CreateTopics, versions 0-7.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/uuid.h"
#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct CreatableReplicaAssignment {
  std::int32_t partition_index = 0;
  std::vector<std::int32_t> broker_ids;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("BrokerIds", self.broker_ids);
  }
};

struct CreatableTopicConfig {
  std::string_view name;
  std::optional<std::string_view> value;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Value", self.value);
  }
};

struct CreatableTopic {
  std::string_view name;
  /// -1: the broker's default, or as many as there are assignments.
  std::int32_t num_partitions = 0;
  /// -1: the broker's default, or what the assignments say.
  std::int16_t replication_factor = 0;
  std::vector<CreatableReplicaAssignment> assignments;
  std::vector<CreatableTopicConfig> configs;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("NumPartitions", self.num_partitions);
    wire.field("ReplicationFactor", self.replication_factor);
    wire.field("Assignments", self.assignments);
    wire.field("Configs", self.configs);
  }
};

struct CreateTopicsRequest {
  static constexpr ApiKey kKey = ApiKey::create_topics;
  static constexpr MessageKind kKind = MessageKind::request;

  std::vector<CreatableTopic> topics;
  std::int32_t timeout_ms = 60'000;
  bool validate_only = false;

  static void fields(auto& self, auto& wire) {
    wire.field("Topics", self.topics);
    wire.field("timeoutMs", self.timeout_ms);
    wire.field("validateOnly", self.validate_only, {.since = 1});
  }
};

struct CreatedTopicConfig {
  std::string_view name;
  std::optional<std::string_view> value;
  bool read_only = false;
  std::int8_t config_source = -1;
  bool is_sensitive = false;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Value", self.value);
    wire.field("ReadOnly", self.read_only);
    wire.field("ConfigSource", self.config_source);
    wire.field("IsSensitive", self.is_sensitive);
  }
};

struct CreatedTopic {
  std::string_view name;
  core::Uuid topic_id;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;
  ErrorCode topic_config_error_code = ErrorCode::none;
  std::int32_t num_partitions = -1;
  std::int16_t replication_factor = -1;
  std::optional<std::vector<CreatedTopicConfig>> configs;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("TopicId", self.topic_id, {.since = 7});
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message, {.since = 1});
    wire.tagged(0, "TopicConfigErrorCode", self.topic_config_error_code, {.since = 5});
    wire.field("NumPartitions", self.num_partitions, {.since = 5});
    wire.field("ReplicationFactor", self.replication_factor, {.since = 5});
    wire.field("Configs", self.configs, {.since = 5});
  }
};

struct CreateTopicsResponse {
  static constexpr ApiKey kKey = ApiKey::create_topics;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<CreatedTopic> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 2});
    wire.field("Topics", self.topics);
  }
};

}  // namespace sentinel::net::kafka
