/// The produce command: records into batches, batches to the partitions' leaders, several in
/// flight.

#include <fmt/format.h>

#include <cstdio>
#include <map>

#include "apps/cli/format.h"
#include "apps/cli/record_input.h"
#include "apps/cli/session.h"
#include "apps/cli/terminal.h"
#include "core/scope.h"
#include "core/sync.h"
#include "net/kafka/partitioner.h"
#include "net/kafka/producer.h"

namespace sentinel::apps {

namespace {

using net::kafka::Producer;

// Below every broker's limit of 1 MiB, with room for what a codec adds to data that it can't
// compress.
constexpr std::size_t kBatchBytes = std::size_t{768} << 10;
constexpr std::int32_t kBatchRecords = 50'000;
constexpr std::uint64_t kInFlightBytes = std::uint64_t{64} << 20;
// Around a record: length, timestamp, offset, counts.
constexpr std::size_t kRecordOverhead = 32;
constexpr std::size_t kPartitionsNamedMax = 8;

/// Collects records in one batch a partition and sends full batches.
class Batcher {
 public:
  Batcher(Session& session, const ProduceOptions& options, Producer& producer,
          std::int32_t partitions);

  /// The partition for a record.
  [[nodiscard]] std::int32_t choose(const InputRecord& record) const;
  /// Whether the partition's batch has to be sent before `record` is added.
  [[nodiscard]] bool full(std::int32_t partition, const InputRecord& record) const;
  void add(std::int32_t partition, const InputRecord& record);
  core::Task<void> flush(std::int32_t partition);
  core::Task<void> flush_all();
  /// Waits for all answers.
  core::Task<void> join() { co_await scope_.join(); }

  [[nodiscard]] const std::optional<core::Error>& failure() const { return failure_; }
  [[nodiscard]] std::int64_t acknowledged() const { return acknowledged_; }
  [[nodiscard]] std::uint64_t acknowledged_bytes() const { return acknowledged_bytes_; }
  struct Placed {
    std::int64_t first_offset = -1;
    std::int64_t records = 0;
  };
  [[nodiscard]] const std::map<std::int32_t, Placed>& placed() const { return placed_; }

 private:
  core::Task<void> deliver(std::int32_t partition, core::Bytes batch, std::int32_t records,
                           std::uint64_t reserved);

