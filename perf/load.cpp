/// sentinel-load: a load generator with this project's client.
///
/// With --rate it is an open loop: batches are due at times that a Poisson process (or a metronome)
/// has fixed beforehand, and latency counts from the moment a batch was due, so that a broker that
/// stalls is charged for everything it holds up. Without --rate each connection keeps --in-flight
/// batches on their way. Batches are encoded before the run. With --consume it reads instead
/// (perf/drain.h).

#include <fmt/format.h>

#include <boost/program_options.hpp>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "consensus/record_batch.h"
#include "core/assert.h"
#include "core/histogram.h"
#include "core/runtime.h"
#include "core/scope.h"
#include "core/sync.h"
#include "net/kafka/client.h"
#include "net/kafka/messages/produce.h"
#include "perf/drain.h"
#include "perf/picture.h"

namespace sentinel::perf {
namespace {

namespace po = boost::program_options;

using core::ExitCode;
using net::kafka::BrokerConnection;

// Beyond this an open loop is no longer: the machine can't even start what is due.
constexpr std::uint64_t kOpenLoopInFlight = 20'000;
// Batches with keys differ, so many of them.
constexpr std::size_t kBatchesWithKeys = 256;

struct LoadOptions {
  std::string broker;
  std::string topic;
  std::string io;
  std::int32_t connections = 1;
  std::int32_t partitions = 0;
  double rate = 0;
  std::string arrivals;
  std::int32_t in_flight = 1;
  std::size_t record_bytes = 1024;
  std::int32_t batch_records = 1;
  std::uint64_t keys = 0;
  std::vector<std::string> configs;
  double seconds = 10;
  double warmup_seconds = 1;
  std::uint64_t total_mib = 0;
  std::int16_t acks = -1;
  std::uint64_t seed = 1;
  std::string json;
  std::string svg;
  bool consume = false;
  bool verify = false;
  std::int32_t fetch_bytes = 1 << 20;
  std::int32_t partitions_a_fetch = 1;
};

core::Duration to_duration(double seconds) {
  return std::chrono::duration_cast<core::Duration>(std::chrono::duration<double>(seconds));
}

/// One run: connections, the clock of the measured span, what was counted in it.
class Load {
 public:
  Load(core::Shard& shard, const LoadOptions& options)
      : shard_(shard), options_(options), open_slots_(shard, kOpenLoopInFlight), scope_(shard) {}

  core::Task<ExitCode> run();

 private:
  struct Lane {
    std::unique_ptr<BrokerConnection> connection;
    std::vector<std::int32_t> partitions;  // Written to in turn.
    std::size_t next_partition = 0;
  };

  core::Task<core::Status> prepare(net::kafka::Client* client);
  core::Task<void> closed_worker(Lane* lane);
  core::Task<void> open_loop();
  core::Task<void> open_request(Lane* lane, core::TimePoint due);
  core::Task<void> one(Lane* lane, core::TimePoint due);
  void count(core::TimePoint due);
  [[nodiscard]] bool over() const;
  void print_report() const;
  [[nodiscard]] std::string json_report() const;
  [[nodiscard]] double quantile_us(double q) const {
    return static_cast<double>(latencies_.percentile(q * 100)) / 1e3;
  }
  [[nodiscard]] double records_per_second() const {
    return static_cast<double>(batches_) * options_.batch_records / seconds_;
  }
  [[nodiscard]] double megabytes_per_second() const {
    return records_per_second() * static_cast<double>(options_.record_bytes) / 1e6;
  }

