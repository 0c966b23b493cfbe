#pragma once
/// API 20 DeleteTopics, versions 0-6.

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "core/uuid.h"
#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

/// By name, or by id when the name is null.
struct DeleteTopicsTopic {
  std::optional<std::string_view> name;
  core::Uuid topic_id;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("TopicId", self.topic_id);
  }
};

/// `topic_names` up to version 5, `topics` from 6.
struct DeleteTopicsRequest {
  static constexpr ApiKey kKey = ApiKey::delete_topics;
  static constexpr MessageKind kKind = MessageKind::request;

  std::vector<DeleteTopicsTopic> topics;
  std::vector<std::string_view> topic_names;
  std::int32_t timeout_ms = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("Topics", self.topics, {.since = 6});
    wire.field("TopicNames", self.topic_names, {.until = 5});
    wire.field("TimeoutMs", self.timeout_ms);
  }
};

struct DeletedTopic {
  std::optional<std::string_view> name;
  core::Uuid topic_id;
  ErrorCode error_code = ErrorCode::none;
  std::optional<std::string_view> error_message;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name, {.nullable_since = 6});
    wire.field("TopicId", self.topic_id, {.since = 6});
    wire.field("ErrorCode", self.error_code);
    wire.field("ErrorMessage", self.error_message, {.since = 5});
  }
};

struct DeleteTopicsResponse {
  static constexpr ApiKey kKey = ApiKey::delete_topics;
  static constexpr MessageKind kKind = MessageKind::response;

  std::int32_t throttle_time_ms = 0;
  std::vector<DeletedTopic> topics;

  static void fields(auto& self, auto& wire) {
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 1});
    wire.field("Responses", self.topics);
  }
};

}  // namespace sentinel::net::kafka
