/// Errors of the system: each operation on the disk of a scripted workload fails once. The store
/// goes on, or refuses to open, or ends its process; nothing acknowledged is lost.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <cerrno>
#include <string>
#include <string_view>
#include <vector>

#include "test/support/budget.h"
#include "test/support/sim_world.h"
#include "test/support/store_workload.h"

namespace sentinel {

using core::OpCode;
using test::Contents;
using test::NodeContext;
using test::NodeId;
using test::Recovered;
using test::Script;
using test::SimWorld;
using test::Writer;
using namespace std::chrono_literals;

namespace {

struct Outcomes {
  std::uint64_t sites = 0;
  std::uint64_t went_on = 0;
  std::uint64_t not_opened = 0;
  std::uint64_t ended = 0;
};

/// What is left holds the first batches, at least those that were answered.
void check_left(const Script& script, const Recovered& recovered, int acked) {
  REQUIRE_MESSAGE(!recovered.error.has_value(), recovered.error.value_or(""));
  bool found = false;
  for (int count = acked; count <= script.batches && !found; ++count) {
    found = recovered.contents == contents_after(script, count);
  }
  REQUIRE_MESSAGE(found, "the store holds something else than a prefix of the batches");
}

/// Runs the script with one error; false when that operation does not come.
bool run_with_error(const Script& script, OpCode code, int nth, int error, Outcomes& outcomes) {
  CAPTURE(core::to_string(code));
  CAPTURE(nth);
  CAPTURE(error);
  int acked = 0;
  SimWorld world(static_cast<std::uint64_t>(script.variant));
  const NodeId node =
      world.add_node({.program =
                          [&](const NodeContext& context) {
                            return std::make_unique<Writer>(context, script, &acked);
                          },
                      .image = test::empty_disk()});
  world.disk(node).fail_next(code, "/store", nth, error);
  world.start(node);
  const auto writer = [&] { return static_cast<Writer*>(world.program(node)); };
  const auto outcome = world.run_until(
      [&] {
        if (world.failure(node).has_value()) return true;
        return writer()->done() || writer()->error().has_value();
      },
      600s);
  REQUIRE(outcome == SimWorld::Outcome::done);
  if (world.disk(node).faults_left() > 0) return false;
  ++outcomes.sites;
  if (world.failure(node).has_value()) {
    ++outcomes.ended;
    CHECK(!world.failure(node)->message.empty());
  } else if (writer()->error().has_value()) {
    ++outcomes.not_opened;
    CHECK(writer()->error()->find("/store") != std::string::npos);
  } else {
    ++outcomes.went_on;
    CHECK(acked == script.batches);
  }
  if (world.is_up(node)) REQUIRE(world.stop(node));
  check_left(script, test::recover(world.disk(node).image(), acked == 0), acked);
  return true;
}

}  // namespace

TEST_CASE("each operation on the disk may fail once, and nothing acknowledged is lost") {
  Outcomes outcomes;
  const auto scripts = static_cast<int>(test::budget(4, 1));
  for (int variant = 0; variant < scripts; ++variant) {
    const Script script{.variant = variant, .batches = 40, .queues = variant % 2 == 1};
    for (const OpCode code :
         {OpCode::open_file, OpCode::read, OpCode::write, OpCode::sync_data, OpCode::sync_all,
          OpCode::allocate, OpCode::rename_file, OpCode::unlink_file, OpCode::list_directory,
          OpCode::stat_path, OpCode::free_space, OpCode::punch_hole}) {
      for (const int error : {EIO, ENOSPC}) {
        for (int nth = 1; run_with_error(script, code, nth, error, outcomes); ++nth) {
        }
      }
    }
  }
  MESSAGE("errors: " << outcomes.sites << ", of them survived: " << outcomes.went_on
                     << ", not opened: " << outcomes.not_opened
                     << ", process ended: " << outcomes.ended);
  CHECK(outcomes.went_on > 0);
  CHECK(outcomes.not_opened > 0);
  CHECK(outcomes.ended > 0);
}

}  // namespace sentinel
