#include "test/net/kafka/fake_broker.h"

#include <chrono>

#include "consensus/record_batch.h"
#include "net/kafka/messages/api_versions.h"
#include "net/kafka/messages/fetch.h"
#include "net/kafka/messages/init_producer_id.h"
#include "net/kafka/messages/list_offsets.h"
#include "net/kafka/messages/metadata.h"
#include "net/kafka/messages/produce.h"

namespace sentinel::test {

using namespace net::kafka;  // NOLINT(google-build-using-namespace)

namespace {

template <Response T>
core::Chain encoded(const T& response, const RequestHeader& header) {
  auto frame = encode_response(response, header.version, header.correlation_id);
  SENTINEL_ASSERT(frame.has_value());
  return std::move(*frame);
}

bool use_up(int& times) {
  if (times == 0) return false;
  --times;
  return true;
}

}  // namespace

FakeBroker::FakeBroker(core::Shard& shard, std::int32_t partitions) : shard_(shard), scope_(shard) {
  for (std::int32_t i = 0; i < partitions; ++i) partitions_.try_emplace(i);
}

core::Task<std::unique_ptr<FakeBroker>> FakeBroker::open(core::Shard& shard,
                                                         std::int32_t partitions) {
  std::unique_ptr<FakeBroker> broker(new FakeBroker(shard, partitions));
  auto listener = co_await net::Listener::open(shard, core::Address::loopback(0));
  SENTINEL_ASSERT(listener.has_value());
  broker->listener_ = std::move(*listener);
  broker->scope_.spawn(broker->accept_loop());
  co_return broker;
}

core::Task<void> FakeBroker::close() {
  co_await scope_.close();
  co_await listener_->close();
  for (const auto& socket : sockets_) co_await socket->close();
}

core::Task<void> FakeBroker::accept_loop() {
  const core::CancelToken token = scope_.token();
  while (!token.cancelled()) {
    auto socket = co_await listener_->accept(token);
    if (!socket) continue;
    ++connections_;
    sockets_.push_back(std::make_unique<net::Socket>(std::move(*socket)));
    scope_.spawn(serve(sockets_.back().get()));
  }
}

core::Task<void> FakeBroker::serve(net::Socket* socket) {
  const core::CancelToken token = scope_.token();
  net::FrameReader reader(shard_, *socket, net::kFrameBytesMax);
  bool goes_on = true;
  while (goes_on && !token.cancelled()) {
    auto frame = co_await reader.next(std::chrono::hours(1), std::chrono::hours(1), token);
    if (!frame || !frame->has_value()) break;
    const core::Bytes bytes = (*frame)->bytes;
    core::ByteReader in(bytes);
    auto header = decode_request_header(in);
    SENTINEL_ASSERT(header.has_value());
    Step step = handle(*header, bytes.slice(in.consumed(), in.remaining()));
    goes_on = !step.hang_up;
    if (!step.answer.empty()) co_await socket->send(std::move(step.answer), {}, token);
  }
  co_await socket->shutdown();
}

FakeBroker::Step FakeBroker::handle(const RequestHeader& header, const core::Bytes& body) {
  if (header.key == ApiKey::api_versions) return answer_api_versions(header);
  if (header.key == ApiKey::metadata) return answer_metadata(header);
  if (header.key == ApiKey::produce) return answer_produce(header, body);
  if (header.key == ApiKey::fetch) return answer_fetch(header, body);
  if (header.key == ApiKey::list_offsets) return answer_list_offsets(header, body);
  if (header.key == ApiKey::init_producer_id) return answer_init_producer_id(header);
  return {.answer = {}, .hang_up = true};
}

FakeBroker::Step FakeBroker::answer_api_versions(const RequestHeader& header) {
  ApiVersionsResponse response;
  RequestHeader shown = header;
  if (wrong.only_api_versions_0 && header.version > 0) {
    shown.version = 0;
    response.error_code = ErrorCode::unsupported_version;
    response.api_keys.push_back({18, 0, 0});
  } else {
    for (const SupportedApi& api : kSupportedApis) {
      response.api_keys.push_back({std::to_underlying(api.key), api.min_advertised, api.max});
    }
    response.api_keys.push_back({999, 0, 7});  // A key of the future.
  }
  return {.answer = encoded(response, shown), .hang_up = false};
}

FakeBroker::Step FakeBroker::answer_metadata(const RequestHeader& header) {
  if (wrong.ignore_metadata) return {};
  MetadataResponse response;
  MetadataBroker& broker = response.brokers.emplace_back();
  broker.node_id = 7;
  broker.host = "127.0.0.1";
  broker.port = port();
  response.controller_id = 7;
  response.cluster_id = "fake";
  MetadataTopic& topic = response.topics.emplace_back();
  topic.name = kTopic;
  const bool hidden = use_up(wrong.hide_leader);
  for (const auto& [index, each] : partitions_) {
    MetadataPartition& partition = topic.partitions.emplace_back();
    partition.partition_index = index;
    partition.leader_id = hidden ? -1 : 7;
    partition.leader_epoch = 3;
  }
  RequestHeader shown = header;
  if (use_up(wrong.swap_correlation_ids)) shown.correlation_id += 1000;
  return {.answer = encoded(response, shown), .hang_up = false};
}

FakeBroker::Step FakeBroker::answer_produce(const RequestHeader& header, const core::Bytes& body) {
  if (use_up(wrong.lose_produce_requests)) return {.answer = {}, .hang_up = true};
  auto request = decode<ProduceRequest>(body, header.version);
  SENTINEL_ASSERT(request.has_value());
  ProduceResponse response;
  for (ProduceTopic& topic : request->topics) {
    ProduceTopicResponse& answered = response.topics.emplace_back();
    answered.name = topic.name;
    for (ProducePartition& part : topic.partitions) {
      ProducePartitionResponse& result = answered.partitions.emplace_back();
      result.index = part.index;
      if (wrong.refuse_large) {
        result.error_code = ErrorCode::message_too_large;
      } else if (use_up(wrong.deny_leadership)) {
        result.error_code = ErrorCode::not_leader_or_follower;
      } else {
        result.error_code =
            store(partitions_.at(part.index), part.records->joined(), result.base_offset);
      }
    }
  }
  if (use_up(wrong.lose_produce_answers)) return {.answer = {}, .hang_up = true};
  if (request->acks == 0) return {};
  return {.answer = encoded(response, header), .hang_up = false};
}

/// The rules of idempotent producers, as strict as they can be read: every sequence is the next one
/// or one that was there.
ErrorCode FakeBroker::store(Partition& partition, core::Bytes batch, std::int64_t& base_offset) {
  const auto view = consensus::RecordBatchView::parse(batch);
  if (!view || !view->crc_matches()) return ErrorCode::corrupt_message;
  if (view->is_idempotent()) {
    const auto had = partition.offset_of_sequence.find(view->base_sequence());
    if (had != partition.offset_of_sequence.end()) {
      base_offset = had->second;
      return ErrorCode::none;
    }
    if (view->base_sequence() != partition.next_sequence)
      return ErrorCode::out_of_order_sequence_number;
    partition.next_sequence += view->record_count();
    partition.offset_of_sequence[view->base_sequence()] = partition.end;
  }
  base_offset = partition.end;
  const core::Bytes stored = core::Bytes::copy(batch.view());
  consensus::stamp_base_offset(stored.stamp(), consensus::Offset(base_offset));
  partition.end += view->record_count();
  partition.batches.push_back(stored);
  return ErrorCode::none;
}

FakeBroker::Step FakeBroker::answer_fetch(const RequestHeader& header, const core::Bytes& body) {
  auto request = decode<FetchRequest>(body, header.version);
  SENTINEL_ASSERT(request.has_value());
  FetchResponse response;
  for (const FetchTopic& topic : request->topics) {
    FetchTopicResponse& answered = response.topics.emplace_back();
    answered.topic = topic.topic;
    for (const FetchPartition& part : topic.partitions) {
      FetchPartitionResponse& result = answered.partitions.emplace_back();
      result.partition_index = part.partition;
      const Partition& partition = partitions_.at(part.partition);
      if (part.fetch_offset > partition.end) result.error_code = ErrorCode::offset_out_of_range;
      if (use_up(wrong.deny_leadership)) result.error_code = ErrorCode::not_leader_or_follower;
      if (result.error_code != ErrorCode::none) continue;
      result.high_watermark = partition.end;
      for (const core::Bytes& batch : partition.batches) {
        const auto view = consensus::RecordBatchView::parse(batch);
        if (view->end_offset().value() <= part.fetch_offset) continue;
        // Two batches an answer, so that the client has to come back.
        result.records->append(batch);
        if (result.records->parts().size() == 2) break;
      }
    }
  }
  return {.answer = encoded(response, header), .hang_up = false};
}

FakeBroker::Step FakeBroker::answer_list_offsets(const RequestHeader& header,
                                                 const core::Bytes& body) {
  auto request = decode<ListOffsetsRequest>(body, header.version);
  SENTINEL_ASSERT(request.has_value());
  ListOffsetsResponse response;
  for (const ListOffsetsTopic& topic : request->topics) {
    ListOffsetsTopicResponse& answered = response.topics.emplace_back();
    answered.name = topic.name;
    for (const ListOffsetsPartition& part : topic.partitions) {
      ListOffsetsPartitionResponse& result = answered.partitions.emplace_back();
      result.partition_index = part.partition_index;
      result.offset = part.timestamp == -1 ? partitions_.at(part.partition_index).end : 0;
    }
  }
  return {.answer = encoded(response, header), .hang_up = false};
}

FakeBroker::Step FakeBroker::answer_init_producer_id(const RequestHeader& header) {
  InitProducerIdResponse response;
  response.producer_id = 4711;
  response.producer_epoch = 2;
  return {.answer = encoded(response, header), .hang_up = false};
}

}  // namespace sentinel::test
