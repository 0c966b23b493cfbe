/// Topics that keep the latest record of each key, on a broker shard with its stores, its clocks
/// and its disk.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/random.h"
#include "test/support/broker_bench.h"
#include "test/support/budget.h"

namespace sentinel {
namespace {

using consensus::Codec;
using consensus::GroupId;
using consensus::Offset;
using consensus::RecordBatchBuilder;
using consensus::RecordBatchView;
using consensus::RecordReader;
using core::Task;
using test::SimBroker;
using namespace std::chrono_literals;

struct Sent {
  std::string key;
  std::optional<std::string> value;
  std::int64_t timestamp_ms = 0;
  friend bool operator==(const Sent&, const Sent&) = default;
};
using Log = std::map<std::int64_t, Sent>;  // By offset.

const std::vector<consensus::ConfigEntry> kEager = {
    {.name = "cleanup.policy", .value = "compact"},
    {.name = "min.cleanable.dirty.ratio", .value = "0"}};

std::vector<consensus::ConfigEntry> with(std::vector<consensus::ConfigEntry> configs,
                                         std::string name, std::string value) {
  std::erase_if(configs, [&](const auto& entry) { return entry.name == name; });
  configs.push_back({.name = std::move(name), .value = std::move(value)});
  return configs;
}

void add_to(Log& log, core::ByteSpan bytes) {
  std::size_t at = 0;
  while (at < bytes.size()) {
    const auto batch = RecordBatchView::parse(bytes.subspan(at));
    REQUIRE(batch.has_value());
    REQUIRE(batch->crc_matches());
    at += batch->bytes().size();
    auto reader = RecordReader::open(*batch);
    REQUIRE(reader.has_value());
    std::int64_t largest = -1;
    for (auto record = reader->next(); record && record->has_value(); record = reader->next()) {
      Sent& sent = log[(*record)->offset.value()];
      sent.key = core::as_text(*(*record)->key);
      if ((*record)->value.has_value()) sent.value = core::as_text(*(*record)->value);
      sent.timestamp_ms = (*record)->timestamp_ms;
      largest = std::max(largest, sent.timestamp_ms);
    }
    CHECK(largest == batch->max_timestamp());
  }
}

struct Bench : test::BrokerBench {
  using BrokerBench::BrokerBench;
  GroupId group;
  Log sent;
  std::int64_t last_batch = 0;  // The base offset of the log's last entry.
  std::uint64_t headers = 0;

  consensus::Result<consensus::Appended> try_append(const std::vector<Sent>& records,
                                                    Codec codec = Codec::none,
                                                    std::int32_t sequence = -1) {
    consensus::Result<consensus::Appended> outcome = std::unexpected(consensus::Errc::closed);
    RecordBatchBuilder builder(codec);
    if (sequence >= 0) builder.set_producer({.id = 5, .epoch = 0}, sequence);
    for (const Sent& record : records) {
      builder.add(
          record.timestamp_ms, core::as_bytes(record.key),
          record.value.has_value() ? std::optional(core::as_bytes(*record.value)) : std::nullopt);
    }
    run([](SimBroker* broker, GroupId to, core::Bytes batch,
           consensus::Result<consensus::Appended>* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(to);
      *out =
          co_await (*partition)
              ->append(std::move(batch),
                       {.batch_bytes_max = 1 << 20, .produce_version = 9, .keys_required = true});
    }(&broker(), group, builder.finish(), &outcome));
    return outcome;
  }
  void append(const std::vector<Sent>& records, Codec codec = Codec::none,
              std::int32_t sequence = -1) {
    const auto appended = try_append(records, codec, sequence);
    REQUIRE(appended.has_value());
    last_batch = appended->base_offset.value();
    for (std::size_t i = 0; i < records.size(); ++i)
      sent[last_batch + static_cast<std::int64_t>(i)] = records[i];
  }
  void append(std::string key, std::optional<std::string> value) {
    append({{.key = std::move(key), .value = std::move(value), .timestamp_ms = wall_ms()}});
  }

