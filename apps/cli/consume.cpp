/// The consume command: fetched batches to printed records.

#include <fmt/format.h>
#include <unistd.h>

#include <iterator>
#include <string>

#include "apps/cli/format.h"
#include "apps/cli/session.h"
#include "apps/cli/terminal.h"
#include "net/kafka/consumer.h"

namespace sentinel::apps {

namespace {

using net::kafka::Consumer;
using net::kafka::ConsumeRange;

// How often a wait for new records looks for Ctrl-C.
constexpr core::Duration kLookForInterrupt = std::chrono::milliseconds(100);
constexpr std::size_t kRuleColumns = 60;

class Consumption {
 public:
  Consumption(Session& session, const ConsumeOptions& options)
      : session_(session),
        options_(options),
        printer_(session.shard, session.blocking),
        progress_(session.shard, isatty(STDOUT_FILENO) == 0) {}

  core::Task<core::ExitCode> run();

 private:
  core::Task<core::Result<std::vector<ConsumeRange>>> find_ranges();
  core::Task<core::Result<ConsumeRange>> find_range(std::int32_t partition);
  core::Task<core::Status> read(Consumer* consumer);
  core::Task<core::Status> print(net::kafka::ConsumedBatches batches);
  void print_record(std::int32_t partition, const consensus::Record& record);
  void print_head(const std::vector<ConsumeRange>& ranges);
  void print_foot();
  [[nodiscard]] bool enough() const {
    return options_.messages_max && printed_ >= *options_.messages_max;
  }
  [[nodiscard]] bool ended() const { return enough() || interrupted(); }

  Session& session_;
  const ConsumeOptions& options_;
  Printer printer_;
  Progress progress_;
  bool with_partition_ = false;
  std::int64_t printed_ = 0;
  std::uint64_t bytes_ = 0;
};

core::Task<core::ExitCode> Consumption::run() {
  auto ranges = co_await find_ranges();
  if (!ranges) co_return report(ranges.error());
  if (options_.follow) catch_interrupts();
  print_head(*ranges);
  // Who watches sees at once that it began.
  core::Status status = co_await printer_.flush();
  Consumer consumer(*session_.client, options_.topic, std::move(*ranges),
                    {.patience = session_.timeout});
  if (status) status = co_await read(&consumer);
  co_await consumer.close();
  progress_.clear();
  if (status) print_foot();
  const core::Status flushed = co_await printer_.flush();
  if (status) status = flushed;
  if (status) co_return core::ExitCode::ok;
  // The reader of our output has what it wanted.
  if (status.error().code == core::Errc::reset &&
      status.error().message.starts_with("cannot write"))
    co_return core::ExitCode::ok;
  co_return report(status.error());
}

core::Task<core::Result<std::vector<ConsumeRange>>> Consumption::find_ranges() {
  SENTINEL_CO_TRY(topic,
                  co_await session_.client->topic(options_.topic, false, session_.deadline()));
  std::vector<ConsumeRange> ranges;
  if (options_.partition) {
    SENTINEL_CO_TRY(range, co_await find_range(*options_.partition));
    ranges.push_back(range);
    co_return ranges;
  }
  if (options_.offset && topic.partitions.size() > 1) {
    co_return core::fail(
        core::Errc::invalid_argument,
        fmt::format("topic {} has {} partitions: --offset needs --partition as well",
                    options_.topic, topic.partitions.size()));
  }
  with_partition_ = true;
  for (const net::kafka::PartitionView& partition : topic.partitions) {
    SENTINEL_CO_TRY(range, co_await find_range(partition.index));
    ranges.push_back(range);
  }
  co_return ranges;
}

/// Where to start, and the end that stands now.
core::Task<core::Result<ConsumeRange>> Consumption::find_range(std::int32_t partition) {
  net::kafka::Client& client = *session_.client;
  SENTINEL_CO_TRY(
      oldest, co_await client.list_offset(options_.topic, partition, net::kafka::kEarliestOffset,
                                          session_.deadline()));
  SENTINEL_CO_TRY(end, co_await client.list_offset(options_.topic, partition,
                                                   net::kafka::kLatestOffset, session_.deadline()));
  ConsumeRange range;
  range.partition = partition;
  const bool from_end = options_.follow && !options_.from_beginning;
  range.begin = options_.offset.value_or(from_end ? end.offset : oldest.offset);
  if (range.begin < oldest.offset || range.begin > end.offset) {
    co_return core::fail(
        core::Errc::not_found,
        fmt::format("{}/{} has no offset {}: it holds the offsets from {} up to {}", options_.topic,
                    partition, range.begin, oldest.offset, end.offset));
  }
  if (!options_.follow) range.end = end.offset;
  co_return range;
}

core::Task<core::Status> Consumption::read(Consumer* consumer) {
  while (!ended()) {
    const core::Deadline look =
        options_.follow ? session_.shard.deadline_in(kLookForInterrupt) : core::Deadline::never();
    SENTINEL_CO_TRY(batches, co_await consumer->next(look));
    if (!batches && consumer->finished()) break;
    if (!batches) continue;
    SENTINEL_CO_CHECK(co_await print(std::move(*batches)));
    if (options_.follow) {
      SENTINEL_CO_CHECK(co_await printer_.flush());
    }
    progress_.update("Consumed", printed_, bytes_);
  }
  co_return core::Status();
}

core::Task<core::Status> Consumption::print(net::kafka::ConsumedBatches batches) {
  const std::int32_t partition = batches.partition;
  net::kafka::RecordWalk walk(std::move(batches));
  while (!ended()) {
    SENTINEL_CO_TRY(record, walk.next());
    if (!record) break;
    print_record(partition, *record);
    if (printer_.full()) {
      SENTINEL_CO_CHECK(co_await printer_.flush());
    }
  }
  co_return core::Status();
}

void Consumption::print_record(std::int32_t partition, const consensus::Record& record) {
  const PrintedRecord printed{.topic = options_.topic, .partition = partition, .record = record};
  std::string& out = printer_.buffer();
  switch (options_.output) {
    case Output::text: append_text(out, printed, with_partition_); break;
    case Output::json: append_json(out, printed); break;
    case Output::value:
      append_value(out, printed, options_.key_separator, options_.null_marker);
      break;
  }
  ++printed_;
  bytes_ += record.value ? record.value->size() : 0;
}

void Consumption::print_head(const std::vector<ConsumeRange>& ranges) {
  if (options_.output != Output::text) return;
  std::string& out = printer_.buffer();
  if (with_partition_) {
    fmt::format_to(std::back_inserter(out), "Consuming from {} ({} partition{})...\n",
                   options_.topic, ranges.size(), ranges.size() == 1 ? "" : "s");
  } else {
    fmt::format_to(std::back_inserter(out), "Consuming from {} (partition {}, offset {})...\n",
                   options_.topic, ranges.front().partition, ranges.front().begin);
  }
  out.append(kRuleColumns, '-');
  out += '\n';
}

void Consumption::print_foot() {
  if (options_.output != Output::text) return;
  std::string& out = printer_.buffer();
  out.append(kRuleColumns, '-');
  fmt::format_to(std::back_inserter(out), "\nConsumed {} message(s)\n", printed_);
}

}  // namespace

core::Task<core::ExitCode> consume(Session* session, const ConsumeOptions* options) {
  Consumption consumption(*session, *options);
  co_return co_await consumption.run();
}

}  // namespace sentinel::apps
