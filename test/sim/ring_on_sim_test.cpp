#include <doctest/doctest.h>

#include <algorithm>
#include <memory>

#include "test/support/ring_conformance.h"
#include "test/support/sim_disk.h"
#include "test/support/sim_network.h"
#include "test/support/sim_ring.h"
#include "test/support/sim_schedule.h"

namespace sentinel {

namespace {

/// One node without a world: the script brings its own shards.
struct Fixture {
  explicit Fixture(std::uint64_t seed)
      : schedule(seed), network(schedule), disk({}, schedule.stream("disk")) {
    host.disk = &disk;
    network.add_host(host);
    disk.image().make_directories("/data");
  }

  void drive(std::span<core::Shard* const> shards, const std::function<bool()>& done) {
    while (!done()) {
      bool worked = false;
      for (core::Shard* shard : shards) worked |= shard->turn(core::Shard::Sleep::never);
      if (worked || schedule.deliver_due()) continue;
      core::TimePoint next = schedule.next_event();
      for (core::Shard* shard : shards) next = std::min(next, shard->timers().next());
      REQUIRE(next != core::TimePoint::max());
      schedule.advance_to(next);
    }
  }

  test::SimSchedule schedule;
  test::SimNetwork network;
  test::SimDisk disk;
  test::SimHost host;
};

}  // namespace

TEST_CASE("the simulated ring answers the conformance script") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Fixture fixture(seed);
    // The script counts on whole transfers of a few bytes, as it gets them from a kernel.
    fixture.network.options.short_send_probability = 0;
    fixture.network.options.small_segment_probability = 0;
    std::uint32_t rings = 0;
    const test::RingFactory factory{
        .name = "sim",
        .directory = "/data",
        .make =
            [&] {
              return std::make_unique<test::SimRing>(fixture.schedule, fixture.network,
                                                     fixture.host, rings++);
            },
        .drive = [&](std::span<core::Shard* const> shards,
                     const std::function<bool()>& done) { fixture.drive(shards, done); }};
    test::check_ring_conformance(factory);
    CHECK(fixture.network.open_connections() == 0);
  }
}

}  // namespace sentinel
