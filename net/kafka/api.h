#pragma once
/// The Kafka APIs: their keys, and the one table of the versions this broker speaks.
///
/// Source: the public message schemas of Apache Kafka (clients/src/main/resources/common/message).

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>

namespace sentinel::net::kafka {

/// Numbers are Kafka's. A key from the wire may hold any value: look it up before use.
enum class ApiKey : std::int16_t {
  produce = 0,
  fetch = 1,
  list_offsets = 2,
  metadata = 3,
  offset_commit = 8,
  offset_fetch = 9,
  find_coordinator = 10,
  join_group = 11,
  heartbeat = 12,
  leave_group = 13,
  sync_group = 14,
  describe_groups = 15,
  list_groups = 16,
  sasl_handshake = 17,
  api_versions = 18,
  create_topics = 19,
  delete_topics = 20,
  delete_records = 21,
  init_producer_id = 22,
  offset_for_leader_epoch = 23,
  add_partitions_to_txn = 24,
  add_offsets_to_txn = 25,
  end_txn = 26,
  write_txn_markers = 27,
  txn_offset_commit = 28,
  describe_acls = 29,
  create_acls = 30,
  delete_acls = 31,
  describe_configs = 32,
  alter_configs = 33,
  alter_replica_log_dirs = 34,
  describe_log_dirs = 35,
  sasl_authenticate = 36,
  create_partitions = 37,
  delete_groups = 42,
  elect_leaders = 43,
  incremental_alter_configs = 44,
  alter_partition_reassignments = 45,
  list_partition_reassignments = 46,
  offset_delete = 47,
  describe_client_quotas = 48,
  alter_client_quotas = 49,
  describe_user_scram_credentials = 50,
  alter_user_scram_credentials = 51,
  update_features = 57,
  describe_cluster = 60,
  describe_producers = 61,
  unregister_broker = 64,
  describe_transactions = 65,
  list_transactions = 66,
  consumer_group_heartbeat = 68,
  consumer_group_describe = 69,
  describe_topic_partitions = 75,
};

inline constexpr std::int16_t kNeverFlexible = std::numeric_limits<std::int16_t>::max();

/// One API and its versions. All bounds are inclusive.
struct SupportedApi {
  ApiKey key;
  std::string_view name;
  /// Lower bound in the ApiVersions response. It may lie below `min_served`: some clients switch
  /// features off unless version 0 is in the range, although they never send it.
  std::int16_t min_advertised;
  std::int16_t min_served;
  std::int16_t max;
  /// First version with compact types and tagged fields, and with the header that has them.
  std::int16_t flexible_since;

  [[nodiscard]] constexpr bool serves(std::int16_t version) const {
    return version >= min_served && version <= max;
  }
  [[nodiscard]] constexpr bool flexible(std::int16_t version) const {
    return version >= flexible_since;
  }
};

/// In the order of their keys.
inline constexpr auto kSupportedApis = std::to_array<SupportedApi>({
    {ApiKey::produce, "Produce", 0, 3, 12, 9},
    {ApiKey::fetch, "Fetch", 4, 4, 17, 12},
    {ApiKey::list_offsets, "ListOffsets", 1, 1, 10, 6},
    {ApiKey::metadata, "Metadata", 0, 0, 13, 9},
    {ApiKey::find_coordinator, "FindCoordinator", 0, 0, 6, 3},
    {ApiKey::api_versions, "ApiVersions", 0, 0, 4, 3},
    {ApiKey::create_topics, "CreateTopics", 2, 2, 7, 5},
    {ApiKey::delete_topics, "DeleteTopics", 1, 1, 6, 4},
    {ApiKey::delete_records, "DeleteRecords", 0, 0, 2, 2},
    {ApiKey::init_producer_id, "InitProducerId", 0, 0, 5, 2},
    {ApiKey::offset_for_leader_epoch, "OffsetForLeaderEpoch", 2, 2, 4, 4},
    {ApiKey::create_partitions, "CreatePartitions", 0, 0, 3, 2},
    {ApiKey::elect_leaders, "ElectLeaders", 0, 0, 2, 2},
    {ApiKey::alter_partition_reassignments, "AlterPartitionReassignments", 0, 0, 0, 0},
    {ApiKey::list_partition_reassignments, "ListPartitionReassignments", 0, 0, 0, 0},
    {ApiKey::unregister_broker, "UnregisterBroker", 0, 0, 0, 0},
});

/// The table's entry, or null when this broker does not know the API.
constexpr const SupportedApi* find_api(ApiKey key) {
  for (const SupportedApi& api : kSupportedApis) {
    if (api.key == key) return &api;
  }
  return nullptr;
}

/// "Fetch", or "unknown" for a key that is not in the table.
std::string_view to_string(ApiKey key);

/// ApiVersions is the exception: a client that does not know the broker yet must be able to read
/// its response.
constexpr bool response_header_flexible(const SupportedApi& api, std::int16_t version) {
  return api.flexible(version) && api.key != ApiKey::api_versions;
}

enum class MessageKind : std::uint8_t { request, response };

}  // namespace sentinel::net::kafka
