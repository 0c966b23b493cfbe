/// AlterPartitionReassignments and ListPartitionReassignments: partitions move to other brokers.
///
/// The controller writes down where a partition is to be; its leader brings in the new members, and
/// lets the others go (consensus/membership_keeper.h).

#include <algorithm>

#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"
#include "net/kafka/messages/alter_partition_reassignments.h"
#include "net/kafka/messages/list_partition_reassignments.h"

namespace sentinel::net::kafka {

namespace {

using consensus::PartitionIndex;

core::Task<ReassignedPartition> reassign(RequestContext context, const consensus::Topic* topic,
                                         const ReassignablePartition* asked) {
  ReassignedPartition result;
  result.partition_index = asked->partition_index;
  if (topic == nullptr || !topic->has(asked->partition_index)) {
    result.error_code = ErrorCode::unknown_topic_or_partition;
    result.error_message = "there is no such partition";
    co_return result;
  }
  AskedPlacement placement{.group = topic->group(PartitionIndex(asked->partition_index)),
                           .nodes = {}};
  if (asked->replicas.has_value()) {
    for (const std::int32_t id : *asked->replicas) placement.nodes.emplace_back(id);
  }
  if (asked->replicas.has_value() && placement.nodes.empty()) {
    result.error_code = ErrorCode::invalid_replica_assignment;
    result.error_message = "a partition needs at least one broker";
    co_return result;
  }
  const auto placed =
      co_await context.config.controller->place_group(context.shard(), std::move(placement));
  if (placed) co_return result;
  if (placed.error() == consensus::Errc::invalid_members) {
    result.error_code = ErrorCode::invalid_replica_assignment;
    result.error_message = "a broker is named twice, or is not one of the cluster";
  } else {
    result.error_code = to_error_code(placed.error());
    result.error_message = consensus::to_string(placed.error());
  }
  co_return result;
}

std::vector<std::int32_t> numbers_of(const std::vector<consensus::MemberId>& members) {
  std::vector<std::int32_t> numbers;
  for (const consensus::MemberId member : members) numbers.push_back(node_of(member).value());
  return numbers;
}

void add_all(std::vector<std::int32_t>& to, const std::vector<std::int32_t>& from) {
  for (const std::int32_t each : from) {
    if (std::ranges::find(to, each) == to.end()) to.push_back(each);
  }
}

OngoingPartitionReassignment describe(const consensus::Topic& topic,
                                      const consensus::PartitionMove& move) {
  OngoingPartitionReassignment ongoing;
  ongoing.partition_index = move.partition;
  const auto target = numbers_of(topic.replicas[static_cast<std::size_t>(move.partition)]);
  const auto before = numbers_of(move.before);
  ongoing.replicas = target;
  add_all(ongoing.replicas, numbers_of(move.leaving));
  for (const std::int32_t node : target) {
    if (std::ranges::find(before, node) == before.end()) ongoing.adding_replicas.push_back(node);
  }
  // One with another disk leaves and comes under the same number.
  for (const std::int32_t node : numbers_of(move.leaving)) {
    if (std::ranges::find(target, node) == target.end()) ongoing.removing_replicas.push_back(node);
  }
  return ongoing;
}

}  // namespace

core::Task<Reply> handle_alter_partition_reassignments(RequestContext context) {
  auto request = decode_body<AlterPartitionReassignmentsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  AlterPartitionReassignmentsResponse response;
  for (const ReassignableTopic& asked : request->topics) {
    ReassignedTopic& answered = response.responses.emplace_back();
    answered.name = asked.name;
    const consensus::Topic* topic = image->find(asked.name);
    for (const ReassignablePartition& partition : asked.partitions)
      answered.partitions.push_back(co_await reassign(context, topic, &partition));
  }
  co_return reply(context, response);
}

core::Task<Reply> handle_list_partition_reassignments(RequestContext context) {
  auto request = decode_body<ListPartitionReassignmentsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  // Names in the response point into this image.
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  ListPartitionReassignmentsResponse response;
  const auto add = [&](const consensus::Topic& topic, auto&& is_asked) {
    OngoingTopicReassignment ongoing;
    ongoing.name = topic.name;
    for (const consensus::PartitionMove& move : topic.moves) {
      if (is_asked(move.partition)) ongoing.partitions.push_back(describe(topic, move));
    }
    if (!ongoing.partitions.empty()) response.topics.push_back(std::move(ongoing));
  };
  if (!request->topics.has_value()) {
    for (const auto& [name, topic] : image->topics()) add(topic, [](std::int32_t) { return true; });
  } else {
    for (const ListReassignmentsTopic& asked : *request->topics) {
      const consensus::Topic* topic = image->find(asked.name);
      if (topic == nullptr) continue;
      add(*topic, [&](std::int32_t partition) {
        return std::ranges::find(asked.partition_indexes, partition) !=
               asked.partition_indexes.end();
      });
    }
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
