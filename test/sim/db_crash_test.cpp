/// Crashes of the storage engine: a scripted workload is stopped at every write point, every disk
/// that a power cut may leave there is built, up to a bound, and the store is recovered from each.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "test/support/budget.h"
#include "test/support/sim_world.h"
#include "test/support/store_workload.h"

namespace sentinel {

using test::Contents;
using test::CrashStates;
using test::DiskImage;
using test::NodeContext;
using test::NodeId;
using test::Recovered;
using test::Script;
using test::SimWorld;
using test::Writer;
using namespace std::chrono_literals;

namespace {

struct CrashCase {
  DiskImage image;
  int acked = 0;
  std::uint64_t point = 0;
};

/// How many batches the recovered store shows; they must be the first ones, whole.
std::optional<int> batches_in(const Script& script, const Contents& contents) {
  int count = 0;
  // Discarded ones may be there or not: then the first one that counts says it.
  if (script.discards && contents.contains(fmt::format("own-{:04}", test::kDiscardedBatches)))
    count = test::kDiscardedBatches;
  while (contents.contains(fmt::format("own-{:04}", count))) ++count;
  const Contents expected = without_discarded(script, contents_after(script, count));
  return without_discarded(script, contents) == expected ? std::optional(count) : std::nullopt;
}

struct Tally {
  std::uint64_t points = 0;
  std::uint64_t states = 0;
  std::uint64_t compacted_bytes = 0;
  std::uint64_t runs_dropped = 0;
  std::map<std::uint64_t, int> disks;  // What each held: batches.
};

/// Recovers every state behind one write point, each twice.
void check_states(const Script& script, const CrashCase& at, Tally& tally,
                  std::uint64_t states_max) {
  CrashStates states(at.image, {.subset_units_max = 6, .torn_sectors_max = 64});
  DiskImage after;
  while (tally.states < states_max && states.next(after)) {
    CAPTURE(script.variant);
    CAPTURE(at.point);
    CAPTURE(tally.states);
    const auto [known, is_new] = tally.disks.emplace(after.hash(), 0);
    if (!is_new) {
      // Seen before, when less had been acknowledged.
      REQUIRE(known->second >= at.acked);
      continue;
    }
    ++tally.states;
    // Before the first start has got as far as a manifest there is no store yet, and nothing
    // acknowledged.
    const Recovered first = recover(after, at.acked == 0);
    REQUIRE_MESSAGE(!first.error.has_value(), first.error.value_or(""));
    const std::optional<int> found = batches_in(script, first.contents);
    REQUIRE_MESSAGE(found.has_value(),
                    "the store holds something else than a prefix of the batches");
    REQUIRE(*found >= at.acked);
    known->second = *found;
    if (tally.states % 8 == 0) {
      const Recovered second = recover(first.disk, false);
      REQUIRE_MESSAGE(!second.error.has_value(), second.error.value_or(""));
      REQUIRE(without_discarded(script, second.contents) ==
              without_discarded(script, first.contents));
    }
  }
}

/// Runs the script once, and recovers from what a power cut may leave at each of its write points.
void enumerate_crashes(const Script& script, Tally& tally, std::uint64_t states_max) {
  int acked = 0;
  SimWorld world(static_cast<std::uint64_t>(script.variant));
  const NodeId node =
      world.add_node({.program =
                          [&](const NodeContext& context) {
                            return std::make_unique<Writer>(context, script, &acked);
                          },
                      .image = test::empty_disk()});
  std::deque<CrashCase> cases;
  world.disk(node).set_observer(
      [&](const DiskImage& image, std::uint64_t point) { cases.push_back({image, acked, point}); });
  world.start(node);
  world.run_until([&] { return static_cast<Writer&>(*world.program(node)).done(); }, 600s);
  REQUIRE(acked == script.batches);
  const lsm::DbCounters& done = static_cast<Writer&>(*world.program(node)).counters();
  tally.compacted_bytes += done.compacted_bytes;
  tally.runs_dropped += done.runs_dropped;
  world.disk(node).set_observer({});
  REQUIRE(world.stop(node));
  // Every point gets its share of the states, so that a bound does not leave out the end of the
  // script.
  const std::uint64_t end = tally.states + states_max;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    const std::uint64_t share = (end - tally.states) / (cases.size() - i);
    check_states(script, cases[i], tally, tally.states + std::max<std::uint64_t>(share, 1));
    ++tally.points;
  }
}

}  // namespace

TEST_CASE(
    "after a power cut at any write point nothing acknowledged is lost, and recovering twice "
    "changes nothing") {
  const std::uint64_t states_wanted = test::budget(200'000, 2'000);
  constexpr std::uint64_t kStatesPerScript = 5'000;
  Tally tally;
  for (int variant = 0; tally.states < states_wanted; ++variant) {
    const Script script{
        .variant = variant, .discards = variant % 2 == 0, .queues = variant % 4 >= 2};
    enumerate_crashes(script, tally, kStatesPerScript);
  }
  MESSAGE("write points: " << tally.points << ", crash states: " << tally.states
                           << ", compacted bytes: " << tally.compacted_bytes
                           << ", runs dropped: " << tally.runs_dropped);
  CHECK(tally.compacted_bytes > 0);
  CHECK(tally.runs_dropped > 0);
}

}  // namespace sentinel
