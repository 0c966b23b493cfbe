/// Metadata: this broker, and who leads the partitions of the topics asked for; creates missing
/// topics where both sides allow it.

#include "net/kafka/messages/metadata.h"

#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/controller_calls.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

void describe(const RequestContext& context, const consensus::Topic& topic,
              MetadataTopic& described) {
  const std::int32_t node = context.config.node_id;
  described.error_code = ErrorCode::none;
  described.name = topic.name;
  described.topic_id = topic.id;
  described.partitions.resize(static_cast<std::size_t>(topic.partition_count));
  std::int32_t index = 0;
  for (MetadataPartition& partition : described.partitions) {
    partition.partition_index = index;
    partition.leader_id = node;
    partition.leader_epoch = consensus::leader_epoch_of(
        context.broker.term_of(topic.group(consensus::PartitionIndex(index))));
    partition.replica_nodes = {node};
    partition.isr_nodes = {node};
    ++index;
  }
}

/// The topic that is asked for by name, made now if it may be.
core::Task<ErrorCode> find_or_create(RequestContext context, std::string name, bool may_create) {
  if (!consensus::is_legal_topic_name(name)) co_return ErrorCode::invalid_topic_exception;
  if (context.broker.image()->find(name) != nullptr) co_return ErrorCode::none;
  if (!may_create || !context.config.auto_create_topics)
    co_return ErrorCode::unknown_topic_or_partition;
  consensus::NewTopic topic{
      .name = std::move(name), .partition_count = context.config.default_partitions, .configs = {}};
  auto created = co_await create_topic(context.broker, std::move(topic), false);
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
  response.brokers.push_back({.node_id = context.config.node_id,
                              .host = context.endpoint.host,
                              .port = context.endpoint.port,
                              .rack = std::nullopt});
  response.cluster_id = context.config.cluster_id;
  response.controller_id = context.config.node_id;
  const bool all = request->wants_all_topics(context.version);
  if (!all) co_await describe_requested(context, std::move(*request), &response);
  // From here on nothing waits: names in the response point into this image.
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  if (all) {
    for (const auto& [name, topic] : image->topics())
      describe(context, topic, response.topics.emplace_back());
    co_return reply(context, response);
  }
  for (MetadataTopic& described : response.topics) {
    if (described.error_code != ErrorCode::none) continue;
    const consensus::Topic* topic =
        described.name.has_value() ? image->find(*described.name) : image->find(described.topic_id);
    if (topic == nullptr) {
      described.error_code = ErrorCode::unknown_topic_or_partition;
      continue;
    }
    describe(context, *topic, described);
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