  /// What a consumer gets from the start on; checks that the partition knows its size, and finds
  /// out how many batches have nothing left but the header.
  Log stored() {
    Log log;
    run([](SimBroker* broker, GroupId of, Log* out, std::uint64_t* left) -> Task<void> {
      auto partition = co_await broker->shard().partition(of);
      const auto read =
          co_await (*partition)->read({.offset = (*partition)->log_start(), .bytes_max = 1 << 30});
      CHECK(read.has_value());
      if (!read) co_return;
      const std::uint64_t rest = (*partition)->size_bytes() - read->records.size();
      CHECK(rest % consensus::kBatchHeaderBytes == 0);
      *left = rest / consensus::kBatchHeaderBytes;
      add_to(*out, read->records.joined());
    }(&broker(), group, &log, &headers));
    return log;
  }
  std::int64_t start_offset() {
    std::int64_t start = 0;
    run([](SimBroker* broker, GroupId of, std::int64_t* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(of);
      *out = (*partition)->log_start().value();
    }(&broker(), group, &start));
    return start;
  }
  std::optional<std::int64_t> latest_offset(const std::string& key) {
    std::optional<std::int64_t> offset;
    run([](SimBroker* broker, GroupId of, std::string wanted,
           std::optional<std::int64_t>* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(of);
      const auto found = co_await (*partition)->find_latest(core::Bytes::copy(wanted));
      CHECK(found.has_value());
      if (found && found->has_value()) *out = (*found)->offset.value();
    }(&broker(), group, key, &offset));
    return offset;
  }
  /// Of each key the offset of its latest record.
  [[nodiscard]] std::map<std::string, std::int64_t> latest() const {
    std::map<std::string, std::int64_t> offsets;
    for (const auto& [offset, record] : sent) offsets[record.key] = offset;
    return offsets;
  }

