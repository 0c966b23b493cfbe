#pragma once
/// API 18 ApiVersions, versions 0-4: what the broker speaks. Usually the first request on a
/// connection.

#include <cstdint>
#include <string_view>
#include <vector>

#include "net/kafka/api.h"
#include "net/kafka/error_code.h"

namespace sentinel::net::kafka {

struct ApiVersionsRequest {
  static constexpr ApiKey kKey = ApiKey::api_versions;
  static constexpr MessageKind kKind = MessageKind::request;

  std::string_view client_software_name;
  std::string_view client_software_version;

  static void fields(auto& self, auto& wire) {
    wire.field("ClientSoftwareName", self.client_software_name, {.since = 3});
    wire.field("ClientSoftwareVersion", self.client_software_version, {.since = 3});
  }
};

struct ApiVersion {
  /// Not an ApiKey: a client may meet keys that it does not know.
  std::int16_t api_key = 0;
  std::int16_t min_version = 0;
  std::int16_t max_version = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("ApiKey", self.api_key);
    wire.field("MinVersion", self.min_version);
    wire.field("MaxVersion", self.max_version);
  }
};

struct SupportedFeature {
  std::string_view name;
  std::int16_t min_version = 0;
  std::int16_t max_version = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("MinVersion", self.min_version);
    wire.field("MaxVersion", self.max_version);
  }
};

struct FinalizedFeature {
  std::string_view name;
  std::int16_t max_version_level = 0;
  std::int16_t min_version_level = 0;

  static void fields(auto& self, auto& wire) {
    wire.field("Name", self.name);
    wire.field("MaxVersionLevel", self.max_version_level);
    wire.field("MinVersionLevel", self.min_version_level);
  }
};

struct ApiVersionsResponse {
  static constexpr ApiKey kKey = ApiKey::api_versions;
  static constexpr MessageKind kKind = MessageKind::response;

  ErrorCode error_code = ErrorCode::none;
  std::vector<ApiVersion> api_keys;
  std::int32_t throttle_time_ms = 0;
  std::vector<SupportedFeature> supported_features;
  std::int64_t finalized_features_epoch = -1;
  std::vector<FinalizedFeature> finalized_features;
  bool zk_migration_ready = false;

  static void fields(auto& self, auto& wire) {
    wire.field("ErrorCode", self.error_code);
    wire.field("ApiKeys", self.api_keys);
    wire.field("ThrottleTimeMs", self.throttle_time_ms, {.since = 1});
    wire.tagged(0, "SupportedFeatures", self.supported_features, {.since = 3});
    wire.tagged(1, "FinalizedFeaturesEpoch", self.finalized_features_epoch, {.since = 3}, -1);
    wire.tagged(2, "FinalizedFeatures", self.finalized_features, {.since = 3});
    wire.tagged(3, "ZkMigrationReady", self.zk_migration_ready, {.since = 3});
  }
};

}  // namespace sentinel::net::kafka
