/// OffsetForLeaderEpoch: where an epoch ends, so that a reader finds out whether what it has read
/// is still in the log (KIP-320).

#include "net/kafka/messages/offset_for_leader_epoch.h"

#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;

core::Task<LeaderEpochPartitionResponse> look_up_there(BrokerShard* home, consensus::GroupId group,
                                                       LeaderEpochPartition asked) {
  LeaderEpochPartitionResponse response;
  response.partition = asked.partition;
  auto partition = co_await home->partition(group);
  if (!partition) {
    response.error_code = to_error_code(partition.error());
    co_return response;
  }
  if (!(*partition)->is_leader()) {
    response.error_code = ErrorCode::not_leader_or_follower;
    co_return response;
  }
  const std::int32_t epoch = consensus::leader_epoch_of((*partition)->leader_epoch());
  if (asked.current_leader_epoch >= 0 && asked.current_leader_epoch != epoch) {
    response.error_code = asked.current_leader_epoch < epoch ? ErrorCode::fenced_leader_epoch
                                                             : ErrorCode::unknown_leader_epoch;
    co_return response;
  }
  if (asked.leader_epoch < 0 || asked.leader_epoch > epoch) co_return response;
  auto end = co_await (*partition)
                 ->end_of_epoch(consensus::Term(static_cast<std::uint64_t>(asked.leader_epoch)));
  if (!end) {
    response.error_code = to_error_code(end.error());
  } else if (end->has_value()) {
    response.leader_epoch = consensus::leader_epoch_of((*end)->term);
    response.end_offset = (*end)->end_offset.value();
  }
  co_return response;
}

}  // namespace

core::Task<Reply> handle_offset_for_leader_epoch(RequestContext context) {
  auto request = decode_body<OffsetForLeaderEpochRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  OffsetForLeaderEpochResponse response;
  for (const LeaderEpochTopic& asked : request->topics) {
    LeaderEpochTopicResponse& answered = response.topics.emplace_back();
    answered.topic = asked.topic;
    const consensus::Topic* topic = image->find(asked.topic);
    for (const LeaderEpochPartition& partition : asked.partitions) {
      if (topic == nullptr || !topic->has(partition.partition)) {
        LeaderEpochPartitionResponse& unknown = answered.partitions.emplace_back();
        unknown.partition = partition.partition;
        unknown.error_code = ErrorCode::unknown_topic_or_partition;
        continue;
      }
      const consensus::GroupId group = topic->group(consensus::PartitionIndex(partition.partition));
      BrokerShard& home = context.broker.home_of(group);
      answered.partitions.push_back(co_await core::call(context.shard(), home.shard(),
                                                        &look_up_there, &home, group, partition));
    }
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