  /// Nothing is made up, and the latest of each key is there; tombstones may be gone.
  void check_nothing_lost() {
    const Log log = stored();
    for (const auto& [offset, record] : log) CHECK(sent.at(offset) == record);
    for (const auto& [key, offset] : latest()) {
      const bool tombstone = !sent.at(offset).value.has_value();
      if (offset >= start_offset()) CHECK((log.contains(offset) || tombstone));
      CHECK(latest_offset(key) ==
            (tombstone || offset < start_offset() ? std::nullopt : std::optional(offset)));
    }
  }
  /// Before the last entry there is nothing but the latest records.
  void check_clean() {
    const auto newest = latest();
    for (const auto& [offset, record] : stored())
      CHECK((offset >= last_batch || newest.at(record.key) == offset));
  }
};

std::vector<Sent> random_records(core::Random& random, std::uint64_t keys, std::int64_t now_ms) {
  std::vector<Sent> records;
  for (std::uint64_t count = 1 + random.below(20); count > 0; --count) {
    Sent& record = records.emplace_back();
    record.key = fmt::format("key-{}", random.below(keys));
    if (random.below(20) == 0) record.key += std::string(1500, 'x');
    if (random.below(5) != 0) record.value = std::string(random.below(600), 'v');
    record.timestamp_ms = now_ms - static_cast<std::int64_t>(random.below(5000));
  }
  return records;
}

void run_seed(std::uint64_t seed) {
  INFO("replay: SENTINEL_SEED=" << seed << " sentinel_sim_tests --source-file=*compacted_topic*");
  Bench bench(seed);
  core::Random random(seed);
  const std::string ratio = random.below(2) == 0 ? "0" : "0.3";
  bench.group = bench.create("random", with(with(kEager, "delete.retention.ms", "30000"),
                                            "min.cleanable.dirty.ratio", ratio));
  const std::uint64_t keys = 1 + random.below(200);
  for (int step = 0; step < 25; ++step) {
    for (std::uint64_t batches = 1 + random.below(40); batches > 0; --batches)
      bench.append(random_records(random, keys, bench.wall_ms()),
                   static_cast<Codec>(random.below(5)));
    bench.world.run_for(std::chrono::milliseconds(random.below(30'000)));
    if (random.below(4) == 0) {
      bench.world.crash(bench.node);
      bench.start();
    } else if (random.below(6) == 0) {
      REQUIRE(bench.world.stop(bench.node));
      bench.start();
    }
    bench.check_nothing_lost();
  }
  bench.world.run_for(10min);
  bench.check_nothing_lost();
  if (ratio == "0") bench.check_clean();
}

}  // namespace

TEST_CASE_FIXTURE(Bench, "of a compacted topic the latest record of each key is left") {
  group = create("latest", kEager);
  for (int round = 0; round < 20; ++round) {
    std::vector<Sent> records;
    for (int i = 0; i < 10; ++i) {
      records.push_back({.key = fmt::format("key-{}", (round * 7 + i * 3) % 40),
                         .value = fmt::format("value {} {}", round, i),
                         .timestamp_ms = wall_ms()});
    }
    append(records, static_cast<Codec>(round % 5));
  }
  CHECK(stored().size() == 200);
  check_nothing_lost();
  world.run_for(30s);
  check_nothing_lost();
  check_clean();
  CHECK(stored().size() <= 50);
  const Log before = stored();
  SUBCASE("a restart changes nothing") { REQUIRE(world.stop(node)); }
  SUBCASE("a power cut changes nothing") { world.crash(node); }
  start();
  CHECK(stored() == before);
  world.run_for(60s);
  CHECK(stored() == before);
  check_nothing_lost();
}

TEST_CASE_FIXTURE(Bench, "a pass waits until enough has changed") {
  group = create("ratio", with(kEager, "min.cleanable.dirty.ratio", "0.5"));
  const std::string value(1000, 'v');
  for (int i = 0; i < 100; ++i) append(fmt::format("key-{}", i), value);
  world.run_for(30s);
  for (int i = 0; i < 50; ++i) append("key-0", value);
  world.run_for(30s);
  CHECK(stored().size() == 150);
  check_nothing_lost();
  for (int i = 0; i < 60; ++i) append("key-0", value);
  world.run_for(30s);
  check_clean();
  CHECK(stored().size() <= 102);
}

TEST_CASE_FIXTURE(Bench, "tombstones are kept for delete.retention.ms after their first pass") {
  group = create("tombstones", with(kEager, "delete.retention.ms", "600000"));
  append("gone", "value");
  append("gone", std::nullopt);
  append("kept", "value");
  append("last", "value");
  world.run_for(60s);
  CHECK(stored().size() == 3);
  CHECK(latest_offset("gone") == std::nullopt);
  SUBCASE("without a restart") {}
  SUBCASE("over a restart") {
    REQUIRE(world.stop(node));
    start();
  }
  SUBCASE("with a clock that jumps") {
    world.set_wall_offset(node, std::chrono::hours(24 * 365));
    append("more", "value");
    world.run_for(100s);
    CHECK(stored().contains(1));
  }
  world.run_for(5min);
  CHECK(stored().contains(1));
  world.run_for(2h);
  CHECK(!stored().contains(1));
  check_nothing_lost();
  append("gone", "again");
  CHECK(latest_offset("gone") == last_batch);
  world.run_for(60s);
  check_nothing_lost();
}

TEST_CASE_FIXTURE(
    Bench, "the last entry stays, also when it is an old tombstone: it says where to go on") {
  group = create("end", with(kEager, "delete.retention.ms", "1000"));
  append("key", "value");
  append("key", std::nullopt);
  world.run_for(3h);
  CHECK(stored().size() == 1);
  REQUIRE(world.stop(node));
  start();
  append("next", "value");
  CHECK(last_batch == 2);
  world.run_for(3h);
  CHECK(stored().size() == 1);
  check_nothing_lost();
}

TEST_CASE_FIXTURE(Bench, "batches younger than min.compaction.lag.ms are left alone") {
  group = create("lag", with(kEager, "min.compaction.lag.ms", "600000"));
  for (int i = 0; i < 10; ++i) append("key", fmt::format("value {}", i));
  world.run_for(5min);
  CHECK(stored().size() == 10);
  world.run_for(1h);
  CHECK(stored().size() == 1);
  check_nothing_lost();
}

TEST_CASE_FIXTURE(Bench, "batches older than max.compaction.lag.ms are a reason for a pass") {
  group = create("overdue", with(with(kEager, "min.cleanable.dirty.ratio", "1"),
                                 "max.compaction.lag.ms", "600000"));
  append("other", std::string(10'000, 'v'));
  append("key", "first");
  world.run_for(30s);
  append("key", "second");
  append("key", "third");
  world.run_for(60s);
  CHECK(stored().size() == 4);
  world.run_for(1h);
  CHECK(stored().size() == 2);
  check_nothing_lost();
}

TEST_CASE_FIXTURE(Bench, "with both policies the limits count what is left") {
  group = create(
      "both", with(with(kEager, "cleanup.policy", "compact,delete"), "retention.bytes", "100000"));
  const std::string value(1000, 'v');
  // Much more than the limit is sent, but little of it is left.
  for (int i = 0; i < 400; ++i) append(fmt::format("key-{}", i % 20), value);
  world.run_for(60s);
  check_nothing_lost();
  check_clean();
  CHECK(latest_offset("key-0").has_value());
  // Now the limit is reached with other keys.
  for (int i = 0; i < 120; ++i) append(fmt::format("other-{}", i), value);
  world.run_for(60s);
  check_nothing_lost();
  CHECK(latest_offset("key-0") == std::nullopt);
  CHECK(start_offset() > 300);
  CHECK(stored().size() >= 85);
  CHECK(stored().size() <= 100);
}

TEST_CASE_FIXTURE(Bench, "a compacted topic takes no record without a key") {
  group = create("keys", kEager);
  run([](SimBroker* broker, GroupId to) -> Task<void> {
    auto partition = co_await broker->shard().partition(to);
    for (const Codec codec : {Codec::none, Codec::zstd}) {
      RecordBatchBuilder builder(codec);
      builder.add(1, core::as_bytes("key"), core::as_bytes("value"));
      builder.add(1, std::nullopt, core::as_bytes("value"));
      const auto refused =
          co_await (*partition)
              ->append(builder.finish(),
                       {.batch_bytes_max = 1 << 20, .produce_version = 9, .keys_required = true});
      CHECK(refused.error() == consensus::Errc::invalid_record);
    }
  }(&broker(), group));
}

TEST_CASE_FIXTURE(Bench, "the last batch stays, also with entries behind it that are no batches") {
  group = create("end", with(kEager, "delete.retention.ms", "1000"));
  for (const char* key : {"first", "second"}) {
    append(key, "value");
    append(key, std::nullopt);
  }
  // That the first tombstone may go is said in an entry behind the second one.
  world.run_for(120s);
  const Log log = stored();
  REQUIRE(log.size() == 1);
  CHECK(log.contains(last_batch));
}

TEST_CASE_FIXTURE(Bench, "a producer's last batches are known although they were cleaned away") {
  group = create("producer", kEager);
  for (std::int32_t i = 0; i < 4; ++i)
    append({{.key = "key", .value = "value", .timestamp_ms = wall_ms()}}, Codec::none, i);
  append("key", "of another");
  append("last", "value");
  world.run_for(60s);
  CHECK(stored().size() == 2);
  world.crash(node);
  start();
  const auto again = try_append({{.key = "key", .value = "value"}}, Codec::none, 3);
  REQUIRE(again.has_value());
  CHECK(again->base_offset == Offset(3));
  const auto gap = try_append({{.key = "key", .value = "value"}}, Codec::none, 9);
  CHECK(gap.error() == consensus::Errc::out_of_order_sequence);
}

TEST_CASE_FIXTURE(Bench, "of what a producer might send again the headers stay in the log") {
  group = create("headers", kEager);
  const auto send = [&](std::int32_t sequence) {
    append({{.key = "key", .value = "value", .timestamp_ms = wall_ms()}}, Codec::lz4, sequence);
  };
  for (std::int32_t i = 0; i < 9; ++i) send(i);
  append("key", "of another");
  append("last", "value");
  world.run_for(60s);
  CHECK(stored().size() == 2);
  CHECK(headers == consensus::kRememberedBatches);
  // Those of its next batches take their place.
  for (std::int32_t i = 9; i < 12; ++i) send(i);
  append("last", "value");
  world.run_for(60s);
  CHECK(stored().size() == 2);
  CHECK(headers == consensus::kRememberedBatches - 1);
  check_nothing_lost();
}

TEST_CASE_FIXTURE(Bench, "keys of any length are told apart") {
  group = create("long", kEager);
  const std::string begin(3000, 'k');
  append({{.key = begin + "a", .value = "1"},
          {.key = begin + "b", .value = "2"},
          {.key = "", .value = "3"},
          {.key = begin.substr(0, 1024), .value = "4"},
          {.key = begin.substr(0, 1025), .value = "5"}});
  append({{.key = begin + "a", .value = "6"}, {.key = "", .value = "7"}});
  append("last", "value");
  world.run_for(60s);
  CHECK(stored().size() == 6);
  check_nothing_lost();
  check_clean();
}

TEST_CASE("random batches, restarts and power cuts: the latest of each key is always there") {
  if (const char* only = std::getenv("SENTINEL_SEED")) {
    run_seed(std::strtoull(only, nullptr, 10));
    return;
  }
  const std::uint64_t seeds = test::budget(20, 4);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) run_seed(seed);
}

}  // namespace sentinel
