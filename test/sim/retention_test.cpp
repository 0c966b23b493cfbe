/// What topics' limits give up, on a broker shard with its stores, its clocks and its disk.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "test/support/broker_bench.h"

namespace sentinel {
namespace {

using consensus::BrokerShard;
using consensus::GroupId;
using consensus::Offset;
using consensus::RecordBatchBuilder;
using core::Shard;
using core::Task;
using test::NodeContext;
using test::NodeId;
using test::SimWorld;
using namespace std::chrono_literals;

constexpr std::size_t kValueBytes = 10'000;

struct Bench : test::BrokerBench {
  void append(GroupId group, int batches, std::int64_t timestamp_ms) {
    run([](test::SimBroker* broker, GroupId to, int count, std::int64_t timestamp) -> Task<void> {
      auto partition = co_await broker->shard().partition(to);
      CHECK(partition.has_value());
      const std::string value(kValueBytes, 'v');
      for (int i = 0; i < count; ++i) {
        RecordBatchBuilder builder;
        builder.add(timestamp, std::nullopt, core::as_bytes(value));
        builder.add(timestamp, std::nullopt, core::as_bytes("second"));
        const auto appended =
            co_await (*partition)
                ->append(builder.finish(), {.batch_bytes_max = 1 << 20, .produce_version = 9});
        CHECK(appended.has_value());
      }
    }(&broker(), group, batches, timestamp_ms));
  }
  struct Extent {
    Offset start;
    Offset end;
    std::uint64_t bytes = 0;
    std::uint64_t readable = 0;  ///< Records that a reader gets.
    consensus::LogIndex last;
  };
  Extent extent(GroupId group) {
    Extent found;
    run([](test::SimBroker* broker, GroupId of, Extent* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(of);
      CHECK(partition.has_value());
      out->start = (*partition)->log_start();
      out->end = (*partition)->log_end();
      out->bytes = (*partition)->size_bytes();
      out->last = (*partition)->replica().last().index;
      if (out->start == out->end) co_return;
      const auto read = co_await (*partition)->read({.offset = out->start, .bytes_max = 1 << 30});
      CHECK(read.has_value());
      if (read) out->readable = read->records.size();
      if (out->start.value() == 0) co_return;
      const auto below = co_await (*partition)
                             ->read({.offset = Offset(out->start.value() - 1), .bytes_max = 1000});
      CHECK((!below && below.error() == consensus::Errc::offset_out_of_range));
    }(&broker(), group, &found));
    return found;
  }
  std::uint64_t table_bytes() {
    std::uint64_t bytes = 0;
    for (const std::string& entry : world.disk(node).image().listing()) {
      const std::string path = entry.substr(0, entry.find('='));
      if (path.find("/table-") != std::string::npos)
        bytes += world.disk(node).image().get(path)->size();
    }
    return bytes;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Bench, "a partition beyond retention.bytes loses its oldest batches, exactly") {
  const GroupId group = create("limited", {{.name = "retention.bytes", .value = "1000000"}});
  append(group, 60, wall_ms());
  CHECK(extent(group).start == Offset(0));
  append(group, 400, wall_ms());
  world.run_for(30s);
  const Extent left = extent(group);
  CHECK(left.end == Offset(920));
  // As few batches as hold the limit.
  CHECK(left.bytes >= 1'000'000);
  CHECK(left.bytes < 1'000'000 + kValueBytes + 200);
  CHECK(left.readable == left.bytes);
  CHECK(left.start.value() % 2 == 0);
  // The disk has no more than what a flush and a run may add to it.
  CHECK(table_bytes() < 2'000'000);
  SUBCASE("a restart keeps the start") { REQUIRE(world.stop(node)); }
  SUBCASE("a power cut keeps the start") { world.crash(node); }
  start();
  const Extent again = extent(group);
  CHECK(again.start == left.start);
  CHECK(again.end == left.end);
  CHECK(again.readable == left.readable);
}

TEST_CASE_FIXTURE(Bench, "batches that are older than retention.ms go, others stay") {
  const GroupId group = create("aging", {{.name = "retention.ms", .value = "60000"}});
  append(group, 50, wall_ms());
  world.run_for(40s);
  append(group, 10, wall_ms());
  CHECK(extent(group).start == Offset(0));
  world.run_for(40s);
  CHECK(extent(group).start == Offset(100));
  world.run_for(60s);
  const Extent empty = extent(group);
  CHECK(empty.start == Offset(120));
  CHECK(empty.bytes == 0);
  // An empty log goes on where it was.
  append(group, 1, wall_ms());
  CHECK(extent(group).end == Offset(122));
  REQUIRE(world.stop(node));
  start();
  CHECK(extent(group).end == Offset(122));
  world.run_for(80s);
  CHECK(extent(group).start == Offset(122));
}

TEST_CASE_FIXTURE(Bench, "a log with nothing left but its trims rests") {
  const GroupId group = create("idle", {{.name = "retention.ms", .value = "60000"}});
  append(group, 3, wall_ms());
  world.run_for(100s);
  const Extent empty = extent(group);
  CHECK(empty.start == Offset(6));
  world.run_for(600s);
  CHECK(extent(group).last == empty.last);
}

TEST_CASE_FIXTURE(Bench, "old partitions are found after a start, without being used") {
  const GroupId group = create("forgotten", {{.name = "retention.ms", .value = "60000"}});
  append(group, 100, wall_ms());
  REQUIRE(world.stop(node));
  world.run_for(120s);
  start();
  world.run_for(5s);
  const GroupId other = create("other", {});
  append(other, 1, wall_ms());
  world.run_for(20s);
  CHECK(extent(group).start == Offset(200));
}

TEST_CASE_FIXTURE(Bench, "a clock that jumps deletes nothing for a while") {
  const GroupId group = create("steady", {{.name = "retention.ms", .value = "600000"}});
  append(group, 5, wall_ms());
  world.run_for(60s);
  // A second partition makes it look at its clock now and then.
  const GroupId busy = create("busy", {{.name = "retention.ms", .value = "1000"}});
  append(busy, 1, wall_ms());
  world.run_for(60s);
  CHECK(extent(busy).start == Offset(2));
  world.set_wall_offset(node, std::chrono::hours(24 * 365));
  append(busy, 1, wall_ms() - 10'000);
  world.run_for(120s);
  CHECK(extent(busy).start == Offset(2));
  CHECK(extent(group).start == Offset(0));
  world.run_for(15min);
  CHECK(extent(busy).start == Offset(4));
}

TEST_CASE_FIXTURE(Bench, "compacted topics and unlimited ones keep everything") {
  const GroupId compacted = create("compacted", {{.name = "cleanup.policy", .value = "compact"},
                                                 {.name = "retention.bytes", .value = "1000"},
                                                 {.name = "retention.ms", .value = "1000"}});
  const GroupId unlimited = create("unlimited", {{.name = "retention.ms", .value = "-1"}});
  append(compacted, 5, wall_ms());
  append(unlimited, 5, 1);
  world.run_for(2h);
  CHECK(extent(compacted).start == Offset(0));
  CHECK(extent(unlimited).start == Offset(0));
}

TEST_CASE_FIXTURE(Bench, "a deleted topic gives its space back") {
  const GroupId group = create("deleted", {});
  const GroupId kept = create("kept", {});
  append(kept, 5, wall_ms());
  append(group, 300, wall_ms());
  world.run_for(5s);
  CHECK(table_bytes() > 2'000'000);
  run([](test::SimBroker* broker) -> Task<void> {
    const consensus::Topic topic = *broker->shard().image()->find("deleted");
    const auto deleted = co_await broker->shard().controller().delete_topic(topic.id);
    CHECK(deleted.has_value());
  }(&broker()));
  world.run_for(5s);
  CHECK(table_bytes() < 1'000'000);
  CHECK(extent(kept).readable > 0);
  world.crash(node);
  start();
  world.run_for(5s);
  CHECK(table_bytes() < 1'000'000);
  CHECK(extent(kept).end == Offset(10));
}

TEST_CASE_FIXTURE(Bench, "deleting records moves the start to any offset, for good") {
  const GroupId group = create("records", {});
  append(group, 50, wall_ms());
  const auto delete_before = [&](std::int64_t offset) {
    consensus::Result<Offset> outcome = Offset(-9);
    run([](test::SimBroker* broker, GroupId of, Offset before,
           consensus::Result<Offset>* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(of);
      *out = co_await (*partition)->delete_records(before);
    }(&broker(), group, Offset(offset), &outcome));
    return outcome;
  };
  CHECK(delete_before(31) == Offset(31));
  CHECK(extent(group).start == Offset(31));
  CHECK(delete_before(10) == Offset(31));
  CHECK(delete_before(101).error() == consensus::Errc::offset_out_of_range);
  CHECK(delete_before(-2).error() == consensus::Errc::offset_out_of_range);
  world.crash(node);
  start();
  CHECK(extent(group).start == Offset(31));
  CHECK(delete_before(-1) == Offset(100));
  CHECK(extent(group).bytes == 0);
  REQUIRE(world.stop(node));
  start();
  CHECK(extent(group).start == Offset(100));
  append(group, 1, wall_ms());
  CHECK(extent(group).end == Offset(102));
}

TEST_CASE_FIXTURE(Bench, "the largest timestamp is that of what is left") {
  const GroupId group = create("timestamps", {});
  append(group, 1, 5000);
  append(group, 1, 3000);
  append(group, 1, 4000);
  append(group, 1, 2000);
  run([](test::SimBroker* broker, GroupId of) -> Task<void> {
    auto partition = co_await broker->shard().partition(of);
    const auto before = co_await (*partition)->max_timestamp();
    CHECK((before && before->has_value() && (*before)->offset == Offset(0)));
    const auto start = co_await (*partition)->delete_records(Offset(3));
    CHECK(start == Offset(3));
    const auto after = co_await (*partition)->max_timestamp();
    CHECK((after && after->has_value() && (*after)->offset == Offset(4)));
    CHECK((after && after->has_value() && (*after)->timestamp_ms == 4000));
  }(&broker(), group));
}

TEST_CASE_FIXTURE(Bench, "timestamps too far from the clock are refused") {
  const GroupId group = create("timely", {});
  const std::int64_t now = wall_ms();
  const auto outcome = [&](std::int64_t first, std::int64_t second,
                           consensus::AppendOptions options) {
    consensus::Result<consensus::Appended> appended = std::unexpected(consensus::Errc::closed);
    run([](test::SimBroker* broker, GroupId to, std::pair<std::int64_t, std::int64_t> times,
           consensus::AppendOptions with,
           consensus::Result<consensus::Appended>* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(to);
      RecordBatchBuilder builder(consensus::Codec::lz4);
      builder.add(times.first, std::nullopt, core::as_bytes("v"));
      builder.add(times.second, std::nullopt, core::as_bytes("v"));
      *out = co_await (*partition)->append(builder.finish(), with);
    }(&broker(), group, {first, second}, options, &appended));
    return appended.has_value() ? std::optional<consensus::Errc>() : appended.error();
  };
  consensus::AppendOptions options{.batch_bytes_max = 1 << 20, .produce_version = 9};
  options.ahead_ms_max = 3'600'000;
  options.behind_ms_max = 1000;
  CHECK(outcome(now, now + 3'600'000, options) == std::nullopt);
  CHECK(outcome(now + 3'700'000, now, options) == consensus::Errc::invalid_timestamp);
  CHECK(outcome(now, now - 2000, options) == consensus::Errc::invalid_timestamp);
  CHECK(outcome(now - 500, now, options) == std::nullopt);
  options.log_append_time = true;
  CHECK(outcome(now + 3'700'000, now - 2000, options) == std::nullopt);
}

}  // namespace sentinel
