/// What a leader says of a batch that lacks the ones before it, on a broker shard with its stores,
/// its clocks and its disk.

#include <doctest/doctest.h>

#include "test/support/broker_bench.h"

namespace sentinel {
namespace {

using consensus::Errc;
using core::Task;
using test::SimBroker;
using namespace std::chrono_literals;

using Outcome = consensus::Result<consensus::Appended>;

struct Bench : test::BrokerBench {
  consensus::GroupId group = create("events", {});

  Outcome send(std::int32_t sequence, std::int64_t producer = 5) {
    Outcome outcome = std::unexpected(Errc::closed);
    consensus::RecordBatchBuilder builder(consensus::Codec::none);
    builder.set_producer({.id = producer, .epoch = 0}, sequence);
    builder.add(wall_ms(), std::nullopt, core::as_bytes(std::string_view("value")));
    run([](SimBroker* broker, consensus::GroupId to, core::Bytes batch,
           Outcome* out) -> Task<void> {
      auto partition = co_await broker->shard().partition(to);
      *out = co_await (*partition)->append(std::move(batch), {.batch_bytes_max = 1 << 20});
    }(&broker(), group, builder.finish(), &outcome));
    return outcome;
  }
  /// A disk that has no room for records, or has again.
  void set_full(bool full) {
    world.disk(node).options.capacity_bytes =
        full ? std::uint64_t{1} << 20 : std::uint64_t{1} << 30;
    world.run_for(5s);
  }
};

}  // namespace

TEST_CASE_FIXTURE(Bench, "what follows a batch that was refused waits for it, for a while") {
  constexpr std::int64_t kOther = 6;
  CHECK(send(0).has_value());
  CHECK(send(2).error() == Errc::out_of_order_sequence);
  set_full(true);
  CHECK(send(1).error() == Errc::disk_full);
  CHECK(send(0, kOther).error() == Errc::disk_full);
  set_full(false);
  CHECK(send(2).error() == Errc::not_leader);
  CHECK(send(1).has_value());
  CHECK(send(2).has_value());
  // Taken for the first of its producer, it would make a client believe that the one before is
  // there, too.
  CHECK(send(1, kOther).error() == Errc::not_leader);
  CHECK(send(0, kOther).has_value());
  CHECK(send(1, kOther).has_value());
}

TEST_CASE_FIXTURE(Bench, "a batch whose predecessor does not come is refused in the end") {
  constexpr std::int64_t kForgotten = 7;
  constexpr std::int64_t kUntouched = 8;
  CHECK(send(0).has_value());
  set_full(true);
  CHECK(send(1).error() == Errc::disk_full);
  CHECK(send(70, kForgotten).error() == Errc::disk_full);
  set_full(false);
  CHECK(send(2).error() == Errc::not_leader);
  CHECK(send(71, kForgotten).error() == Errc::not_leader);
  CHECK(send(71, kUntouched).has_value());
  // Long enough for the first refusals; the ones behind were a little later.
  world.run_for(consensus::kSequencePatience - 2s);
  CHECK(send(2).error() == Errc::out_of_order_sequence);
  CHECK(send(72, kForgotten).error() == Errc::not_leader);
  CHECK(send(71, kForgotten).has_value());
  CHECK(send(72, kForgotten).has_value());
}

}  // namespace sentinel
