#include "net/kafka/client.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/sync.h"
#include "net/kafka/messages/alter_partition_reassignments.h"
#include "net/kafka/messages/create_partitions.h"
#include "net/kafka/messages/create_topics.h"
#include "net/kafka/messages/delete_records.h"
#include "net/kafka/messages/delete_topics.h"
#include "net/kafka/messages/elect_leaders.h"
#include "net/kafka/messages/fetch.h"
#include "net/kafka/messages/init_producer_id.h"
#include "net/kafka/messages/list_offsets.h"
#include "net/kafka/messages/list_partition_reassignments.h"
#include "net/kafka/messages/produce.h"
#include "net/kafka/messages/unregister_broker.h"

namespace sentinel::net::kafka {

namespace {

// From version 13 topics travel as ids; names say the same to any broker.
constexpr std::int16_t kFetchVersionMax = 12;
constexpr std::int32_t kConsumer = -1;
// How long a broker that may create a topic is given to do so.
constexpr core::Duration kCreationPatience = std::chrono::seconds(5);

std::int32_t to_ms(core::Duration duration) {
  return static_cast<std::int32_t>(
      std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

TopicView view_of(const MetadataTopic& topic) {
  TopicView view;
  view.name = topic.name.value_or("");
  if (!topic.topic_id.is_zero()) view.id = topic.topic_id.to_string();
  view.internal = topic.is_internal;
  for (const MetadataPartition& partition : topic.partitions) {
    view.partitions.push_back({partition.partition_index, partition.leader_id,
                               partition.leader_epoch, partition.replica_nodes,
                               partition.isr_nodes});
  }
  std::ranges::sort(view.partitions, {}, &PartitionView::index);
  return view;
}

}  // namespace

Client::Client(core::Shard& shard, ClientOptions options)
    : shard_(shard), options_(std::move(options)) {}

Client::~Client() {
  SENTINEL_ASSERT(closed_ || shard_.abandoned(), "a client is closed before it is destroyed");
}

core::Task<core::Result<std::unique_ptr<Client>>> Client::open(core::Shard& shard,
                                                               ClientOptions options) {
  std::unique_ptr<Client> client(new Client(shard, std::move(options)));
  auto connected =
      co_await client->bootstrap().connect(shard.deadline_in(client->options_.connect_timeout));
  if (!connected) {
    co_await client->close();
    co_return std::unexpected(std::move(connected).error());
  }
  co_return client;
}

core::Task<void> Client::close() {
  closed_ = true;
  for (auto& [address, connection] : connections_) co_await connection->close();
}

BrokerConnection& Client::connection(const HostPort& address) {
  auto& connection = connections_[address.to_string()];
  if (connection == nullptr) {
    connection = std::make_unique<BrokerConnection>(shard_, address, options_.client_id);
  }
  return *connection;
}

std::optional<HostPort> Client::address_of(std::int32_t node_id) const {
  const auto found = addresses_.find(node_id);
  if (found == addresses_.end()) return std::nullopt;
  return found->second;
}

core::Task<bool> Client::pause(int attempt, core::Deadline deadline) {
  const core::Duration limit = options_.backoff_min * (std::int64_t{1} << std::min(attempt, 16));
  const auto most = static_cast<std::uint64_t>(std::min(limit, options_.backoff_max).count());
  const core::Duration pause(shard_.random().between(most / 2, most));
  if (deadline.passed(shard_.now() + pause)) co_return false;
  co_await core::sleep_for(shard_, pause);
  co_return !closed_;
}

// Metadata

core::Task<CallResult<Answer<MetadataResponse>>> Client::ask_metadata(MetadataRequest request) {
  // Any broker can answer. The first one may be gone while others are there.
  std::vector<HostPort> candidates{options_.bootstrap};
  for (const auto& [node, address] : addresses_) {
    if (address.to_string() != options_.bootstrap.to_string()) candidates.push_back(address);
  }
  CallFailure failure;
  for (const HostPort& candidate : candidates) {
    auto answer =
        co_await connection(candidate).call<MetadataResponse>(request, request_deadline());
    if (!answer) {
      failure = failure_of(std::move(answer).error());
      continue;
    }
    for (const MetadataBroker& broker : answer->message.brokers) {
      HostPort address;
      address.host = broker.host;
      address.port = static_cast<std::uint16_t>(broker.port);
      addresses_.insert_or_assign(broker.node_id, std::move(address));
    }
    if (answer->message.error_code == ErrorCode::none) co_return std::move(*answer);
    failure = failure_of(answer->message.error_code, "asking for metadata");
  }
  co_return std::unexpected(std::move(failure));
}

core::Task<core::Result<ClusterView>> Client::cluster(core::Deadline deadline) {
  return repeat(deadline, &Client::cluster_once);
}

core::Task<CallResult<ClusterView>> Client::cluster_once() {
  MetadataRequest request;
  request.allow_auto_topic_creation = false;
  SENTINEL_CO_TRY(answer, co_await ask_metadata(std::move(request)));
  ClusterView view;
  view.cluster_id = answer.message.cluster_id.value_or("");
  view.controller = answer.message.controller_id;
  for (const MetadataBroker& broker : answer.message.brokers) {
    BrokerView& seen = view.brokers.emplace_back();
    seen.node_id = broker.node_id;
    seen.address = addresses_.at(broker.node_id);
  }
  for (const MetadataTopic& topic : answer.message.topics) view.topics.push_back(view_of(topic));
  std::ranges::sort(view.topics, {}, &TopicView::name);
  co_return view;
}

core::Task<core::Result<TopicView>> Client::topic(std::string name, bool create,
                                                  core::Deadline deadline) {
  const core::Deadline creation = earlier(deadline, shard_.deadline_in(kCreationPatience));
  for (int attempt = 0;; ++attempt) {
    auto topic = co_await topic_once(name, create);
    if (topic) co_return std::move(*topic);
    CallFailure failure = std::move(topic).error();
    const bool missing = failure.code == ErrorCode::unknown_topic_or_partition;
    if (!failure.retriable || closed_) co_return std::unexpected(std::move(failure.error));
    const bool again = co_await pause(attempt, missing ? creation : deadline);
    if (!again) co_return std::unexpected(std::move(failure.error));
  }
}

core::Task<CallResult<TopicView>> Client::topic_once(std::string name, bool create) {
  MetadataRequest request;
  request.allow_auto_topic_creation = create;
  MetadataRequestTopic& asked = request.topics.emplace().emplace_back();
  asked.name = name;
  SENTINEL_CO_TRY(answer, co_await ask_metadata(std::move(request)));
  for (const MetadataTopic& topic : answer.message.topics) {
    if (topic.name != name) continue;
    if (topic.error_code == ErrorCode::unknown_topic_or_partition) break;
    if (topic.error_code != ErrorCode::none) {
      co_return std::unexpected(failure_of(topic.error_code, fmt::format("topic {}", name)));
    }
    TopicView view = view_of(topic);
    const bool led = std::ranges::all_of(
        view.partitions, [](const PartitionView& each) { return each.leader >= 0; });
    topics_.insert_or_assign(name, view);
    if (led && !view.partitions.empty()) co_return view;
    co_return std::unexpected(
        failure_of(ErrorCode::leader_not_available, fmt::format("topic {}", name)));
  }
  co_return std::unexpected(missing_topic(name, create));
}

CallFailure Client::missing_topic(const std::string& name, bool create) const {
  CallFailure failure;
  failure.code = ErrorCode::unknown_topic_or_partition;
  failure.retriable = create;
  failure.error.code = core::Errc::not_found;
  failure.error.message =
      fmt::format("there is no topic {} on {}{}; make it with: sentinel-cli topics create {}", name,
                  options_.bootstrap.to_string(),
                  create ? ", and the broker does not create topics by itself" : "", name);
  return failure;
}

core::Task<CallResult<std::int32_t>> Client::leader(std::string topic, std::int32_t partition) {
  const std::string what = fmt::format("{}/{}", topic, partition);
  const bool known_before = topics_.contains(topic);
  if (!known_before) {
    auto asked = co_await topic_once(topic, false);
    // Partitions without a leader don't matter here unless it is this one.
    if (!asked && !topics_.contains(topic)) co_return std::unexpected(std::move(asked).error());
  }
  const TopicView& view = topics_.find(topic)->second;
  const auto found = std::ranges::find(view.partitions, partition, &PartitionView::index);
  if (found == view.partitions.end()) {
    if (known_before) {  // It may have more of them by now.
      forget(topic);
      co_return co_await leader(std::move(topic), partition);
    }
    CallFailure failure;
    failure.code = ErrorCode::unknown_topic_or_partition;
    failure.error.code = core::Errc::not_found;
    failure.error.message = fmt::format("topic {} has no partition {}: it has {}, counted from 0",
                                        topic, partition, view.partitions.size());
    co_return std::unexpected(std::move(failure));
  }
  const std::int32_t leader = found->leader;
  if (leader < 0 || !addresses_.contains(leader)) {
    forget(topic);
    co_return std::unexpected(failure_of(ErrorCode::leader_not_available, what));
  }
  co_return leader;
}

core::Task<CallResult<BrokerConnection*>> Client::leader_connection(std::string topic,
                                                                    std::int32_t partition) {
  SENTINEL_CO_TRY(node, co_await leader(std::move(topic), partition));
  co_return &connection(addresses_.at(node));
}

core::Task<CallResult<BrokerConnection*>> Client::controller() {
  MetadataRequest request;
  request.topics.emplace();
  request.allow_auto_topic_creation = false;
  SENTINEL_CO_TRY(answer, co_await ask_metadata(std::move(request)));
  const auto address = address_of(answer.message.controller_id);
  if (!address)
    co_return std::unexpected(failure_of(ErrorCode::not_controller, "looking for the controller"));
  co_return &connection(*address);
}

// Topics

core::Task<core::Status> Client::create_topic(NewTopic topic, core::Deadline deadline) {
  auto created = co_await repeat(deadline, &Client::create_topic_once, std::move(topic));
  if (!created) co_return std::unexpected(std::move(created).error());
  co_return core::Status();
}

core::Task<CallResult<bool>> Client::create_topic_once(NewTopic topic) {
  SENTINEL_CO_TRY(broker, co_await controller());
  CreateTopicsRequest request;
  request.timeout_ms = to_ms(options_.request_timeout);
  CreatableTopic& wanted = request.topics.emplace_back();
  wanted.name = topic.name;
  wanted.num_partitions = topic.partitions;
  wanted.replication_factor = topic.replication_factor;
  for (const auto& [name, value] : topic.configs) {
    CreatableTopicConfig& config = wanted.configs.emplace_back();
    config.name = name;
    config.value = value;
  }
  auto answer = co_await broker->call<CreateTopicsResponse>(std::move(request), request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  for (const CreatedTopic& created : answer->message.topics) {
    if (created.error_code == ErrorCode::none) continue;
    co_return std::unexpected(failure_of(created.error_code,
                                         fmt::format("cannot create topic {}", topic.name),
                                         created.error_message.value_or("")));
  }
  forget(topic.name);
  co_return true;
}

core::Task<core::Status> Client::delete_topic(std::string name, core::Deadline deadline) {
  auto deleted = co_await repeat(deadline, &Client::delete_topic_once, std::move(name));
  if (!deleted) co_return std::unexpected(std::move(deleted).error());
  co_return core::Status();
}

core::Task<CallResult<bool>> Client::delete_topic_once(std::string name) {
  SENTINEL_CO_TRY(broker, co_await controller());
  DeleteTopicsRequest request;
  request.timeout_ms = to_ms(options_.request_timeout);
  // The two forms of different versions; only one of them is sent.
  request.topic_names.push_back(name);
  request.topics.emplace_back().name = name;
  auto answer = co_await broker->call<DeleteTopicsResponse>(std::move(request), request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  forget(name);
  for (const DeletedTopic& deleted : answer->message.topics) {
    if (deleted.error_code == ErrorCode::none) continue;
    CallFailure failure =
        failure_of(deleted.error_code, fmt::format("cannot delete topic {}", name),
                   deleted.error_message.value_or(""));
    // A topic that is not there will not come by waiting.
    if (deleted.error_code == ErrorCode::unknown_topic_or_partition) failure.retriable = false;
    co_return std::unexpected(std::move(failure));
  }
  co_return true;
}

core::Task<core::Status> Client::grow_topic(std::string name, std::int32_t count,
                                            core::Deadline deadline) {
  auto grown = co_await repeat(deadline, &Client::grow_topic_once, std::move(name), count);
  if (!grown) co_return std::unexpected(std::move(grown).error());
  co_return core::Status();
}

core::Task<CallResult<bool>> Client::grow_topic_once(std::string name, std::int32_t count) {
  SENTINEL_CO_TRY(broker, co_await controller());
  CreatePartitionsRequest request;
  request.timeout_ms = to_ms(options_.request_timeout);
  request.topics.push_back({.name = name, .count = count, .assignments = std::nullopt});
  auto answer =
      co_await broker->call<CreatePartitionsResponse>(std::move(request), request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  forget(name);
  for (const CreatePartitionsTopicResult& grown : answer->message.results) {
    if (grown.error_code == ErrorCode::none) continue;
    CallFailure failure =
        failure_of(grown.error_code, fmt::format("cannot give topic {} more partitions", name),
                   grown.error_message.value_or(""));
    if (grown.error_code == ErrorCode::unknown_topic_or_partition) failure.retriable = false;
    co_return std::unexpected(std::move(failure));
  }
  co_return true;
}

// The cluster

core::Task<core::Status> Client::move_partitions(std::vector<PartitionPlacement> placements,
                                                 core::Deadline deadline) {
  auto moved = co_await repeat(deadline, &Client::move_partitions_once, std::move(placements));
  if (!moved) co_return std::unexpected(std::move(moved).error());
  co_return core::Status();
}

core::Task<CallResult<bool>> Client::move_partitions_once(
    std::vector<PartitionPlacement> placements) {
  SENTINEL_CO_TRY(broker, co_await controller());
  AlterPartitionReassignmentsRequest request;
  request.timeout_ms = to_ms(options_.request_timeout);
  for (const PartitionPlacement& each : placements) {
    auto topic = std::ranges::find(request.topics, each.topic, &ReassignableTopic::name);
    if (topic == request.topics.end())
      topic = request.topics.insert(topic, {.name = each.topic, .partitions = {}});
    topic->partitions.push_back({each.partition, each.replicas});
  }
  auto answer = co_await broker->call<AlterPartitionReassignmentsResponse>(std::move(request),
                                                                           request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  const AlterPartitionReassignmentsResponse& moved = answer->message;
  if (moved.error_code != ErrorCode::none)
    co_return std::unexpected(
        failure_of(moved.error_code, "cannot move partitions", moved.error_message.value_or("")));
  for (const ReassignedTopic& topic : moved.responses) {
    for (const ReassignedPartition& partition : topic.partitions) {
      if (partition.error_code == ErrorCode::none) continue;
      co_return std::unexpected(
          failure_of(partition.error_code,
                     fmt::format("cannot move {}/{}", topic.name, partition.partition_index),
                     partition.error_message.value_or("")));
    }
  }
  co_return true;
}

core::Task<core::Result<std::vector<MovingPartition>>> Client::moving_partitions(
    core::Deadline deadline) {
  return repeat(deadline, &Client::moving_partitions_once);
}

core::Task<CallResult<std::vector<MovingPartition>>> Client::moving_partitions_once() {
  SENTINEL_CO_TRY(broker, co_await controller());
  ListPartitionReassignmentsRequest request;
  request.timeout_ms = to_ms(options_.request_timeout);
  auto answer = co_await broker->call<ListPartitionReassignmentsResponse>(std::move(request),
                                                                          request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  const ListPartitionReassignmentsResponse& listed = answer->message;
  if (listed.error_code != ErrorCode::none)
    co_return std::unexpected(failure_of(listed.error_code, "cannot list partitions that move",
                                         listed.error_message.value_or("")));
  std::vector<MovingPartition> moving;
  for (const OngoingTopicReassignment& topic : listed.topics) {
    for (const OngoingPartitionReassignment& each : topic.partitions)
      moving.push_back({std::string(topic.name), each.partition_index, each.adding_replicas,
                        each.removing_replicas});
  }
  co_return moving;
}

core::Task<core::Status> Client::elect_preferred(core::Deadline deadline) {
  auto elected = co_await repeat(deadline, &Client::elect_preferred_once);
  if (!elected) co_return std::unexpected(std::move(elected).error());
  co_return core::Status();
}

core::Task<CallResult<bool>> Client::elect_preferred_once() {
  SENTINEL_CO_TRY(broker, co_await controller());
  ElectLeadersRequest request;
  // Within the time that the answer is waited for.
  request.timeout_ms = to_ms(options_.request_timeout) / 2;
  auto answer = co_await broker->call<ElectLeadersResponse>(std::move(request), request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  if (answer->message.error_code != ErrorCode::none)
    co_return std::unexpected(failure_of(answer->message.error_code, "cannot elect leaders"));
  co_return true;
}

core::Task<core::Status> Client::remove_broker(std::int32_t node_id, core::Deadline deadline) {
  auto removed = co_await repeat(deadline, &Client::remove_broker_once, node_id);
  if (!removed) co_return std::unexpected(std::move(removed).error());
  co_return core::Status();
}

core::Task<CallResult<bool>> Client::remove_broker_once(std::int32_t node_id) {
  SENTINEL_CO_TRY(broker, co_await controller());
  UnregisterBrokerRequest request;
  request.broker_id = node_id;
  auto answer = co_await broker->call<UnregisterBrokerResponse>(request, request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  if (answer->message.error_code != ErrorCode::none)
    co_return std::unexpected(failure_of(answer->message.error_code,
                                         fmt::format("cannot remove node {}", node_id),
                                         answer->message.error_message.value_or("")));
  co_return true;
}

// Offsets and producer ids

core::Task<core::Result<FoundOffset>> Client::list_offset(std::string topic, std::int32_t partition,
                                                          std::int64_t timestamp_ms,
                                                          core::Deadline deadline) {
  return repeat(deadline, &Client::list_offset_once, std::move(topic), partition, timestamp_ms);
}

core::Task<CallResult<FoundOffset>> Client::list_offset_once(std::string topic,
                                                             std::int32_t partition,
                                                             std::int64_t timestamp_ms) {
  SENTINEL_CO_TRY(broker, co_await leader_connection(topic, partition));
  ListOffsetsRequest request;
  request.replica_id = kConsumer;
  request.timeout_ms = to_ms(options_.request_timeout);
  ListOffsetsTopic& asked = request.topics.emplace_back();
  asked.name = topic;
  ListOffsetsPartition& position = asked.partitions.emplace_back();
  position.partition_index = partition;
  position.timestamp = timestamp_ms;
  auto answer = co_await broker->call<ListOffsetsResponse>(std::move(request), request_deadline());
  if (!answer) {
    forget(topic);
    co_return std::unexpected(failure_of(std::move(answer).error()));
  }
  for (const ListOffsetsTopicResponse& each : answer->message.topics) {
    for (const ListOffsetsPartitionResponse& found : each.partitions) {
      if (each.name != topic || found.partition_index != partition) continue;
      if (found.error_code == ErrorCode::none) co_return FoundOffset{found.offset, found.timestamp};
      forget(topic);
      co_return std::unexpected(
          failure_of(found.error_code, fmt::format("offsets of {}/{}", topic, partition)));
    }
  }
  co_return std::unexpected(failure_of(ErrorCode::unknown_server_error,
                                       fmt::format("offsets of {}/{}", topic, partition)));
}

core::Task<core::Result<std::int64_t>> Client::delete_records(std::string topic,
                                                              std::int32_t partition,
                                                              std::int64_t offset,
                                                              core::Deadline deadline) {
  return repeat(deadline, &Client::delete_records_once, std::move(topic), partition, offset);
}

core::Task<CallResult<std::int64_t>> Client::delete_records_once(std::string topic,
                                                                 std::int32_t partition,
                                                                 std::int64_t offset) {
  SENTINEL_CO_TRY(broker, co_await leader_connection(topic, partition));
  DeleteRecordsRequest request;
  request.timeout_ms = to_ms(options_.request_timeout);
  DeleteRecordsTopic& asked = request.topics.emplace_back();
  asked.name = topic;
  asked.partitions.push_back({.partition_index = partition, .offset = offset});
  auto answer =
      co_await broker->call<DeleteRecordsResponse>(std::move(request), request_deadline());
  if (!answer) {
    forget(topic);
    co_return std::unexpected(failure_of(std::move(answer).error()));
  }
  for (const DeleteRecordsTopicResult& each : answer->message.topics) {
    for (const DeleteRecordsPartitionResult& done : each.partitions) {
      if (each.name != topic || done.partition_index != partition) continue;
      if (done.error_code == ErrorCode::none) co_return done.low_watermark;
      forget(topic);
      co_return std::unexpected(
          failure_of(done.error_code, fmt::format("records of {}/{}", topic, partition)));
    }
  }
  co_return std::unexpected(failure_of(ErrorCode::unknown_server_error,
                                       fmt::format("records of {}/{}", topic, partition)));
}

core::Task<core::Result<consensus::ProducerIdentity>> Client::init_producer_id(
    core::Deadline deadline) {
  return repeat(deadline, &Client::init_producer_id_once);
}

core::Task<CallResult<consensus::ProducerIdentity>> Client::init_producer_id_once() {
  InitProducerIdRequest request;
  request.transaction_timeout_ms = to_ms(options_.request_timeout);
  auto answer = co_await bootstrap().call<InitProducerIdResponse>(request, request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  if (answer->message.error_code != ErrorCode::none) {
    co_return std::unexpected(failure_of(answer->message.error_code, "asking for a producer id"));
  }
  consensus::ProducerIdentity identity;
  identity.id = answer->message.producer_id;
  identity.epoch = answer->message.producer_epoch;
  co_return identity;
}

// Records

core::Task<CallResult<Produced>> Client::produce_once(std::string topic, std::int32_t partition,
                                                      core::Chain batch, std::int16_t acks) {
  SENTINEL_CO_TRY(broker, co_await leader_connection(topic, partition));
  ProduceRequest request;
  request.acks = acks;
  request.timeout_ms = to_ms(options_.request_timeout);
  ProduceTopic& to = request.topics.emplace_back();
  to.name = topic;
  ProducePartition& part = to.partitions.emplace_back();
  part.index = partition;
  part.records = std::move(batch);
  if (acks == 0) {
    auto sent = co_await broker->send(std::move(request), request_deadline());
    if (!sent) co_return std::unexpected(failure_of(std::move(sent).error()));
    co_return Produced{};
  }
  auto answer = co_await broker->call<ProduceResponse>(std::move(request), request_deadline());
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  const std::string what =
      fmt::format("produce to {}/{} on {}", topic, partition, broker->address().to_string());
  for (const ProduceTopicResponse& each : answer->message.topics) {
    for (const ProducePartitionResponse& result : each.partitions) {
      if (each.name != topic || result.index != partition) continue;
      if (result.error_code == ErrorCode::none) co_return Produced{result.base_offset};
      co_return std::unexpected(
          failure_of(result.error_code, what, result.error_message.value_or("")));
    }
  }
  co_return std::unexpected(failure_of(ErrorCode::unknown_server_error, what));
}

core::Task<CallResult<std::vector<FetchedPartition>>> Client::fetch_once(
    std::int32_t leader, std::string topic, std::vector<FetchFrom> from, FetchLimits limits) {
  const auto address = address_of(leader);
  if (!address)
    co_return std::unexpected(
        failure_of(ErrorCode::leader_not_available, fmt::format("fetch from {}", topic)));
  FetchRequest request;
  request.max_wait_ms = to_ms(limits.wait_max);
  request.min_bytes = limits.bytes_min;
  request.max_bytes = limits.bytes_max;
  FetchTopic& asked = request.topics.emplace_back();
  asked.topic = topic;
  for (const FetchFrom& position : from) {
    FetchPartition& each = asked.partitions.emplace_back();
    each.partition = position.partition;
    each.fetch_offset = position.offset;
    each.partition_max_bytes = limits.partition_bytes_max;
  }
  const core::Deadline deadline = shard_.deadline_in(options_.request_timeout + limits.wait_max);
  auto answer = co_await connection(*address).call<FetchResponse>(std::move(request), deadline,
                                                                  kFetchVersionMax);
  if (!answer) co_return std::unexpected(failure_of(std::move(answer).error()));
  const FetchResponse& response = answer->message;
  if (response.error_code != ErrorCode::none) {
    co_return std::unexpected(failure_of(response.error_code, fmt::format("fetch from {}", topic)));
  }
  std::vector<FetchedPartition> fetched;
  for (const FetchTopicResponse& each : response.topics) {
    if (each.topic != topic) continue;
    for (const FetchPartitionResponse& part : each.partitions) {
      FetchedPartition& got = fetched.emplace_back();
      got.partition = part.partition_index;
      got.error_code = part.error_code;
      got.high_watermark = part.high_watermark;
      got.log_start_offset = part.log_start_offset;
      if (part.records) got.batches = part.records->joined();
    }
  }
  co_return fetched;
}

}  // namespace sentinel::net::kafka
