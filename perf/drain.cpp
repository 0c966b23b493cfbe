#include "perf/drain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <fstream>
#include <memory>
#include <optional>
#include <vector>

#include "consensus/record_batch.h"
#include "core/scope.h"
#include "net/kafka/client.h"
#include "net/kafka/messages/fetch.h"

namespace sentinel::perf {
namespace {

using core::ExitCode;
using net::kafka::BrokerConnection;

// The last version that names topics.
constexpr std::int16_t kFetchVersionMax = 12;
constexpr std::int32_t kResponseBytesMax = 50 << 20;

/// Where the consumer stands in one partition.
struct Position {
  std::int32_t partition = 0;
  std::int64_t next = 0;
  std::int64_t end = 0;
};

class Drain {
 public:
  Drain(core::Shard& shard, const DrainOptions& options)
      : shard_(shard), options_(options), scope_(shard) {}

  core::Task<ExitCode> run();

 private:
  /// A connection and the partitions that are read over it.
  struct Lane {
    std::unique_ptr<BrokerConnection> connection;
    std::deque<Position> idle;  // Nothing is asked for, something is left.
  };

  core::Task<core::Status> prepare(net::kafka::Client* client);
  core::Task<void> worker(Lane* lane);
  static void give_back(Lane* lane, const std::vector<Position>& before,
                        const std::vector<Position>& after);
  core::Task<core::Status> fetch(Lane* lane, std::vector<Position>* asked);
  core::Status take(std::vector<Position>& asked, const net::kafka::FetchPartitionResponse& part);
  core::Status walk(Position& at, core::ByteSpan batches);
  void print_report(double seconds) const;

