#pragma once
/// API 37 CreatePartitions, versions 0-3: more partitions for topics (KIP-195).

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct CreatePartitionsAssignment {
  std::vector<std::int32_t> broker_ids;

  static void fields(auto& self, auto& wire) { wire.field("BrokerIds", self.broker_ids); }
};

struct CreatePartitionsTopic {
  std::string_view name;
  /// How many there are to be, with those that are there.
  std::int32_t count = 0;
  /// Of each new partition; null: the broker chooses.
  std::optional<std::vector<CreatePartitionsAssignment>> assignments;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Count", self.count);
    wire.field("Assignments", self.assignments);
  }
};

struct CreatePartitionsRequest {
  static constexpr ApiKey kKey = ApiKey::create_partitions;
  static constexpr MessageKind kKind = MessageKind::request;

  std::vector<CreatePartitionsTopic> topics;
  std::int32_t timeout_ms = 0;
  bool validate_only = false;

  static void fields(auto& self, auto& wire) {
    wire.field("Topics", self.topics);
    wire.field("TimeoutMs", self.timeout_ms);
    wire.field("ValidateOnly", self.validate_only);
  }
};

struct CreatePartitionsTopicResult {
  std::string_view name;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
  }
};

struct CreatePartitionsResponse {
  static constexpr ApiKey kKey = ApiKey::create_partitions;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<CreatePartitionsTopicResult> results;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("Results", self.results);
  }
};

}  // namespace sentinel::net::kafka
