#pragma once
/// API 64 UnregisterBroker, version 0: a broker that is gone for good (KIP-500).

#include <cstdint>
#include <optional>
#include <string_view>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct UnregisterBrokerRequest {
  static constexpr ApiKey kKey = ApiKey::unregister_broker;
  static constexpr MessageKind kKind = MessageKind::request;

  std::int32_t broker_id = 0;

  static void fields(auto& self, auto& wire) { wire.field("BrokerId", self.broker_id); }
};

struct UnregisterBrokerResponse {
  static constexpr ApiKey kKey = ApiKey::unregister_broker;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
  }
};

}  // namespace sentinel::net::kafka
