#pragma once
/// API 21 DeleteRecords, versions 0-2: gives up the records of partitions below an offset
/// (KIP-107).

#include <cstdint>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct DeleteRecordsPartition {
  std::int32_t partition_index = 0;
  /// The first offset to keep; -1 for the high watermark.
  std::int64_t offset = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("Offset", self.offset);
  }
};

struct DeleteRecordsTopic {
  std::string_view name;
  std::vector<DeleteRecordsPartition> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct DeleteRecordsRequest {
  static constexpr ApiKey kKey = ApiKey::delete_records;
  static constexpr MessageKind kKind = MessageKind::request;

  std::vector<DeleteRecordsTopic> topics;
  std::int32_t timeout_ms = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("Topics", self.topics);
    wire.field("TimeoutMs", self.timeout_ms);
  }
};

struct DeleteRecordsPartitionResult {
  std::int32_t partition_index = 0;
  /// Where the partition begins now.
  std::int64_t low_watermark = -1;
  ErrorCode error_code = ErrorCode::none;

  static void fields(auto& self, auto& wire) {
    wire.field("PartitionIndex", self.partition_index);
    wire.field("LowWatermark", self.low_watermark);
    wire.field("ErrorCode", self.error_code);
  }
};

struct DeleteRecordsTopicResult {
  std::string_view name;
  std::vector<DeleteRecordsPartitionResult> partitions;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("Partitions", self.partitions);
  }
};

struct DeleteRecordsResponse {
  static constexpr ApiKey kKey = ApiKey::delete_records;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<DeleteRecordsTopicResult> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("Topics", self.topics);
  }
};

}  // namespace sentinel::net::kafka
