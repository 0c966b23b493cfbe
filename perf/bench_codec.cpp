/// Google Benchmark programs of the Kafka codec and of record batches.

#include <benchmark/benchmark.h>

#include <string>

#include "consensus/record_batch.h"
#include "net/kafka/messages/fetch.h"
#include "net/kafka/messages/metadata.h"
#include "net/kafka/messages/produce.h"
#include "net/kafka/wire.h"

namespace sentinel {
namespace {

using namespace net::kafka;  // NOLINT(google-build-using-namespace)

constexpr std::int16_t kProduceVersion = 9;
constexpr std::int16_t kFetchVersion = 12;

core::Bytes batch_of(std::int64_t records, std::size_t value_bytes) {
  consensus::RecordBatchBuilder builder;
  const std::string value(value_bytes, 'v');
  for (std::int64_t i = 0; i < records; ++i)
    builder.add(1000 + i, std::nullopt, core::as_bytes(value));
  return builder.finish();
}

/// One topic with `partitions` partitions and a batch for each.
ProduceRequest produce_request(std::int64_t partitions) {
  ProduceRequest request;
  ProduceTopic& topic = request.topics.emplace_back();
  topic.name = "orders";
  for (std::int64_t i = 0; i < partitions; ++i) {
    ProducePartition& partition = topic.partitions.emplace_back();
    partition.index = static_cast<std::int32_t>(i);
    partition.records = core::Chain(batch_of(1, 1024));
  }
  return request;
}

void produce_request_decode(benchmark::State& state) {
  const auto frame = encode_request(produce_request(state.range(0)), kProduceVersion, 1, "bench");
  const core::Bytes bytes = frame->joined();
  for (auto each : state) {
    core::ByteReader in(bytes.view().subspan(sizeof(std::int32_t)));
    auto header = decode_request_header(in);
    benchmark::DoNotOptimize(header);
    auto request = decode<ProduceRequest>(
        bytes.slice(bytes.size() - in.remaining(), in.remaining()), kProduceVersion);
    benchmark::DoNotOptimize(request);
  }
}
BENCHMARK(produce_request_decode)->Arg(1)->Arg(100);

void produce_request_encode(benchmark::State& state) {
  const ProduceRequest request = produce_request(state.range(0));
  for (auto each : state) {
    auto frame = encode_request(request, kProduceVersion, 1, "bench");
    benchmark::DoNotOptimize(frame);
  }
}
BENCHMARK(produce_request_encode)->Arg(1)->Arg(100);

void fetch_response_encode(benchmark::State& state) {
  FetchResponse response;
  FetchTopicResponse& topic = response.topics.emplace_back();
  topic.topic = "orders";
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    FetchPartitionResponse& partition = topic.partitions.emplace_back();
    partition.partition_index = static_cast<std::int32_t>(i);
    partition.records = core::Chain(batch_of(10, 1024));
  }
  for (auto each : state) {
    auto frame = encode_response(response, kFetchVersion, 1);
    benchmark::DoNotOptimize(frame);
  }
}
BENCHMARK(fetch_response_encode)->Arg(1)->Arg(100);

/// Everything that is checked before a batch is stored, its checksum included.
void batch_validate(benchmark::State& state) {
  const core::Bytes batch = batch_of(state.range(0), 1024);
  consensus::ProduceChecks checks;
  checks.batch_bytes_max = 16 << 20;
  checks.produce_version = kProduceVersion;
  for (auto each : state) {
    auto view = consensus::validate_for_produce(batch, checks);
    benchmark::DoNotOptimize(view);
  }
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(batch.size()));
}
BENCHMARK(batch_validate)->Arg(1)->Arg(1000);

void batch_build(benchmark::State& state) {
  for (auto each : state) {
    const core::Bytes batch = batch_of(state.range(0), 100);
    benchmark::DoNotOptimize(batch.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(batch_build)->Arg(1)->Arg(1000);

}  // namespace
}  // namespace sentinel

BENCHMARK_MAIN();
