#pragma once
/// API 43 ElectLeaders, versions 0-2: lets those lead that are to lead first (KIP-183, KIP-460).

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

enum class ElectionType : std::int8_t {
  preferred = 0,
  unclean = 1,  ///< Also one that lacks records; there is no such election here.
};

struct ElectLeadersTopic {
  std::string_view topic;
  std::vector<std::int32_t> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic);
    wire.field("Partitions", self.partitions);
  }
};

struct ElectLeadersRequest {
  static constexpr ApiKey kKey = ApiKey::elect_leaders;
  static constexpr MessageKind kKind = MessageKind::request;

  ElectionType election_type = ElectionType::preferred;
  std::optional<std::vector<ElectLeadersTopic>> topic_partitions;  ///< Null: all there are.
  std::int32_t timeout_ms = 60'000;

  static void fields(auto& self, auto& wire) {
    wire.field("ElectionType", self.election_type, {.since = 1});
    wire.field("TopicPartitions", self.topic_partitions);
    wire.field("TimeoutMs", self.timeout_ms);
  }
};

struct PartitionElectionResult {
  std::int32_t partition_id = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionId", self.partition_id);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
  }
};

struct ReplicaElectionResult {
  std::string_view topic;
  std::vector<PartitionElectionResult> partition_result;

  static void fields(auto& self, auto& wire) {
    wire.field("Topic", self.topic);
    wire.field("PartitionResult", self.partition_result);
  }
};

struct ElectLeadersResponse {
  static constexpr ApiKey kKey = ApiKey::elect_leaders;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::vector<ReplicaElectionResult> replica_election_results;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("ErrorCode", self.error_code, {.since = 1});
    wire.field("ReplicaElectionResults", self.replica_election_results);
  }
};

}  // namespace sentinel::net::kafka
