#pragma once
/// API 22 InitProducerId, versions 0-5: gives an idempotent or transactional producer its id and
/// epoch.

#include <cstdint>
#include <optional>
#include <string_view>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct InitProducerIdRequest {
  static constexpr ApiKey kKey = ApiKey::init_producer_id;
  static constexpr MessageKind kKind = MessageKind::request;

  std::optional<std::string_view> transactional_id;
  std::int32_t transaction_timeout_ms = 0;
  /// What the producer had before, or -1.
  std::int64_t producer_id = -1;
  std::int16_t producer_epoch = -1;

  static void fields(auto& self, auto& wire) {
    wire.field("TransactionalId", self.transactional_id);
    wire.field("TransactionTimeoutMs", self.transaction_timeout_ms);
    wire.field("ProducerId", self.producer_id, {.since = 3});
    wire.field("ProducerEpoch", self.producer_epoch, {.since = 3});
  }
};

struct InitProducerIdResponse {
  static constexpr ApiKey kKey = ApiKey::init_producer_id;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::int64_t producer_id = -1;
  std::int16_t producer_epoch = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("ErrorCode", self.error_code);
    wire.field("ProducerId", self.producer_id);
    wire.field("ProducerEpoch", self.producer_epoch);
  }
};

}  // namespace sentinel::net::kafka
