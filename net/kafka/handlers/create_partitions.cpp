/// CreatePartitions: more partitions for topics that are there.

#include "net/kafka/messages/create_partitions.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>

#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

struct Refusal {
  ErrorCode code = ErrorCode::none;
  std::string message;
};

Refusal refusal_of(consensus::Errc error, std::int32_t now) {
  using consensus::Errc;
  if (error == Errc::invalid_partitions)
    return {ErrorCode::invalid_partitions,
            fmt::format("there are {} partitions, which only grow, up to {}", now,
                        consensus::kPartitionsPerTopicMax)};
  if (error == Errc::invalid_members)
    return {ErrorCode::invalid_replica_assignment,
            "each new partition needs one list of different brokers that are there"};
  return {to_error_code(error), std::string(consensus::to_string(error))};
}

core::Task<Refusal> grow_one(RequestContext context, CreatePartitionsTopic asked,
                             bool validate_only) {
  std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  const consensus::Topic* topic = image->find(asked.name);
  if (topic == nullptr) {
    // It may just have been made, where this node has not heard of it yet.
    const bool caught_up = co_await context.config.controller->catch_up(context.shard());
    if (!caught_up)
      co_return Refusal{ErrorCode::request_timed_out, "the controller can't be reached"};
    image = context.broker.image();
    topic = image->find(asked.name);
  }
  if (topic == nullptr)
    co_return Refusal{ErrorCode::unknown_topic_or_partition, "there is no such topic"};
  const std::int32_t now = topic->partition_count;
  AskedGrowth growth{
      .topic = topic->id, .count = asked.count, .assignment = {}, .validate_only = validate_only};
  if (asked.assignments.has_value()) {
    // An empty list would let the broker choose, which is not what was said.
    if (asked.assignments->empty()) co_return refusal_of(consensus::Errc::invalid_members, now);
    for (const CreatePartitionsAssignment& each : *asked.assignments) {
      std::vector<consensus::NodeId>& nodes = growth.assignment.emplace_back();
      for (const std::int32_t id : each.broker_ids) nodes.emplace_back(id);
    }
  }
  const auto grown =
      co_await context.config.controller->grow_topic(context.shard(), std::move(growth));
  if (!grown) co_return refusal_of(grown.error(), now);
  co_return Refusal();
}

}  // namespace

core::Task<Reply> handle_create_partitions(RequestContext context) {
  auto request = decode_body<CreatePartitionsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  CreatePartitionsResponse response;
  std::deque<std::string> messages;
  for (const CreatePartitionsTopic& asked : request->topics) {
    const auto same_name = [&](const auto& each) { return each.name == asked.name; };
    if (std::ranges::any_of(response.results, same_name)) continue;
    Refusal refusal;
    if (std::ranges::count_if(request->topics, same_name) > 1) {
      refusal = {ErrorCode::invalid_request, "the topic is named twice in the request"};
    } else {
      refusal = co_await grow_one(context, asked, request->validate_only);
    }
    CreatePartitionsTopicResult& result = response.results.emplace_back();
    result.name = asked.name;
    result.error_code = refusal.code;
    if (refusal.code != ErrorCode::none)
      result.error_message = messages.emplace_back(std::move(refusal.message));
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
