#pragma once
/// API 10 FindCoordinator, versions 0-6: which broker coordinates a group or a transactional id.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

/// One key up to version 3, a list of keys from 4.
struct FindCoordinatorRequest {
  static constexpr ApiKey kKey = ApiKey::find_coordinator;
  static constexpr MessageKind kKind = MessageKind::request;

  std::string_view key;
  /// 0 consumer group, 1 transaction, 2 share group.
  std::int8_t key_type = 0;
  std::vector<std::string_view> coordinator_keys;

  static void fields(auto& self, auto& wire) {
    wire.field("Key", self.key, {.until = 3});
    wire.field("KeyType", self.key_type, {.since = 1});
    wire.field("CoordinatorKeys", self.coordinator_keys, {.since = 4});
  }
};

struct Coordinator {
  std::string_view key;
  std::int32_t node_id = 0;
  std::string_view host;
  std::int32_t port = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;

  static void fields(auto& self, auto& wire) {
    wire.field("Key", self.key);
    wire.field("NodeId", self.node_id);
    wire.field("Host", self.host);
    wire.field("Port", self.port);
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message);
  }
};

/// The answer is inline up to version 3, one element a key from 4.
struct FindCoordinatorResponse {
  static constexpr ApiKey kKey = ApiKey::find_coordinator;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;
  std::int32_t node_id = 0;
  std::string_view host;
  std::int32_t port = 0;
  std::vector<Coordinator> coordinators;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 1});
    wire.field("ErrorCode", self.error_code, {.until = 3});
    wire.field("ErrorMessage", self.error_message, {.since = 1, .until = 3});
    wire.field("NodeId", self.node_id, {.until = 3});
    wire.field("Host", self.host, {.until = 3});
    wire.field("Port", self.port, {.until = 3});
    wire.field("Coordinators", self.coordinators, {.since = 4});
  }
};

}  // namespace sentinel::net::kafka
