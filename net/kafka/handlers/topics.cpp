/// CreateTopics and DeleteTopics.

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "consensus/topic_config.h"
#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"
#include "net/kafka/messages/create_topics.h"
#include "net/kafka/messages/delete_topics.h"

namespace sentinel::net::kafka {

namespace {

/// An error for one topic of the request. The message is kept by the caller until the answer is
/// encoded.
struct TopicError {
  ErrorCode code = ErrorCode::none;
  std::string message;
};

TopicError check_assignments(const CreatableTopic& asked) {
  if (asked.num_partitions != -1 || asked.replication_factor != -1) {
    return {ErrorCode::invalid_request,
            "give either counts or an assignment of replicas, not both"};
  }
  std::vector<bool> seen(asked.assignments.size());
  for (const CreatableReplicaAssignment& assignment : asked.assignments) {
    const auto index = static_cast<std::size_t>(assignment.partition_index);
    if (assignment.partition_index < 0 || index >= seen.size() || seen[index]) {
      return {ErrorCode::invalid_replica_assignment,
              "partitions must be numbered from 0 without a gap"};
    }
    seen[index] = true;
    if (assignment.broker_ids.empty()) {
      return {ErrorCode::invalid_replica_assignment, "a partition needs at least one broker"};
    }
  }
  return {};
}

TopicError check_counts(const CreatableTopic& asked) {
  if (asked.num_partitions < 1 && asked.num_partitions != -1) {
    return {ErrorCode::invalid_partitions, "a topic needs at least one partition"};
  }
  if (asked.num_partitions > consensus::kPartitionsPerTopicMax) {
    return {ErrorCode::invalid_partitions,
            fmt::format("a topic has at most {} partitions", consensus::kPartitionsPerTopicMax)};
  }
  if (asked.replication_factor != -1 && asked.replication_factor < 1) {
    return {ErrorCode::invalid_replication_factor, "a replication factor is at least 1"};
  }
  return {};
}

TopicError to_new_topic(const CreatableTopic& asked, const BrokerConfig& config,
                        consensus::NewTopic& topic) {
  TopicError error = asked.assignments.empty() ? check_counts(asked) : check_assignments(asked);
  if (error.code != ErrorCode::none) return error;
  topic.name = asked.name;
  topic.partition_count = asked.num_partitions;
  topic.replication_factor = asked.replication_factor;
  topic.assignment.resize(asked.assignments.size());
  for (const CreatableReplicaAssignment& each : asked.assignments) {
    for (const std::int32_t id : each.broker_ids)
      topic.assignment[static_cast<std::size_t>(each.partition_index)].emplace_back(id);
  }
  if (!asked.assignments.empty())
    topic.partition_count = static_cast<std::int32_t>(asked.assignments.size());
  if (topic.partition_count == -1) topic.partition_count = config.default_partitions;
  for (const CreatableTopicConfig& each : asked.configs) {
    if (!each.value.has_value()) continue;  // Null asks for the default.
    const core::Status known = consensus::check_topic_config(each.name, *each.value);
    if (!known) return {ErrorCode::invalid_config, known.error().message};
    topic.configs.push_back({std::string(each.name), std::string(*each.value)});
  }
  return {};
}

TopicError refusal_of(consensus::Errc error, std::int32_t factor) {
  if (error == consensus::Errc::invalid_replication_factor) {
    return {
        ErrorCode::invalid_replication_factor,
        fmt::format("replication factor {} needs as many brokers, and fewer are there", factor)};
  }
  if (error == consensus::Errc::invalid_members) {
    return {ErrorCode::invalid_replica_assignment,
            "a partition is assigned to a broker that is not there, or twice to one"};
  }
  return {to_error_code(error), std::string(consensus::to_string(error))};
}

core::Task<TopicError> create_one(RequestContext context, CreatableTopic asked, bool validate_only,
                                  CreatedTopic* created) {
  consensus::NewTopic topic;
  TopicError error = to_new_topic(asked, context.config, topic);
  if (error.code != ErrorCode::none) co_return error;
  created->num_partitions = topic.partition_count;
  const std::int32_t factor = topic.replication_factor;
  auto result = co_await context.config.controller->create_topic(context.shard(), std::move(topic),
                                                                 validate_only);
  if (!result) co_return refusal_of(result.error(), factor);
  if (!result->replicas.empty())
    created->replication_factor = static_cast<std::int16_t>(result->replicas.front().size());
  created->topic_id = result->id;
  created->configs.emplace();
  for (const CreatableTopicConfig& each : asked.configs) {
    // Config source 1: set on the topic.
    if (each.value.has_value())
      created->configs->push_back({.name = each.name, .value = each.value, .config_source = 1});
  }
  co_return error;
}

}  // namespace

core::Task<Reply> handle_create_topics(RequestContext context) {
  auto request = decode_body<CreateTopicsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  CreateTopicsResponse response;
  std::deque<std::string> messages;
  for (const CreatableTopic& asked : request->topics) {
    // One answer a name: clients take a second one for a malformed response.
    if (std::ranges::count(response.topics, asked.name, &CreatedTopic::name) > 0) continue;
    CreatedTopic& created = response.topics.emplace_back();
    created.name = asked.name;
    TopicError error;
    if (std::ranges::count(request->topics, asked.name, &CreatableTopic::name) > 1) {
      error = {ErrorCode::invalid_request, "the topic is named twice in the request"};
    } else {
      error = co_await create_one(context, asked, request->validate_only, &created);
    }
    if (error.code == ErrorCode::none) continue;
    created = CreatedTopic();
    created.name = asked.name;
    created.error_code = error.code;
    created.error_message = messages.emplace_back(std::move(error.message));
  }
  co_return reply(context, response);
}

core::Task<Reply> handle_delete_topics(RequestContext context) {
  auto request = decode_body<DeleteTopicsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  std::vector<DeleteTopicsTopic> asked = request->topics;
  for (std::string_view name : request->topic_names)
    asked.push_back({.name = name, .topic_id = {}});
  DeleteTopicsResponse response;
  std::deque<std::string> names;
  for (const DeleteTopicsTopic& each : asked) {
    DeletedTopic& deleted = response.topics.emplace_back();
    deleted.name = each.name;
    deleted.topic_id = each.topic_id;
    std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
    const auto find = [&] {
      return each.name.has_value() ? image->find(*each.name) : image->find(each.topic_id);
    };
    const consensus::Topic* topic = find();
    if (topic == nullptr) {
      // It may just have been made, where this node has not heard of it yet.
      const bool caught_up = co_await context.config.controller->catch_up(context.shard());
      if (!caught_up) {
        deleted.error_code = ErrorCode::request_timed_out;
        continue;
      }
      image = context.broker.image();
      topic = find();
    }
    if (topic == nullptr) {
      deleted.error_code = each.name.has_value() ? ErrorCode::unknown_topic_or_partition
                                                 : ErrorCode::unknown_topic_id;
      continue;
    }
    deleted.name = names.emplace_back(topic->name);
    deleted.topic_id = topic->id;
    auto result = co_await context.config.controller->delete_topic(context.shard(), topic->id);
    if (!result) deleted.error_code = to_error_code(result.error());
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
