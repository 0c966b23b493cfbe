/// DeleteRecords: gives up what lies below an offset, for good.

#include "net/kafka/messages/delete_records.h"

#include "consensus/topic_config.h"
#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;

core::Task<DeleteRecordsPartitionResult> delete_there(BrokerShard* home, consensus::GroupId group,
                                                      DeleteRecordsPartition asked) {
  DeleteRecordsPartitionResult result;
  result.partition_index = asked.partition_index;
  auto partition = co_await home->partition(group);
  if (!partition) {
    result.error_code = to_error_code(partition.error());
    co_return result;
  }
  const auto start = co_await (*partition)->delete_records(consensus::Offset(asked.offset));
  if (!start) {
    result.error_code = to_error_code(start.error());
  } else {
    result.low_watermark = start->value();
  }
  co_return result;
}

}  // namespace

core::Task<Reply> handle_delete_records(RequestContext context) {
  auto request = decode_body<DeleteRecordsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  DeleteRecordsResponse response;
  for (const DeleteRecordsTopic& asked : request->topics) {
    DeleteRecordsTopicResult& answered = response.topics.emplace_back();
    answered.name = asked.name;
    const consensus::Topic* topic = image->find(asked.name);
    for (const DeleteRecordsPartition& partition : asked.partitions) {
      const std::int32_t index = partition.partition_index;
      if (topic == nullptr || !topic->has(index)) {
        DeleteRecordsPartitionResult& unknown = answered.partitions.emplace_back();
        unknown.partition_index = index;
        unknown.error_code = ErrorCode::unknown_topic_or_partition;
        continue;
      }
      if (!consensus::may_delete(*topic)) {
        DeleteRecordsPartitionResult& refused = answered.partitions.emplace_back();
        refused.partition_index = index;
        refused.error_code = ErrorCode::policy_violation;
        continue;
      }
      const consensus::GroupId group = topic->group(consensus::PartitionIndex(index));
      BrokerShard& home = context.broker.home_of(group);
      answered.partitions.push_back(co_await core::call(context.shard(), home.shard(),
                                                        &delete_there, &home, group, partition));
    }
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
