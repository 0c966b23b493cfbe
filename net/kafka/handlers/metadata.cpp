/// Metadata: the brokers, and who leads the partitions of the topics asked for; creates missing
/// topics where both sides allow it.

#include "net/kafka/messages/metadata.h"

#include <algorithm>

#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;
using consensus::NodeId;

/// What an answer is made of, all as of one moment.
struct Known {
  std::shared_ptr<const consensus::MetadataImage> image;
  BrokerShard::ClusterState state;
  std::size_t next_leader = 0;  // Leaders stand in the order in which topics are described.

  [[nodiscard]] bool is_alive(NodeId node) const {
    return image->nodes().empty() || std::ranges::binary_search(state.alive, node);
  }
};

void describe(const consensus::Topic& topic, Known& known, MetadataTopic& described) {
  described.error_code = ErrorCode::none;
  described.name = topic.name;
  described.topic_id = topic.id;
  described.partitions.resize(static_cast<std::size_t>(topic.partition_count));
  std::int32_t index = 0;
  for (MetadataPartition& partition : described.partitions) {
    const consensus::GroupLeader& leader = known.state.leaders[known.next_leader++];
    partition.partition_index = index;
    partition.leader_id = leader.leader.value();
    partition.leader_epoch = consensus::leader_epoch_of(leader.term);
    if (leader.leader == NodeId(0) || !known.is_alive(leader.leader)) {
      partition.error_code = ErrorCode::leader_not_available;
      partition.leader_id = -1;
    }
    for (const consensus::MemberId member : topic.replicas[static_cast<std::size_t>(index)]) {
      const NodeId node = node_of(member);
      partition.replica_nodes.push_back(node.value());
      const auto& in_sync = leader.in_sync;
      if (!known.is_alive(node)) {
        partition.offline_replicas.push_back(node.value());
      } else if (std::ranges::find(in_sync, node) != in_sync.end()) {
        partition.isr_nodes.push_back(node.value());
      }
    }
    ++index;
  }
}

void describe_brokers(const RequestContext& context, const Known& known,
                      MetadataResponse& response) {
  const std::int32_t self = context.config.node_id;
  bool has_self = false;
  for (const auto& [id, node] : known.image->nodes()) {
    if (!known.is_alive(id)) continue;
    has_self |= id.value() == self;
    response.brokers.push_back(
        {.node_id = id.value(), .host = node.host, .port = node.port, .rack = std::nullopt});
  }
  // Not registered yet, or a cluster of its own.
  if (!has_self) {
    response.brokers.push_back({.node_id = self,
                                .host = context.endpoint.host,
                                .port = context.endpoint.port,
                                .rack = std::nullopt});
  }
  // Any node takes what is meant for the controller to it, and there are clients that do not ask
  // again when they are told of none.
  const NodeId controller = known.state.controller;
  const bool is_known = controller != NodeId(0) && known.is_alive(controller);
  response.controller_id = is_known ? controller.value() : self;
}

core::Task<Known> ask_front(RequestContext context, std::vector<const consensus::Topic*> topics,
                            std::shared_ptr<const consensus::MetadataImage> image) {
  std::vector<consensus::GroupId> groups;
  for (const consensus::Topic* topic : topics) {
    for (std::int32_t i = 0; i < topic->partition_count; ++i)
      groups.push_back(topic->group(consensus::PartitionIndex(i)));
  }
  BrokerShard& front = context.broker.home_of(consensus::kControllerGroup);
  Known known{.image = std::move(image), .state = {}};
  known.state = co_await core::call(context.shard(), front.shard(), &BrokerShard::describe_cluster,
                                    &front, std::move(groups));
  co_return known;
}

/// The topic that is asked for by name, made now if it may be.
core::Task<ErrorCode> find_or_create(RequestContext context, std::string name, bool may_create) {
  if (!consensus::is_legal_topic_name(name)) co_return ErrorCode::invalid_topic_exception;
  if (context.broker.image()->find(name) != nullptr) co_return ErrorCode::none;
  if (!may_create || !context.config.auto_create_topics)
    co_return ErrorCode::unknown_topic_or_partition;
  consensus::NewTopic topic;
  topic.name = std::move(name);
  topic.partition_count = context.config.default_partitions;
  auto created =
      co_await context.config.controller->create_topic(context.shard(), std::move(topic), false);
  // A controller that can't decide at the moment: clients ask again, which for other codes some do
  // not.
  if (!created && created.error() == consensus::Errc::timed_out)
    co_return ErrorCode::leader_not_available;
  // Another client may have been faster.
  if (!created && created.error() != consensus::Errc::topic_already_exists)
    co_return to_error_code(created.error());
  co_return ErrorCode::none;
}

core::Task<void> describe_requested(RequestContext context, MetadataRequest request,
                                    MetadataResponse* response) {
  // Before version 4 a client could not say, and expects creation.
  const bool may_create = context.version < 4 || request.allow_auto_topic_creation;
  for (const MetadataRequestTopic& asked : *request.topics) {
    ErrorCode error = ErrorCode::none;
    if (asked.name.has_value()) {
      error = co_await find_or_create(context, std::string(*asked.name), may_create);
    }
    // Taken anew: the image may have changed while the topic was made. The encoded answer is made
    // from `response->image`.
    const consensus::MetadataImage& image = *context.broker.image();
    const consensus::Topic* topic =
        asked.name.has_value() ? image.find(*asked.name) : image.find(asked.topic_id);
    MetadataTopic& described = response->topics.emplace_back();
    described.name = asked.name;
    described.topic_id = asked.topic_id;
    if (topic == nullptr) {
      const ErrorCode missing = asked.name.has_value() ? ErrorCode::unknown_topic_or_partition
                                                       : ErrorCode::unknown_topic_id;
      described.error_code = error == ErrorCode::none ? missing : error;
      continue;
    }
    described.error_code = error;
  }
}

}  // namespace

core::Task<Reply> handle_metadata(RequestContext context) {
  auto request = decode_body<MetadataRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  MetadataResponse response;
  response.cluster_id = context.config.cluster_id;
  const bool all = request->wants_all_topics(context.version);
  if (!all) co_await describe_requested(context, std::move(*request), &response);
  // Names in the response point into this image.
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  std::vector<const consensus::Topic*> topics;
  if (all) {
    for (const auto& [name, topic] : image->topics()) topics.push_back(&topic);
    response.topics.resize(topics.size());
  } else {
    for (MetadataTopic& described : response.topics) {
      if (described.error_code != ErrorCode::none) continue;
      const consensus::Topic* topic = described.name.has_value() ? image->find(*described.name)
                                                                 : image->find(described.topic_id);
      if (topic == nullptr) described.error_code = ErrorCode::unknown_topic_or_partition;
      if (topic != nullptr) topics.push_back(topic);
    }
  }
  Known known = co_await ask_front(context, topics, image);
  std::size_t next = 0;
  for (MetadataTopic& described : response.topics) {
    if (described.error_code == ErrorCode::none) describe(*topics[next++], known, described);
  }
  describe_brokers(context, known, response);
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
