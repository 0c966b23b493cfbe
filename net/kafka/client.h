#pragma once
/// A small Kafka client on the runtime: topics, offsets, single produce and fetch calls, against
/// any broker or cluster.
///
/// Everything runs on one shard through its Ring, so the client works on io_uring, on epoll and in
/// the simulator. Calls that may be repeated are: with growing pauses and after a look at the
/// metadata, until their deadline. net/kafka/producer.h and net/kafka/consumer.h build streams of
/// batches on it.
///
/// Errors are sentences that name the broker, topic and partition and say what can be done.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "consensus/record_batch.h"
#include "core/bytes.h"
#include "core/result.h"
#include "core/shard.h"
#include "core/task.h"
#include "net/kafka/broker_connection.h"
#include "net/kafka/call_failure.h"
#include "net/kafka/error_code.h"
#include "net/kafka/messages/metadata.h"

namespace sentinel::net::kafka {

struct ClientOptions {
  HostPort bootstrap{.host = "localhost", .port = 9092};
  std::string client_id = "sentinel";
  core::Duration connect_timeout = std::chrono::seconds(10);
  /// For one request; a long poll waits this much longer than the broker does.
  core::Duration request_timeout = std::chrono::seconds(30);
  core::Duration backoff_min = std::chrono::milliseconds(20);
  core::Duration backoff_max = std::chrono::seconds(1);
};

struct BrokerView {
  std::int32_t node_id = -1;
  HostPort address;
};
struct PartitionView {
  std::int32_t index = 0;
  std::int32_t leader = -1;  ///< -1: none at present.
  std::int32_t leader_epoch = -1;
  std::vector<std::int32_t> replicas;
  std::vector<std::int32_t> in_sync;
};
/// Partitions in the order of their numbers.
struct TopicView {
  std::string name;
  std::string id;  ///< Empty when the broker gives none.
  bool internal = false;
  std::vector<PartitionView> partitions;
};
struct ClusterView {
  std::string cluster_id;
  std::int32_t controller = -1;
  std::vector<BrokerView> brokers;
  std::vector<TopicView> topics;  ///< In the order of their names.
};

/// Where a partition is to be; the first one is to lead.
struct PartitionPlacement {
  std::string topic;
  std::int32_t partition = 0;
  std::vector<std::int32_t> replicas;
};
/// A partition on its way.
struct MovingPartition {
  std::string topic;
  std::int32_t partition = 0;
  std::vector<std::int32_t> adding;
  std::vector<std::int32_t> removing;
};

struct NewTopic {
  std::string name;
  std::int32_t partitions = -1;  ///< -1: the broker's default.
  std::int16_t replication_factor = -1;
  std::vector<std::pair<std::string, std::string>> configs;
};

/// Special timestamps of list_offset().
inline constexpr std::int64_t kLatestOffset = -1;
inline constexpr std::int64_t kEarliestOffset = -2;

struct FoundOffset {
  std::int64_t offset = -1;  ///< -1: no record is that young.
  std::int64_t timestamp_ms = -1;
};

struct Produced {
  std::int64_t base_offset =
      -1;  ///< -1 with acks=0, and when the broker no longer remembers a repeated batch's.
};

struct FetchFrom {
  std::int32_t partition = 0;
  std::int64_t offset = 0;
};
struct FetchLimits {
  std::int32_t bytes_max =
      8 << 20;  ///< Of one response. A single larger batch is returned nevertheless.
  std::int32_t partition_bytes_max = 4 << 20;  ///< Of one partition in it.
  std::int32_t bytes_min = 1;
  core::Duration wait_max = std::chrono::milliseconds(500);
};
/// Whole record batches of one partition, one behind the other; the first may begin before the
/// offset asked for.
struct FetchedPartition {
  std::int32_t partition = 0;
  ErrorCode error_code = ErrorCode::none;
  std::int64_t high_watermark = -1;
  std::int64_t log_start_offset = -1;
  core::Bytes batches;
};

class Client {
 public:
  /// Connects to the bootstrap broker. Errors: those of BrokerConnection::connect().
  static core::Task<core::Result<std::unique_ptr<Client>>> open(core::Shard& shard,
                                                                ClientOptions options);
  /// Fails what is in flight and closes all connections. Await all calls before the client is
  /// destroyed.
  core::Task<void> close();
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  [[nodiscard]] core::Shard& shard() { return shard_; }
  [[nodiscard]] const ClientOptions& options() const { return options_; }

  /// All brokers and topics.
  core::Task<core::Result<ClusterView>> cluster(core::Deadline deadline);
  /// One topic, asked anew; waits until all its partitions have leaders. With `create` the broker
  /// makes it if it is missing and its settings allow that. Errc::not_found for an unknown topic.
  core::Task<core::Result<TopicView>> topic(std::string name, bool create, core::Deadline deadline);
  /// Errc::already_exists, invalid_argument.
  core::Task<core::Status> create_topic(NewTopic topic, core::Deadline deadline);
  /// Errc::not_found.
  core::Task<core::Status> delete_topic(std::string name, core::Deadline deadline);
  /// More partitions, `count` in all. Errc::not_found, invalid_argument.
  core::Task<core::Status> grow_topic(std::string name, std::int32_t count,
                                      core::Deadline deadline);

