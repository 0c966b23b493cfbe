#include "net/kafka/memory_plan.h"

#include <doctest/doctest.h>

#include "core/random.h"

namespace sentinel::net::kafka {
namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;

std::uint64_t total(const MemoryPlan& plan, std::uint64_t shards, std::uint64_t stores) {
  return shards * (plan.cache + plan.read_ahead + plan.requests + plan.responses) +
         stores * 4 * plan.memtable;
}

}  // namespace

TEST_CASE("the parts of a memory plan stay below its ceiling") {
  core::Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const auto shards = static_cast<std::uint32_t>(random.between(1, 64));
    const auto stores = static_cast<std::uint32_t>(random.between(1, 64));
    const std::uint64_t ceiling = random.between(1, std::uint64_t{64} << 30);
    const auto plan = plan_memory(ceiling, shards, stores);
    if (!plan) {
      CHECK(plan.error().code == core::Errc::out_of_memory);
      continue;
    }
    CHECK(total(*plan, shards, stores) < ceiling);
    CHECK(plan->memtable >= kMiB);
    CHECK(plan->memtable <= 32 * kMiB);
    CHECK(plan->read_ahead >= 4 * kMiB);
    CHECK(plan->requests >= 17 * kMiB);
    CHECK(plan->responses >= 17 * kMiB);
    CHECK(plan->connections >= 256);
    CHECK(plan->connections <= 10'000);
  }
}

TEST_CASE("more memory is never less of anything") {
  MemoryPlan before;
  for (std::uint64_t ceiling = 200; ceiling < 100'000; ceiling += 7) {
    const auto plan = plan_memory(ceiling * kMiB, 2, 2);
    REQUIRE(plan.has_value());
    CHECK(plan->cache >= before.cache);
    CHECK(plan->read_ahead >= before.read_ahead);
    CHECK(plan->memtable >= before.memtable);
    CHECK(plan->requests >= before.requests);
    CHECK(plan->responses >= before.responses);
    CHECK(plan->connections >= before.connections);
    before = *plan;
  }
  CHECK(before.memtable == 32 * kMiB);
}

TEST_CASE("a ceiling that is too low is refused with what it takes") {
  const auto plan = plan_memory(64 * kMiB, 2, 2);
  REQUIRE(!plan.has_value());
  CHECK(plan.error().message ==
        "--memory 64MiB is too little for 2 shards and 2 stores; it takes 166MiB, or fewer "
        "--shards");
  CHECK(plan_memory(166 * kMiB, 2, 2).has_value());
  CHECK(!plan_memory(165 * kMiB, 2, 2).has_value());
}

}  // namespace sentinel::net::kafka
