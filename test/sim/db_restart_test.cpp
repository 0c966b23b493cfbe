/// A store that is started again and again: nothing is lost, and nothing piles up.

#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "test/support/sim_world.h"
#include "test/support/store_workload.h"

namespace sentinel {

using test::DiskImage;
using test::NodeContext;
using test::NodeId;
using test::Script;
using test::SimWorld;
using test::Writer;
using namespace std::chrono_literals;

namespace {

std::size_t count_files(const DiskImage& disk, std::string_view kind) {
  const auto names = disk.listing();
  return static_cast<std::size_t>(std::ranges::count_if(
      names, [kind](const std::string& name) { return name.find(kind) != std::string::npos; }));
}

/// One life that writes the script on what earlier lives left.
DiskImage live(const DiskImage& before, const Script& script, std::uint64_t seed) {
  SimWorld world(seed);
  int acked = 0;
  const NodeId node =
      world.add_node({.program =
                          [&](const NodeContext& context) {
                            return std::make_unique<Writer>(context, script, &acked);
                          },
                      .image = before});
  world.start(node);
  world.run_until([&] { return static_cast<Writer&>(*world.program(node)).done(); }, 600s);
  REQUIRE(acked == script.batches);
  REQUIRE(world.stop(node));
  return world.disk(node).image();
}

}  // namespace

TEST_CASE("starting a store again and again without writing keeps no more files") {
  const Script script{.variant = 1, .batches = 30};
  DiskImage disk = live(test::empty_disk(), script, 1);
  std::size_t logs_after_three = 0;
  for (int i = 0; i < 20; ++i) {
    CAPTURE(i);
    test::Recovered recovered = test::recover(disk, false);
    REQUIRE(!recovered.error.has_value());
    CHECK(recovered.contents == test::contents_after(script, script.batches));
    disk = std::move(recovered.disk);
    if (i == 2) logs_after_three = count_files(disk, "/wal-");
    if (i > 2) CHECK(count_files(disk, "/wal-") <= logs_after_three);
  }
}

TEST_CASE("lives that write a little each are flushed before their logs pile up") {
  const Script script{.variant = 0, .batches = 1};
  DiskImage disk = test::empty_disk();
  std::size_t most = 0;
  for (std::uint64_t i = 0; i < 40; ++i) {
    disk = live(disk, script, i);
    most = std::max(most, count_files(disk, "/wal-"));
  }
  // Those that wait for a flush, the active one, those made ready and those kept for later.
  CHECK(most <= 16);
  CHECK(count_files(disk, "/table-") >= 1);
  CHECK(test::recover(disk, false).contents == test::contents_after(script, 1));
}

}  // namespace sentinel