  /// Sends partitions on their way. Errc::invalid_argument; those before the refused one go.
  core::Task<core::Status> move_partitions(std::vector<PartitionPlacement> placements,
                                           core::Deadline deadline);
  /// Those that are on their way.
  core::Task<core::Result<std::vector<MovingPartition>>> moving_partitions(core::Deadline deadline);
  /// Those that are to lead their partitions first are to do so now, where they can.
  core::Task<core::Status> elect_preferred(core::Deadline deadline);
  /// A broker that is stopped and has no partitions is gone for good. Errc::invalid_argument.
  core::Task<core::Status> remove_broker(std::int32_t node_id, core::Deadline deadline);

  /// The first record at or after a timestamp (milliseconds since 1970), or kLatestOffset,
  /// kEarliestOffset.
  core::Task<core::Result<FoundOffset>> list_offset(std::string topic, std::int32_t partition,
                                                    std::int64_t timestamp_ms,
                                                    core::Deadline deadline);
  /// Gives up the records below an offset for good. Returns where the partition begins now.
  /// Errc::invalid_argument for an offset behind its end.
  core::Task<core::Result<std::int64_t>> delete_records(std::string topic, std::int32_t partition,
                                                        std::int64_t offset,
                                                        core::Deadline deadline);
  core::Task<core::Result<consensus::ProducerIdentity>> init_producer_id(core::Deadline deadline);

  // One attempt each, for callers that repeat in their own way.

  /// Sends one record batch to the partition's leader. Concurrent calls for a leader leave in the
  /// order in which they were started, provided that the leader is known.
  core::Task<CallResult<Produced>> produce_once(std::string topic, std::int32_t partition,
                                                core::Chain batch, std::int16_t acks);
  /// Reads partitions of one topic that share a leader. Errors of single partitions stand in their
  /// entries.
  core::Task<CallResult<std::vector<FetchedPartition>>> fetch_once(std::int32_t leader,
                                                                   std::string topic,
                                                                   std::vector<FetchFrom> from,
                                                                   FetchLimits limits);
  core::Task<CallResult<bool>> create_topic_once(NewTopic topic);
  core::Task<CallResult<bool>> delete_topic_once(std::string name);
  /// The leader's node id, from what is known or asked now.
  core::Task<CallResult<std::int32_t>> leader(std::string topic, std::int32_t partition);
  /// Drops what is known about a topic, after an error that says it moved.
  void forget(const std::string& topic) { topics_.erase(topic); }
  /// The address of a broker that a metadata answer has named.
  [[nodiscard]] std::optional<HostPort> address_of(std::int32_t node_id) const;

  /// The pause before attempt number `attempt` + 1: doubling, with chance in it so that clients
  /// don't come back together. False when the deadline passes before its end.
  core::Task<bool> pause(int attempt, core::Deadline deadline);

 private:
  Client(core::Shard& shard, ClientOptions options);

  template <typename T, typename... Params, typename... Args>
  core::Task<core::Result<T>> repeat(core::Deadline deadline,
                                     core::Task<CallResult<T>> (Client::*once)(Params...),
                                     Args... args);

  core::Task<CallResult<ClusterView>> cluster_once();
  core::Task<CallResult<TopicView>> topic_once(std::string name, bool create);
  core::Task<CallResult<bool>> grow_topic_once(std::string name, std::int32_t count);
  core::Task<CallResult<bool>> move_partitions_once(std::vector<PartitionPlacement> placements);
  core::Task<CallResult<std::vector<MovingPartition>>> moving_partitions_once();
  core::Task<CallResult<bool>> elect_preferred_once();
  core::Task<CallResult<bool>> remove_broker_once(std::int32_t node_id);
  core::Task<CallResult<FoundOffset>> list_offset_once(std::string topic, std::int32_t partition,
                                                       std::int64_t timestamp_ms);
  core::Task<CallResult<std::int64_t>> delete_records_once(std::string topic,
                                                           std::int32_t partition,
                                                           std::int64_t offset);
  core::Task<CallResult<consensus::ProducerIdentity>> init_producer_id_once();

  core::Task<CallResult<Answer<MetadataResponse>>> ask_metadata(MetadataRequest request);
  core::Task<CallResult<BrokerConnection*>> controller();
  core::Task<CallResult<BrokerConnection*>> leader_connection(std::string topic,
                                                              std::int32_t partition);
  BrokerConnection& connection(const HostPort& address);
  BrokerConnection& bootstrap() { return connection(options_.bootstrap); }
  [[nodiscard]] CallFailure missing_topic(const std::string& name, bool create) const;
  [[nodiscard]] core::Deadline request_deadline() const {
    return shard_.deadline_in(options_.request_timeout);
  }

  core::Shard& shard_;
  const ClientOptions options_;
  std::map<std::int32_t, HostPort> addresses_;
  std::map<std::string, std::unique_ptr<BrokerConnection>> connections_;  // By address.
  std::map<std::string, TopicView, std::less<>> topics_;
  bool closed_ = false;
};

template <typename T, typename... Params, typename... Args>
core::Task<core::Result<T>> Client::repeat(core::Deadline deadline,
                                           core::Task<CallResult<T>> (Client::*once)(Params...),
                                           Args... args) {
  for (int attempt = 0;; ++attempt) {
    auto result = co_await (this->*once)(args...);
    if (result) co_return std::move(*result);
    CallFailure failure = std::move(result).error();
    if (!failure.retriable || closed_) co_return std::unexpected(std::move(failure.error));
    const bool again = co_await pause(attempt, deadline);
    if (!again) co_return std::unexpected(std::move(failure.error));
  }
}

}  // namespace sentinel::net::kafka
