#include "net/flow_budget.h"

#include <doctest/doctest.h>

#include <optional>
#include <string>
#include <vector>

#include "core/scope.h"
#include "test/support/manual_ring.h"

namespace sentinel {

using net::FlowBudget;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

struct Fixture {
  test::ManualRing ring;
  core::Shard shard{0, ring, 1};
  FlowBudget budget{shard, 100};
  std::vector<std::string> log;
  core::TaskScope scope{shard};

  void settle() {
    while (shard.turn(core::Shard::Sleep::never)) {
    }
  }
  void advance(core::Duration by) {
    ring.advance(by);
    settle();
  }
};

/// A client that gives its memory back when it is dropped, as the end of a connection does.
struct Client final : FlowBudget::Peer {
  Client(Fixture& its_world, std::string its_name, std::uint64_t its_units)
      : world(its_world), name(std::move(its_name)), units(its_units) {
    REQUIRE(world.budget.try_acquire(units));
    passage.emplace(world.budget, *this);
  }
  void too_slow() override {
    world.log.push_back(name + " dropped");
    passage.reset();
    world.budget.release(units);
  }

  Fixture& world;
  const std::string name;
  const std::uint64_t units;
  std::optional<FlowBudget::Passage> passage;
};

core::Task<void> take(Fixture* world, std::uint64_t units, core::Deadline deadline = {}) {
  const bool taken = co_await world->budget.acquire(units, deadline, {});
  world->log.push_back(taken ? "taken" : "not taken");
}

using Log = std::vector<std::string>;

}  // namespace

TEST_CASE_FIXTURE(Fixture, "while there is memory for all nobody is dropped") {
  Client slow(*this, "slow", 60);
  advance(seconds(100));
  CHECK(budget.try_acquire(40));
  budget.release(40);
  advance(seconds(100));
  CHECK(log.empty());
}

TEST_CASE_FIXTURE(Fixture, "who waits for memory gets that of clients that don't get on") {
  Client first(*this, "first", 50);
  advance(seconds(1));
  Client second(*this, "second", 50);
  advance(seconds(2));
  scope.spawn(take(this, 10));
  advance(seconds(1));
  CHECK(log.empty());  // After four seconds the first may still be an honest one.
  advance(seconds(1));
  CHECK(log.empty());
  advance(seconds(1));
  CHECK(log == Log{"first dropped", "taken"});
  advance(seconds(100));
  CHECK(log.size() == 2);
}

TEST_CASE_FIXTURE(Fixture, "a message that is through is nobody's fault") {
  Client quick(*this, "quick", 100);
  scope.spawn(take(this, 100));
  advance(seconds(4));
  quick.passage.reset();  // Received, and now being served.
  advance(seconds(60));
  CHECK(log.empty());
  budget.release(100);
  settle();
  CHECK(log == Log{"taken"});
}

TEST_CASE_FIXTURE(Fixture, "waiting for memory ends with its deadline") {
  Client busy(*this, "busy", 100);
  scope.spawn(take(this, 1, shard.deadline_in(milliseconds(1500))));
  advance(milliseconds(1500));
  CHECK(log == Log{"not taken"});
  busy.passage.reset();
}

}  // namespace sentinel