  core::Shard& shard_;
  const LoadOptions& options_;
  std::vector<core::Bytes> batches_to_send_;  // Sent in turn.
  std::size_t next_batch_ = 0;
  std::vector<Lane> lanes_;
  core::TimePoint begin_;
  core::TimePoint end_;
  core::Histogram latencies_;  // Nanoseconds.
  double seconds_ = 0;         // Of the measured span.
  std::uint64_t started_ = 0;
  std::uint64_t batches_ = 0;
  std::optional<core::Error> failure_;
  core::Semaphore open_slots_;
  core::TaskScope scope_;
};

core::Bytes make_batch(const LoadOptions& options, core::Random& random, std::int64_t now_ms) {
  consensus::RecordBatchBuilder builder;
  std::string value(options.record_bytes, '\0');
  for (std::int32_t i = 0; i < options.batch_records; ++i) {
    for (char& c : value) c = static_cast<char>('a' + random.below(26));
    std::string key;
    if (options.keys > 0) key = fmt::format("key-{:010}", random.below(options.keys));
    builder.add(now_ms, options.keys > 0 ? std::optional(core::as_bytes(key)) : std::nullopt,
                core::as_bytes(value));
  }
  return builder.finish();
}

core::Task<core::Status> Load::prepare(net::kafka::Client* client) {
  const core::Deadline deadline = shard_.deadline_in(std::chrono::seconds(30));
  net::kafka::NewTopic wanted;
  wanted.name = options_.topic;
  wanted.partitions = options_.partitions > 0 ? options_.partitions : options_.connections;
  wanted.configs.emplace_back("max.message.bytes", "16777216");
  for (const std::string& config : options_.configs) {
    const std::size_t equals = config.find('=');
    wanted.configs.emplace_back(config.substr(0, equals), config.substr(equals + 1));
  }
  auto created = co_await client->create_topic(std::move(wanted), deadline);
  if (!created && created.error().code != core::Errc::already_exists)
    co_return std::unexpected(std::move(created).error());
  SENTINEL_CO_TRY(topic, co_await client->topic(options_.topic, false, deadline));
  const std::int64_t now_ms = shard_.ring().wall_now().time_since_epoch().count();
  for (std::size_t i = 0; i < (options_.keys > 0 ? kBatchesWithKeys : 1); ++i)
    batches_to_send_.push_back(make_batch(options_, shard_.random(), now_ms));
  const auto connections = static_cast<std::size_t>(options_.connections);
  for (std::size_t i = 0; i < connections; ++i) {
    const auto& first = topic.partitions[i % topic.partitions.size()];
    Lane& lane = lanes_.emplace_back();
    lane.partitions.push_back(first.index);
    // The partitions are divided among the connections, as far as one broker has them.
    for (std::size_t p = i + connections; p < topic.partitions.size(); p += connections) {
      if (topic.partitions[p].leader == first.leader)
        lane.partitions.push_back(topic.partitions[p].index);
    }
    lane.connection = std::make_unique<BrokerConnection>(shard_, *client->address_of(first.leader),
                                                         "sentinel-load");
    SENTINEL_CO_CHECK(co_await lane.connection->connect(deadline));
  }
  co_return core::Status();
}

core::Task<ExitCode> Load::run() {
  net::kafka::ClientOptions client_options;
  client_options.client_id = "sentinel-load";
  auto address = net::HostPort::parse(options_.broker, 9092);
  if (!address) {
    fmt::print(stderr, "sentinel-load: --broker: {}\n", address.error().message);
    co_return ExitCode::usage;
  }
  client_options.bootstrap = std::move(*address);
  auto client = co_await net::kafka::Client::open(shard_, std::move(client_options));
  if (!client) {
    fmt::print(stderr, "sentinel-load: {}\n", client.error().message);
    co_return ExitCode::cannot_connect;
  }
  auto prepared = co_await prepare(client->get());
  if (prepared) {
    const bool by_time = options_.total_mib == 0;
    begin_ = shard_.now() + to_duration(by_time ? options_.warmup_seconds : 0);
    end_ = by_time ? begin_ + to_duration(options_.seconds) : core::TimePoint::max();
    if (options_.rate > 0) {
      scope_.spawn(open_loop());
    } else {
      for (Lane& lane : lanes_) {
        for (std::int32_t i = 0; i < options_.in_flight; ++i) scope_.spawn(closed_worker(&lane));
      }
    }
    co_await scope_.join();
    seconds_ =
        by_time ? options_.seconds : std::chrono::duration<double>(shard_.now() - begin_).count();
  } else {
    failure_ = std::move(prepared).error();
  }
  for (const Lane& lane : lanes_) co_await lane.connection->close();
  co_await (*client)->close();
  if (failure_) {
    fmt::print(stderr, "sentinel-load: {}\n", failure_->message);
    co_return ExitCode::failed;
  }
  print_report();
  co_return ExitCode::ok;
}

bool Load::over() const {
  if (failure_.has_value() || shard_.now() >= end_) return true;
  const std::uint64_t batch_bytes =
      options_.record_bytes * static_cast<std::uint64_t>(options_.batch_records);
  return options_.total_mib > 0 && started_ * batch_bytes >= options_.total_mib << 20;
}

core::Task<void> Load::closed_worker(Lane* lane) {
  while (!over()) {
    ++started_;
    co_await one(lane, shard_.now());
  }
}

core::Task<void> Load::open_loop() {
  const double mean_seconds = 1 / options_.rate;
  core::TimePoint due = shard_.now();
  std::size_t next_lane = 0;
  while (!failure_) {
    const double gap = options_.arrivals == "constant"
                           ? mean_seconds
                           : -std::log(1 - shard_.random().unit()) * mean_seconds;
    due += to_duration(gap);
    if (due >= end_) break;
    if (due > shard_.now()) co_await core::sleep_until(shard_, core::Deadline(due));
    co_await open_slots_.acquire(1);
    scope_.spawn(open_request(&lanes_[next_lane++ % lanes_.size()], due));
  }
}

core::Task<void> Load::open_request(Lane* lane, core::TimePoint due) {
  co_await one(lane, due);
  open_slots_.release(1);
}

core::Task<void> Load::one(Lane* lane, core::TimePoint due) {
  net::kafka::ProduceRequest request;
  request.acks = options_.acks;
  request.timeout_ms = 30'000;
  net::kafka::ProduceTopic& topic = request.topics.emplace_back();
  topic.name = options_.topic;
  net::kafka::ProducePartition& part = topic.partitions.emplace_back();
  part.index = lane->partitions[lane->next_partition++ % lane->partitions.size()];
  part.records = core::Chain(batches_to_send_[next_batch_++ % batches_to_send_.size()]);
  const core::Deadline deadline = shard_.deadline_in(std::chrono::seconds(60));
  if (options_.acks == 0) {
    auto sent = co_await lane->connection->send(std::move(request), deadline);
    if (!sent && !failure_) failure_ = std::move(sent).error();
    count(due);
    co_return;
  }
  auto answer =
      co_await lane->connection->call<net::kafka::ProduceResponse>(std::move(request), deadline);
  if (!answer) {
    if (!failure_) failure_ = std::move(answer).error();
    co_return;
  }
  for (const auto& each : answer->message.topics) {
    for (const auto& result : each.partitions) {
      if (result.error_code == net::kafka::ErrorCode::none || failure_) continue;
      failure_ =
          net::kafka::failure_of(result.error_code, "produce", result.error_message.value_or(""))
              .error;
    }
  }
  count(due);
}

/// Counts what ended within the measured span; latency from the intended moment.
void Load::count(core::TimePoint due) {
  const core::TimePoint now = shard_.now();
  if (now < begin_ || now > end_) return;
  ++batches_;
  latencies_.record(static_cast<std::uint64_t>(std::max<std::int64_t>((now - due).count(), 0)));
}

void Load::print_report() const {
  const std::string mode =
      options_.rate > 0
          ? fmt::format("open loop, {} arrivals, {} batches/s", options_.arrivals, options_.rate)
          : fmt::format("closed loop, {} in flight per connection", options_.in_flight);
  fmt::print("{} connection(s), {} record(s) of {} bytes a batch, acks={}, {}, {} s\n",
             options_.connections, options_.batch_records, options_.record_bytes, options_.acks,
             mode, seconds_);
  fmt::print("throughput  {:.0f} records/s, {:.1f} MB/s, {:.0f} batches/s\n", records_per_second(),
             megabytes_per_second(), static_cast<double>(batches_) / seconds_);
  fmt::print(
      "latency us  p50 {:.0f}  p90 {:.0f}  p99 {:.0f}  p99.9 {:.0f}  p99.99 {:.0f}  max {:.0f}\n",
      quantile_us(0.5), quantile_us(0.9), quantile_us(0.99), quantile_us(0.999),
      quantile_us(0.9999), static_cast<double>(latencies_.max()) / 1e3);
  if (!options_.json.empty()) std::ofstream(options_.json) << json_report();
  if (!options_.svg.empty()) {
    const std::string title =
        fmt::format("Produce latency: {} x {} B, acks={}, {}", options_.batch_records,
                    options_.record_bytes, options_.acks, mode);
    std::ofstream(options_.svg) << latency_curve(title,
                                                 [this](double q) { return quantile_us(q); });
  }
}

std::string Load::json_report() const {
  return fmt::format(
      "{{\"connections\":{},\"record_bytes\":{},\"batch_records\":{},\"acks\":{},\"rate\":{},\"in_"
      "flight\":{},\"seconds\":{},"
      "\"batches\":{},\"records_per_second\":{:.1f},\"mb_per_second\":{:.3f},\"latency_us\":{{"
      "\"p50\":{:.1f},\"p90\":{:.1f},"
      "\"p99\":{:.1f},\"p99.9\":{:.1f},\"p99.99\":{:.1f},\"max\":{:.1f}}}}}\n",
      options_.connections, options_.record_bytes, options_.batch_records, options_.acks,
      options_.rate, options_.in_flight, seconds_, batches_, records_per_second(),
      megabytes_per_second(), quantile_us(0.5), quantile_us(0.9), quantile_us(0.99),
      quantile_us(0.999), quantile_us(0.9999), static_cast<double>(latencies_.max()) / 1e3);
}

void describe_consuming(po::options_description& flags, LoadOptions& options) {
  auto add = flags.add_options();
  add("consume", po::bool_switch(&options.consume),
      "read the topic once from its start to its present end, with --in-flight fetches on each of "
      "--connections");
  add("fetch-bytes", po::value(&options.fetch_bytes)->default_value(1 << 20),
      "consume: bytes of a partition in one answer");
  add("fetch-partitions", po::value(&options.partitions_a_fetch)->default_value(1),
      "consume: partitions that one fetch asks for");
  add("verify", po::bool_switch(&options.verify), "consume: check the checksum of each batch");
}

po::options_description describe(LoadOptions& options) {
  po::options_description flags("Flags");
  auto add = flags.add_options();
  add("broker", po::value(&options.broker)->default_value("localhost:9092"), "broker to load");
  add("topic", po::value(&options.topic)->default_value("load"),
      "topic to write to; made if missing");
  add("partitions", po::value(&options.partitions)->default_value(0),
      "partitions of the topic if it is made; 0: one a connection");
  add("connections", po::value(&options.connections)->default_value(1),
      "connections, among which the partitions are divided");
  add("rate", po::value(&options.rate)->default_value(0),
      "open loop: batches a second over all connections; 0: closed loop");
  add("arrivals", po::value(&options.arrivals)->default_value("poisson"),
      "open loop: poisson or constant");
  add("in-flight", po::value(&options.in_flight)->default_value(1),
      "closed loop: batches on their way per connection");
  add("record-bytes", po::value(&options.record_bytes)->default_value(1024),
      "bytes of a record's value");
  add("batch-records", po::value(&options.batch_records)->default_value(1), "records a batch");
  add("keys", po::value(&options.keys)->default_value(0),
      "records have keys, so many different ones; 0: no keys");
  add("config", po::value(&options.configs)->composing(),
      "a topic setting, name=value, if the topic is made");
  add("seconds", po::value(&options.seconds)->default_value(10), "length of the measured span");
  add("total-mib", po::value(&options.total_mib)->default_value(0),
      "closed loop: end after so many MiB of values instead of --seconds");
  add("warmup", po::value(&options.warmup_seconds)->default_value(1), "seconds of load before it");
  add("acks", po::value(&options.acks)->default_value(-1),
      "-1 all, 1 leader, 0 none (then latency is that of sending)");
  add("io", po::value(&options.io)->default_value("auto"), "auto, uring or asio");
  add("seed", po::value(&options.seed)->default_value(1), "of arrivals and contents");
  add("json", po::value(&options.json), "write the figures to this file");
  add("svg", po::value(&options.svg), "write the latency curve to this file");
  describe_consuming(flags, options);
  add("help", "print this text");
  return flags;
}

std::optional<std::string> complaint(const LoadOptions& options) {
  if (options.connections < 1 || options.in_flight < 1 || options.batch_records < 1) {
    return "--connections, --in-flight and --batch-records are at least 1";
  }
  if (options.fetch_bytes < 1 || options.partitions_a_fetch < 1)
    return "--fetch-bytes and --fetch-partitions are at least 1";
  if (options.total_mib > 0 && options.rate > 0)
    return "--total-mib is for the closed loop, which has no --rate";
  if (options.seconds <= 0 || options.warmup_seconds < 0 || options.rate < 0)
    return "--seconds, --warmup and --rate are not negative";
  if (options.record_bytes * static_cast<std::size_t>(options.batch_records) >
      (std::size_t{15} << 20))
    return "a batch is at most 15 MiB";
  for (const std::string& config : options.configs) {
    if (config.find('=') == std::string::npos) return "--config is name=value";
  }
  if (options.arrivals != "poisson" && options.arrivals != "constant")
    return "--arrivals is poisson or constant";
  if (!core::parse_io_kind(options.io)) return "--io is auto, uring or asio";
  return std::nullopt;
}

core::Task<int> program(core::Shard& shard, const LoadOptions* options) {
  if (options->consume) {
    const DrainOptions reading{.broker = options->broker,
                               .topic = options->topic,
                               .connections = options->connections,
                               .in_flight = options->in_flight,
                               .partitions_a_fetch = options->partitions_a_fetch,
                               .fetch_bytes = options->fetch_bytes,
                               .verify = options->verify,
                               .json = options->json};
    const ExitCode code = co_await drain(shard, &reading);
    co_return static_cast<int>(code);
  }
  Load load(shard, *options);
  const ExitCode code = co_await load.run();
  co_return static_cast<int>(code);
}

int run(int argc, char** argv) {
  LoadOptions options;
  const po::options_description flags = describe(options);
  try {
    const int style =
        (po::command_line_style::unix_style | po::command_line_style::allow_long_disguise) &
        ~po::command_line_style::allow_guessing;
    po::variables_map values;
    const po::positional_options_description none;
    po::store(
        po::command_line_parser(argc, argv).options(flags).positional(none).style(style).run(),
        values);
    if (values.contains("help")) {
      std::cout << "sentinel-load: a load generator for Sentinel and other Kafka brokers\n\n"
                << flags;
      return 0;
    }
    po::notify(values);
  } catch (const po::error& error) {
    fmt::print(stderr, "sentinel-load: {}; see --help\n", error.what());
    return static_cast<int>(ExitCode::usage);
  }
  if (const auto wrong = complaint(options)) {
    fmt::print(stderr, "sentinel-load: {}\n", *wrong);
    return static_cast<int>(ExitCode::usage);
  }
  auto code =
      core::run_on_this_thread(*core::parse_io_kind(options.io), options.seed, &program, &options);
  if (code) return *code;
  fmt::print(stderr, "sentinel-load: {}\n", code.error().message);
  return static_cast<int>(ExitCode::no_io_backend);
}

}  // namespace
}  // namespace sentinel::perf

int main(int argc, char** argv) { return sentinel::perf::run(argc, argv); }
