/// ElectLeaders: those that are to lead first do so now, instead of a while after they have come
/// back.

#include "net/kafka/messages/elect_leaders.h"

#include <algorithm>
#include <map>

#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using namespace std::chrono_literals;
using consensus::BrokerShard;
using consensus::GroupId;
using consensus::MemberId;
using consensus::NodeId;

constexpr core::Duration kPatienceMax = 30s;
constexpr core::Duration kPause = 20ms;

core::Task<NodeId> ask_leader(RequestContext context, GroupId group) {
  BrokerShard& front = context.broker.home_of(consensus::kControllerGroup);
  const auto state = co_await core::call(
      context.shard(), front.shard(), &BrokerShard::describe_cluster, &front, std::vector{group});
  co_return state.leaders.front().leader;
}

struct Election {
  GroupId group;
  MemberId preferred;
  std::string_view topic;
  PartitionElectionResult result;
  bool is_open = false;  ///< Asked for, and not seen yet.
};

void refuse(Election& election, ErrorCode code, std::string_view message) {
  election.result.error_code = code;
  election.result.error_message = message;
}

core::Task<void> begin(RequestContext context, ElectionType type, Election* election) {
  const NodeId leader = co_await ask_leader(context, election->group);
  const bool unclean = type == ElectionType::unclean;
  if (unclean ? leader != NodeId(0) : leader == node_of(election->preferred)) {
    refuse(*election, ErrorCode::election_not_needed, "the leader is there");
  } else if (unclean) {
    refuse(*election, ErrorCode::eligible_leaders_not_available,
           "no majority of its brokers is there, and none that lacks records may lead");
  } else {
    const auto asked = co_await context.config.controller->elect_leader(
        context.shard(), {election->group, election->preferred});
    election->is_open = asked.has_value();
    if (!asked)
      refuse(*election, ErrorCode::preferred_leader_not_available,
             "the broker that is to lead first is not there, or lacks records");
  }
}

core::Task<void> wait_for(RequestContext context, core::Deadline deadline, Election* election) {
  for (;;) {
    const NodeId leader = co_await ask_leader(context, election->group);
    if (leader == node_of(election->preferred)) co_return;
    if (deadline.passed(context.shard().now())) break;
    const core::Wake wake = co_await core::sleep_for(context.shard(), kPause, context.token);
    if (wake == core::Wake::cancelled) break;
  }
  refuse(*election, ErrorCode::request_timed_out, "the election has not come about yet");
}

void add(std::vector<Election>& elections, const consensus::Topic& topic, std::int32_t partition) {
  Election& election = elections.emplace_back();
  election.topic = topic.name;
  election.result.partition_id = partition;
  election.group = topic.group(consensus::PartitionIndex(partition));
  election.preferred = topic.replicas[static_cast<std::size_t>(partition)].front();
}

std::vector<Election> elections_of(const ElectLeadersRequest& request,
                                   const consensus::MetadataImage& image,
                                   std::map<std::string_view, ReplicaElectionResult>& unknown) {
  std::vector<Election> elections;
  if (!request.topic_partitions.has_value()) {
    for (const auto& [name, topic] : image.topics()) {
      for (std::int32_t i = 0; i < topic.partition_count; ++i) add(elections, topic, i);
    }
    return elections;
  }
  for (const ElectLeadersTopic& asked : *request.topic_partitions) {
    const consensus::Topic* topic = image.find(asked.topic);
    for (const std::int32_t partition : asked.partitions) {
      if (topic != nullptr && topic->has(partition)) {
        add(elections, *topic, partition);
      } else {
        unknown[asked.topic].partition_result.push_back(
            {partition, ErrorCode::unknown_topic_or_partition, "there is no such partition"});
      }
    }
  }
  return elections;
}

}  // namespace

core::Task<Reply> handle_elect_leaders(RequestContext context) {
  auto request = decode_body<ElectLeadersRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const core::Duration patience =
      std::clamp<core::Duration>(std::chrono::milliseconds(request->timeout_ms), 0s, kPatienceMax);
  const core::Deadline deadline = context.shard().deadline_in(patience);
  // Names in the response point into this image, and into the request.
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  std::map<std::string_view, ReplicaElectionResult> results;
  std::vector<Election> elections = elections_of(*request, *image, results);
  for (Election& election : elections) co_await begin(context, request->election_type, &election);
  for (Election& election : elections) {
    if (election.is_open) co_await wait_for(context, deadline, &election);
    // Who asks for all wants to hear of those that were needed.
    const bool is_said = request->topic_partitions.has_value() ||
                         election.result.error_code != ErrorCode::election_not_needed;
    if (is_said) results[election.topic].partition_result.push_back(election.result);
  }
  ElectLeadersResponse response;
  for (auto& [topic, result] : results) {
    result.topic = topic;
    response.replica_election_results.push_back(std::move(result));
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
