/// ListOffsets: the offset of a special position, or of the first record at or after a timestamp.

#include "net/kafka/messages/list_offsets.h"

#include <algorithm>
#include <limits>

#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;

/// Longer than an election: until then either a majority answers or another one leads.
constexpr core::Duration kConfirmTime = std::chrono::seconds(5);

constexpr std::int64_t kLatest = -1;
constexpr std::int64_t kEarliest = -2;
constexpr std::int64_t kMaxTimestamp = -3;
constexpr std::int64_t kEarliestLocal = -4;
constexpr std::int64_t kLatestTiered = -5;

/// The first version that knows a special position; positions below all of these are refused in
/// every version.
std::int16_t known_since(std::int64_t timestamp) {
  if (timestamp >= kEarliest) return 0;
  if (timestamp == kMaxTimestamp) return 7;
  if (timestamp == kEarliestLocal) return 8;
  if (timestamp == kLatestTiered) return 9;
  return std::numeric_limits<std::int16_t>::max();
}

ListOffsetsPartitionResponse refused(std::int32_t index, ErrorCode error) {
  ListOffsetsPartitionResponse response;
  response.partition_index = index;
  response.error_code = error;
  return response;
}

core::Task<ListOffsetsPartitionResponse> look_up(consensus::Partition* partition,
                                                 ListOffsetsPartition asked,
                                                 core::Deadline deadline) {
  ListOffsetsPartitionResponse response;
  response.partition_index = asked.partition_index;
  if (!partition->is_leader())
    co_return refused(asked.partition_index, ErrorCode::not_leader_or_follower);
  const std::int32_t epoch = consensus::leader_epoch_of(partition->leader_epoch());
  if (asked.current_leader_epoch >= 0 && asked.current_leader_epoch != epoch) {
    co_return refused(asked.partition_index, asked.current_leader_epoch < epoch
                                                 ? ErrorCode::fenced_leader_epoch
                                                 : ErrorCode::unknown_leader_epoch);
  }
  response.leader_epoch = epoch;
  // Another node may lead without this one knowing: where the log begins and ends is known only to
  // a majority.
  const auto confirmed = co_await partition->confirm_leadership(deadline);
  if (!confirmed) co_return refused(asked.partition_index, to_error_code(confirmed.error()));
  switch (asked.timestamp) {
    case kLatest: response.offset = partition->high_watermark().value(); co_return response;
    case kEarliest:
    case kEarliestLocal: response.offset = partition->log_start().value(); co_return response;
    case kLatestTiered: co_return response;
    default: break;
  }
  auto search = asked.timestamp == kMaxTimestamp ? partition->max_timestamp()
                                                 : partition->find_timestamp(asked.timestamp);
  auto found = co_await std::move(search);
  if (!found) co_return refused(asked.partition_index, to_error_code(found.error()));
  // Nothing that late: offset and timestamp are both -1, without an error.
  if (found->has_value()) {
    response.offset = (*found)->offset.value();
    response.timestamp = (*found)->timestamp_ms;
  }
  co_return response;
}

core::Task<ListOffsetsPartitionResponse> look_up_there(BrokerShard* home, consensus::GroupId group,
                                                       ListOffsetsPartition asked) {
  auto partition = co_await home->partition(group);
  if (!partition) co_return refused(asked.partition_index, to_error_code(partition.error()));
  co_return co_await look_up(&**partition, asked, home->shard().deadline_in(kConfirmTime));
}

bool is_repeated(const ListOffsetsTopic& topic, const ListOffsetsPartition& partition) {
  return std::ranges::count_if(topic.partitions, [&](const ListOffsetsPartition& other) {
           return other.partition_index == partition.partition_index;
         }) > 1;
}

}  // namespace

core::Task<Reply> handle_list_offsets(RequestContext context) {
  auto request = decode_body<ListOffsetsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  ListOffsetsResponse response;
  for (const ListOffsetsTopic& asked : request->topics) {
    ListOffsetsTopicResponse& answered = response.topics.emplace_back();
    answered.name = asked.name;
    const consensus::Topic* topic = image->find(asked.name);
    for (const ListOffsetsPartition& partition : asked.partitions) {
      ErrorCode error = ErrorCode::none;
      if (topic == nullptr || !topic->has(partition.partition_index)) {
        error = ErrorCode::unknown_topic_or_partition;
      } else if (is_repeated(asked, partition)) {
        error = ErrorCode::invalid_request;
      } else if (context.version < known_since(partition.timestamp)) {
        error = ErrorCode::unsupported_version;
      }
      if (error != ErrorCode::none) {
        answered.partitions.push_back(refused(partition.partition_index, error));
        continue;
      }
      const consensus::GroupId group =
          topic->group(consensus::PartitionIndex(partition.partition_index));
      BrokerShard& home = context.broker.home_of(group);
      answered.partitions.push_back(co_await core::call(context.shard(), home.shard(),
                                                        &look_up_there, &home, group, partition));
    }
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
