/// Produce: each partition's batch goes to the partition's home shard and is answered once it is
/// committed.

#include "net/kafka/messages/produce.h"

#include "consensus/topic_config.h"
#include "core/call.h"
#include "net/kafka/context.h"
#include "net/kafka/error_mapping.h"

namespace sentinel::net::kafka {

namespace {

using consensus::BrokerShard;

core::Task<consensus::Result<consensus::Appended>> append_there(BrokerShard* home,
                                                                consensus::GroupId group,
                                                                core::Bytes batch,
                                                                consensus::AppendOptions options) {
  auto partition = co_await home->partition(group);
  if (!partition) co_return std::unexpected(partition.error());
  co_return co_await (*partition)->append(std::move(batch), options);
}

/// What is wrong with the request as a whole, so that no partition is touched.
ErrorCode check(const ProduceRequest& request) {
  if (request.acks < -1 || request.acks > 1) return ErrorCode::invalid_required_acks;
  if (request.transactional_id.has_value()) return ErrorCode::transactional_id_authorization_failed;
  return ErrorCode::none;
}

void answer(ProducePartitionResponse& response,
            const consensus::Result<consensus::Appended>& appended) {
  if (!appended) {
    response.error_code = to_error_code(appended.error());
    response.error_message = consensus::to_string(appended.error());
    response.base_offset = -1;
    return;
  }
  response.base_offset = appended->base_offset.value();
  response.log_append_time_ms = appended->log_append_time_ms;
  response.log_start_offset = appended->log_start_offset.value();
}

/// Appends to one partition and fills in its answer. Runs up to its place in the log before it
/// first waits.
core::Task<void> append_one(RequestContext context, const consensus::Topic* topic,
                            std::int32_t index, std::optional<core::Chain> records,
                            ProducePartitionResponse* response) {
  response->index = index;
  if (topic == nullptr || !topic->has(index)) {
    response->error_code = ErrorCode::unknown_topic_or_partition;
    response->base_offset = -1;
    co_return;
  }
  const consensus::GroupId group = topic->group(consensus::PartitionIndex(index));
  const consensus::AppendOptions options = consensus::append_options(*topic, context.version);
  BrokerShard& home = context.broker.home_of(group);
  core::Bytes batch = records.has_value() ? records->joined() : core::Bytes();
  auto appended = co_await core::call(context.shard(), home.shard(), &append_there, &home, group,
                                      std::move(batch), options);
  answer(*response, appended);
}

core::Task<void> append_all(RequestContext context, ProduceRequest request,
                            ProduceResponse* response) {
  const std::shared_ptr<const consensus::MetadataImage> image = context.broker.image();
  core::TaskScope scope(context.shard());
  response->topics.resize(request.topics.size());
  for (std::size_t t = 0; t < request.topics.size(); ++t) {
    ProduceTopic& asked = request.topics[t];
    ProduceTopicResponse& answered = response->topics[t];
    answered.name = asked.name;
    answered.partitions.resize(asked.partitions.size());
    const consensus::Topic* topic = image->find(asked.name);
    for (std::size_t p = 0; p < asked.partitions.size(); ++p) {
      scope.spawn(append_one(context, topic, asked.partitions[p].index,
                             std::move(asked.partitions[p].records), &answered.partitions[p]));
    }
  }
  co_await scope.join();
}

void refuse_all(const ProduceRequest& request, ErrorCode error, ProduceResponse& response) {
  for (const ProduceTopic& asked : request.topics) {
    ProduceTopicResponse& answered = response.topics.emplace_back();
    answered.name = asked.name;
    for (const ProducePartition& partition : asked.partitions) {
      ProducePartitionResponse& refused = answered.partitions.emplace_back();
      refused.index = partition.index;
      refused.error_code = error;
      refused.base_offset = -1;
    }
  }
}

/// The one shard that all partitions of the request live on.
std::optional<core::Shard::Id> only_home(const RequestContext& context,
                                         const ProduceRequest& request) {
  std::optional<core::Shard::Id> only;
  for (const ProduceTopic& asked : request.topics) {
    const consensus::Topic* topic = context.broker.image()->find(asked.name);
    if (topic == nullptr) return std::nullopt;
    for (const ProducePartition& partition : asked.partitions) {
      if (!topic->has(partition.index)) return std::nullopt;
      const core::Shard::Id home =
          context.broker.home_of(topic->group(consensus::PartitionIndex(partition.index)))
              .shard()
              .id();
      if (only.has_value() && *only != home) return std::nullopt;
      only = home;
    }
  }
  return only;
}

std::string first_error(const ProduceResponse& response) {
  for (const ProduceTopicResponse& topic : response.topics) {
    for (const ProducePartitionResponse& partition : topic.partitions) {
      if (partition.error_code != ErrorCode::none)
        return std::string(to_string(partition.error_code));
    }
  }
  return {};
}

}  // namespace

core::Task<Reply> handle_produce(RequestContext context) {
  auto request = decode_body<ProduceRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const std::int16_t acks = request->acks;
  const std::optional<core::Shard::Id> home = only_home(context, *request);
  ProduceResponse response;
  const ErrorCode refused = check(*request);
  if (refused != ErrorCode::none) {
    refuse_all(*request, refused, response);
  } else {
    co_await append_all(context, std::move(*request), &response);
  }
  if (acks == 0) {
    // There is no answer that could carry an error; a closed connection makes the client look
    // again.
    const std::string error = first_error(response);
    if (!error.empty()) co_return Reply::close("a Produce request with acks=0 failed: " + error);
    co_return Reply{.response = {}, .close_reason = {}, .served_by = home};
  }
  Reply answered = reply(context, response);
  answered.served_by = home;
  co_return answered;
}

}  // namespace sentinel::net::kafka