  core::Shard& shard_;
  const ProduceOptions& options_;
  Producer& producer_;
  const std::int32_t partitions_;
  std::vector<consensus::RecordHeader> headers_;
  std::map<std::int32_t, consensus::RecordBatchBuilder> batches_;
  std::int32_t
      keyless_partition_;  // Changes with every batch: whole batches are spread, not records.
  core::Semaphore in_flight_;
  std::optional<core::Error> failure_;
  std::int64_t acknowledged_ = 0;
  std::uint64_t acknowledged_bytes_ = 0;
  std::map<std::int32_t, Placed> placed_;
  core::TaskScope scope_;
};

Batcher::Batcher(Session& session, const ProduceOptions& options, Producer& producer,
                 std::int32_t partitions)
    : shard_(session.shard),
      options_(options),
      producer_(producer),
      partitions_(partitions),
      keyless_partition_(static_cast<std::int32_t>(
          session.shard.random().below(static_cast<std::uint64_t>(partitions)))),
      in_flight_(session.shard, kInFlightBytes),
      scope_(session.shard) {
  for (const auto& [name, value] : options.headers) {
    consensus::RecordHeader& header = headers_.emplace_back();
    header.key = name;
    header.value = core::as_bytes(value);
  }
}

std::int32_t Batcher::choose(const InputRecord& record) const {
  if (options_.partition) return *options_.partition;
  if (!record.key) return keyless_partition_;
  return net::kafka::partition_of_key(*record.key, partitions_);
}

bool Batcher::full(std::int32_t partition, const InputRecord& record) const {
  const auto found = batches_.find(partition);
  if (found == batches_.end() || found->second.record_count() == 0) return false;
  const std::size_t bytes = kRecordOverhead + (record.key ? record.key->size() : 0) +
                            (record.value ? record.value->size() : 0);
  return found->second.size_bytes() + bytes > kBatchBytes ||
         found->second.record_count() >= kBatchRecords;
}

void Batcher::add(std::int32_t partition, const InputRecord& record) {
  auto& batch = batches_.try_emplace(partition, options_.compression).first->second;
  const std::int64_t now_ms = shard_.ring().wall_now().time_since_epoch().count();
  batch.add(now_ms, record.key, record.value, headers_);
}

core::Task<void> Batcher::flush(std::int32_t partition) {
  consensus::RecordBatchBuilder& builder = batches_.at(partition);
  const std::int32_t records = builder.record_count();
  core::Bytes batch = builder.finish();
  if (partition == keyless_partition_ && partitions_ > 1) {
    const auto step = shard_.random().between(1, static_cast<std::uint64_t>(partitions_) - 1);
    keyless_partition_ = (keyless_partition_ + static_cast<std::int32_t>(step)) % partitions_;
  }
  const std::uint64_t reserved = std::min<std::uint64_t>(batch.size(), in_flight_.total());
  co_await in_flight_.acquire(reserved);
  scope_.spawn(deliver(partition, std::move(batch), records, reserved));
}

core::Task<void> Batcher::flush_all() {
  std::vector<std::int32_t> waiting;
  for (const auto& [partition, batch] : batches_) {
    if (batch.record_count() > 0) waiting.push_back(partition);
  }
  for (const std::int32_t partition : waiting) co_await flush(partition);
}

core::Task<void> Batcher::deliver(std::int32_t partition, core::Bytes batch, std::int32_t records,
                                  std::uint64_t reserved) {
  const std::size_t bytes = batch.size();
  auto produced = co_await producer_.send(partition, std::move(batch));
  in_flight_.release(reserved);
  if (!produced) {
    if (!failure_) failure_ = std::move(produced).error();
    co_return;
  }
  acknowledged_ += records;
  acknowledged_bytes_ += bytes;
  Placed& placed = placed_[partition];
  placed.records += records;
  const bool first = placed.first_offset < 0 || produced->base_offset < placed.first_offset;
  if (produced->base_offset >= 0 && first) placed.first_offset = produced->base_offset;
}

/// Reads all input and sends it. Failures to read are returned; failures to send stand in the
/// batcher.
core::Task<core::Status> send_all(Session* session, RecordInput* input, Batcher* batcher,
                                  bool show_progress) {
  Progress progress(session->shard, show_progress);
  while (!batcher->failure()) {
    SENTINEL_CO_TRY(loaded, co_await input->load());
    if (!loaded) break;
    while (!batcher->failure()) {
      SENTINEL_CO_TRY(record, input->next());
      if (!record) break;
      const std::int32_t partition = batcher->choose(*record);
      if (batcher->full(partition, *record)) {
        co_await batcher->flush(partition);
        progress.update("Produced", batcher->acknowledged(), batcher->acknowledged_bytes());
      }
      batcher->add(partition, *record);
    }
    // The next input may be long in coming.
    co_await batcher->flush_all();
    progress.update("Produced", batcher->acknowledged(), batcher->acknowledged_bytes());
  }
  progress.clear();
  co_return core::Status();
}

std::string where(const Batcher& batcher) {
  const auto& placed = batcher.placed();
  if (placed.empty()) return "no input";
  if (placed.size() == 1) return fmt::format("offset: {}", placed.begin()->second.first_offset);
  if (placed.size() > kPartitionsNamedMax) return fmt::format("{} partitions", placed.size());
  std::string text;
  for (const auto& [partition, each] : placed) {
    text += fmt::format("{}partition {} offset: {}", text.empty() ? "" : ", ", partition,
                        each.first_offset);
  }
  return text;
}

void print_json(const ProduceOptions& options, const Batcher& batcher) {
  std::string line = "{\"topic\":";
  append_json_string(line, options.topic);
  line += fmt::format(",\"records\":{},\"partitions\":[", batcher.acknowledged());
  bool first = true;
  for (const auto& [partition, each] : batcher.placed()) {
    line += fmt::format("{}{{\"partition\":{},\"offset\":{},\"records\":{}}}", first ? "" : ",",
                        partition, each.first_offset, each.records);
    first = false;
  }
  fmt::print("{}]}}\n", line);
}

}  // namespace

core::Task<core::ExitCode> produce(Session* session, const ProduceOptions* options) {
  RecordInput input(session->shard, session->blocking, *options);
  if (const core::Status opened = input.open(); !opened) co_return report(opened.error());
  auto topic = co_await session->client->topic(options->topic, true, session->deadline());
  if (!topic) co_return report(topic.error());
  auto producer = co_await Producer::open(*session->client, options->topic,
                                          {.delivery_timeout = session->timeout});
  if (!producer) co_return report(producer.error());
  Batcher batcher(*session, *options, **producer,
                  static_cast<std::int32_t>(topic->partitions.size()));
  auto sent = co_await send_all(session, &input, &batcher, true);
  co_await batcher.flush_all();
  co_await batcher.join();
  co_await (*producer)->close();
  if (sent && !batcher.failure()) {
    if (options->output == Output::json) {
      print_json(*options, batcher);
    } else {
      fmt::print("✓ Produced {} record(s) to {} ({})\n", batcher.acknowledged(), options->topic,
                 where(batcher));
    }
    co_return core::ExitCode::ok;
  }
  core::Error error = sent ? *batcher.failure() : sent.error();
  error.message += fmt::format("; {} record(s) were stored", batcher.acknowledged());
  co_return report(error);
}

}  // namespace sentinel::apps