  core::Shard& shard_;
  const DrainOptions& options_;
  std::vector<Lane> lanes_;
  std::size_t partitions_ = 0;
  double open_seconds_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t records_ = 0;
  std::uint64_t batches_ = 0;
  std::uint64_t fetches_ = 0;
  std::optional<core::Error> failure_;
  core::TaskScope scope_;
};

double seconds_of(core::Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

core::Task<core::Status> Drain::prepare(net::kafka::Client* client) {
  const core::Deadline deadline = shard_.deadline_in(std::chrono::minutes(2));
  SENTINEL_CO_TRY(topic, co_await client->topic(options_.topic, false, deadline));
  for (std::int32_t i = 0; i < options_.connections; ++i) {
    // Any broker of a single node leads all; of a cluster, the one that leads the first partition.
    const auto address = client->address_of(topic.partitions.front().leader);
    if (!address) co_return core::fail(core::Errc::not_found, "the topic has no leader");
    Lane& lane = lanes_.emplace_back();
    lane.connection = std::make_unique<BrokerConnection>(shard_, *address, "sentinel-load");
    SENTINEL_CO_CHECK(co_await lane.connection->connect(deadline));
  }
  partitions_ = topic.partitions.size();
  for (std::size_t i = 0; i < partitions_; ++i) {
    const std::int32_t index = topic.partitions[i].index;
    SENTINEL_CO_TRY(begin, co_await client->list_offset(options_.topic, index,
                                                        net::kafka::kEarliestOffset, deadline));
    SENTINEL_CO_TRY(end, co_await client->list_offset(options_.topic, index,
                                                      net::kafka::kLatestOffset, deadline));
    if (begin.offset >= end.offset) continue;
    lanes_[i % lanes_.size()].idle.push_back(
        {.partition = index, .next = begin.offset, .end = end.offset});
  }
  co_return core::Status();
}

core::Task<ExitCode> Drain::run() {
  net::kafka::ClientOptions client_options;
  client_options.client_id = "sentinel-load";
  auto address = net::HostPort::parse(options_.broker, 9092);
  if (!address) {
    fmt::print(stderr, "sentinel-load: --broker: {}\n", address.error().message);
    co_return ExitCode::usage;
  }
  client_options.bootstrap = std::move(*address);
  const core::TimePoint opened = shard_.now();
  auto client = co_await net::kafka::Client::open(shard_, std::move(client_options));
  if (!client) {
    fmt::print(stderr, "sentinel-load: {}\n", client.error().message);
    co_return ExitCode::cannot_connect;
  }
  auto prepared = co_await prepare(client->get());
  if (!prepared) failure_ = std::move(prepared).error();
  const core::TimePoint begin = shard_.now();
  open_seconds_ = seconds_of(begin - opened);
  if (!failure_) {
    for (Lane& lane : lanes_) {
      for (std::int32_t i = 0; i < options_.in_flight; ++i) scope_.spawn(worker(&lane));
    }
  }
  co_await scope_.join();
  const double seconds = seconds_of(shard_.now() - begin);
  for (const Lane& lane : lanes_) co_await lane.connection->close();
  co_await (*client)->close();
  if (failure_) {
    fmt::print(stderr, "sentinel-load: {}\n", failure_->message);
    co_return ExitCode::failed;
  }
  print_report(seconds);
  co_return ExitCode::ok;
}

/// Ends when every partition is read or in the hands of another worker, who reads it to its end.
core::Task<void> Drain::worker(Lane* lane) {
  while (!failure_ && !lane->idle.empty()) {
    std::vector<Position> asked;
    while (!lane->idle.empty() && std::cmp_less(asked.size(), options_.partitions_a_fetch)) {
      asked.push_back(lane->idle.front());
      lane->idle.pop_front();
    }
    const std::vector<Position> before = asked;
    core::Status fetched = co_await fetch(lane, &asked);
    if (!fetched && !failure_) failure_ = std::move(fetched).error();
    give_back(lane, before, asked);
  }
}

/// Those that got nothing are asked for first next time, as by all clients.
void Drain::give_back(Lane* lane, const std::vector<Position>& before,
                      const std::vector<Position>& after) {
  for (const bool served : {false, true}) {
    for (std::size_t i = 0; i < after.size(); ++i) {
      const bool goes_on = after[i].next < after[i].end;
      if (goes_on && (after[i].next != before[i].next) == served) lane->idle.push_back(after[i]);
    }
  }
}

core::Task<core::Status> Drain::fetch(Lane* lane, std::vector<Position>* asked) {
  net::kafka::FetchRequest request;
  request.max_wait_ms = 500;
  request.min_bytes = 1;
  request.max_bytes = kResponseBytesMax;
  net::kafka::FetchTopic& topic = request.topics.emplace_back();
  topic.topic = options_.topic;
  for (const Position& each : *asked) {
    net::kafka::FetchPartition& part = topic.partitions.emplace_back();
    part.partition = each.partition;
    part.fetch_offset = each.next;
    part.partition_max_bytes = options_.fetch_bytes;
  }
  const core::Deadline deadline = shard_.deadline_in(std::chrono::seconds(60));
  SENTINEL_CO_TRY(answer, co_await lane->connection->call<net::kafka::FetchResponse>(
                              std::move(request), deadline, kFetchVersionMax));
  ++fetches_;
  for (const auto& each : answer.message.topics) {
    for (const auto& part : each.partitions) {
      SENTINEL_CO_CHECK(take(*asked, part));
    }
  }
  co_return core::Status();
}

core::Status Drain::take(std::vector<Position>& asked,
                         const net::kafka::FetchPartitionResponse& part) {
  if (part.error_code != net::kafka::ErrorCode::none)
    return std::unexpected(net::kafka::failure_of(part.error_code, "fetch").error);
  const auto found = std::ranges::find(asked, part.partition_index, &Position::partition);
  if (found == asked.end())
    return core::fail(core::Errc::corruption, "an answer for a partition not asked for");
  if (!part.records.has_value()) return {};
  return walk(*found, part.records->joined());
}

core::Status Drain::walk(Position& at, core::ByteSpan batches) {
  while (!batches.empty()) {
    const auto batch = consensus::RecordBatchView::parse(batches);
    if (!batch) {
      return core::fail(
          core::Errc::corruption,
          fmt::format("partition {}: no record batch at offset {}", at.partition, at.next));
    }
    if (batch->base_offset().value() != at.next) {
      return core::fail(core::Errc::corruption,
                        fmt::format("partition {}: offset {} came where {} was due", at.partition,
                                    batch->base_offset().value(), at.next));
    }
    if (options_.verify && !batch->crc_matches()) {
      return core::fail(core::Errc::corruption,
                        fmt::format("partition {}: the checksum of the batch at offset {} is wrong",
                                    at.partition, at.next));
    }
    ++batches_;
    records_ += static_cast<std::uint64_t>(batch->record_count());
    bytes_ += batch->bytes().size();
    at.next = batch->end_offset().value();
    batches = batches.subspan(batch->bytes().size());
  }
  return {};
}

void Drain::print_report(double seconds) const {
  const double megabytes = static_cast<double>(bytes_) / 1e6;
  fmt::print(
      "{} partition(s), {} connection(s), {} fetch(es) in flight on each, {} partition(s) a "
      "fetch, {} bytes of each\n",
      partitions_, options_.connections, options_.in_flight, options_.partitions_a_fetch,
      options_.fetch_bytes);
  fmt::print(
      "consumed    {} records in {} batches, {:.1f} MB, {:.2f} s after {:.2f} s of opening\n",
      records_, batches_, megabytes, seconds, open_seconds_);
  fmt::print("throughput  {:.1f} MB/s, {:.0f} fetches/s\n", megabytes / seconds,
             static_cast<double>(fetches_) / seconds);
  if (options_.json.empty()) return;
  std::ofstream(options_.json) << fmt::format(
      "{{\"partitions\":{},\"connections\":{},\"in_flight\":{},\"partitions_a_fetch\":{},"
      "\"fetch_bytes\":{},\"records\":{},\"batches\":{},\"bytes\":{},\"fetches\":{},"
      "\"open_seconds\":{:.3f},\"seconds\":{:.3f},\"mb_per_second\":{:.3f}}}\n",
      partitions_, options_.connections, options_.in_flight, options_.partitions_a_fetch,
      options_.fetch_bytes, records_, batches_, bytes_, fetches_, open_seconds_, seconds,
      megabytes / seconds);
}

}  // namespace

core::Task<ExitCode> drain(core::Shard& shard, const DrainOptions* options) {
  Drain work(shard, *options);
  co_return co_await work.run();
}

}  // namespace sentinel::perf
