#include "lsm/compaction_picker.h"

#include <doctest/doctest.h>

#include "lsm/sstable_writer.h"
#include "test/support/memory_ring.h"
#include "test/support/run_task.h"

namespace sentinel::lsm {
namespace {

using test::run_task;

constexpr std::uint64_t kBase = 1000;

/// Levels made of runs that nobody reads: one table file of zeros is all that stands behind them.
struct Levels {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};
  std::unique_ptr<Manifest> manifest;
  std::unique_ptr<VersionSet> versions;
  CompactionPicker picker{kBase};
  std::uint64_t sequence = 0;

  Levels() {
    auto opened = run_task(shard, Manifest::open(shard, {.directory = "db", .store_id = 1}, true));
    REQUIRE(opened.has_value());
    manifest = std::move(*opened);
    REQUIRE(run_task(shard, manifest->start()).has_value());
    versions = std::make_unique<VersionSet>(
        shard, TableFile::Options{.directory = "db", .store_id = 1, .cache = nullptr}, *manifest);
    REQUIRE(run_task(shard, versions->open()).has_value());
  }
  ~Levels() {
    run_task(shard, versions->close());
    run_task(shard, manifest->close());
  }

  /// A table of one entry, whose run is then said to be something else.
  RunId add(std::uint8_t level, std::string smallest, std::string largest,
            std::uint64_t bytes = 100) {
    const FileNumber number = manifest->new_file_number();
    auto made = run_task(shard, write(number, bytes));
    REQUIRE(made.has_value());
    VersionEdit edit;
    edit.tables_added = {made->info};
    RunInfo run = made->runs.front();
    run.level = level;
    run.data_end = run.data_begin + bytes;
    run.smallest_key = std::move(smallest);
    run.largest_key = std::move(largest);
    run.smallest_sequence = run.largest_sequence = SequenceNumber(++sequence);
    edit.runs_added = {run};
    REQUIRE(run_task(shard, versions->apply(std::move(edit))).has_value());
    return run.id;
  }
  core::Task<core::Result<NewTable>> write(FileNumber number, std::uint64_t bytes) {
    auto writer = co_await SSTableWriter::create(
        shard, {.directory = "db", .store_id = 1, .runs = {}}, number);
    if (!writer) co_return std::unexpected(std::move(writer).error());
    const std::string value(bytes, 'v');
    const core::Status added = co_await (*writer)->add(
        core::as_bytes("k"), {.sequence = kFirstSequence}, core::as_bytes(value));
    if (!added) co_return std::unexpected(added.error());
    co_return co_await (*writer)->finish();
  }
  std::optional<CompactionPlan> pick() { return picker.pick(versions->current()); }
  static std::vector<RunId> ids(const CompactionPlan& plan) {
    std::vector<RunId> found;
    for (const Run* run : plan.inputs) found.push_back(run->info->id);
    std::ranges::sort(found);
    return found;
  }
};

}  // namespace

TEST_CASE_FIXTURE(Levels, "nothing is due while level 0 is shallow") {
  CHECK_FALSE(pick().has_value());
  add(kBottomLevel, "a", "z", 100'000);
  for (std::size_t i = 1; i < kLevel0Tables; ++i) add(0, "c", "d");
  CHECK_FALSE(pick().has_value());
}

TEST_CASE_FIXTURE(Levels,
                  "tables that overlap are merged with what they overlap, and nothing else") {
  std::vector<RunId> expected;
  add(kBottomLevel, "a", "b");
  expected.push_back(add(kBottomLevel, "c", "f"));
  add(kBottomLevel, "x", "z");
  for (std::size_t i = 0; i < kLevel0Tables; ++i) expected.push_back(add(0, "d", "g"));
  add(0, "y", "z");
  const auto plan = pick();
  REQUIRE(plan.has_value());
  CHECK(ids(*plan) == expected);
  CHECK(plan->upper_count == kLevel0Tables);
  CHECK(plan->output_level == kBottomLevel);
  CHECK_FALSE(plan->moves);
}

TEST_CASE_FIXTURE(Levels, "a run below that bridges two stretches makes one of them") {
  add(kBottomLevel, "c", "p");
  for (std::size_t i = 0; i < kLevel0Tables / 2; ++i) {
    add(0, "a", "d");
    add(0, "o", "q");
  }
  const auto plan = pick();
  REQUIRE(plan.has_value());
  CHECK(plan->inputs.size() == kLevel0Tables + 1);
}

TEST_CASE_FIXTURE(Levels, "a run that overlaps nothing moves to the bottom") {
  add(kBottomLevel, "a", "b");
  const RunId lone = add(0, "c", "d");
  const auto plan = pick();
  REQUIRE(plan.has_value());
  CHECK(ids(*plan) == std::vector{lone});
  CHECK(plan->moves);
  CHECK(plan->output_level == kBottomLevel);
}

TEST_CASE_FIXTURE(Levels, "newer data never pass older data on a level between") {
  // Sized for one level above the bottom; what is left higher up comes first.
  add(kBottomLevel, "a", "z", 32 * kBase);
  const RunId between = add(kBottomLevel - 2, "m", "n", 100);
  for (std::size_t i = 0; i < kLevel0Tables; ++i) add(0, "m", "m");
  const auto plan = pick();
  REQUIRE(plan.has_value());
  CHECK(plan->output_level == kBottomLevel - 2);
  CHECK(ids(*plan).front() == between);
  CHECK(plan->inputs.size() == kLevel0Tables + 1);
}

TEST_CASE_FIXTURE(Levels, "a level that outgrew its share gives its runs away in turns") {
  add(kBottomLevel, "a", "k", 40 * kBase);
  add(kBottomLevel, "l", "z", 40 * kBase);
  const RunId first = add(kBottomLevel - 1, "b", "c", 6 * kBase);
  const RunId second = add(kBottomLevel - 1, "m", "n", 6 * kBase);
  const auto one = pick();
  REQUIRE(one.has_value());
  CHECK(one->inputs.front()->info->id == first);
  CHECK(one->inputs.size() == 2);
  const auto two = pick();
  REQUIRE(two.has_value());
  CHECK(two->inputs.front()->info->id == second);
}

TEST_CASE_FIXTURE(Levels, "levels that the bottom has become too small for are emptied") {
  add(kBottomLevel, "a", "b", kBase);
  const RunId high = add(1, "a", "a", 10);
  const auto plan = pick();
  REQUIRE(plan.has_value());
  CHECK(ids(*plan) == std::vector{high});
  CHECK(plan->output_level == 2);
  CHECK(plan->moves);
}

TEST_CASE_FIXTURE(Levels, "a flushed run goes to the bottom only if it overlaps nothing") {
  add(kBottomLevel, "c", "d");
  add(0, "g", "h");
  const auto level_for = [&](std::string smallest, std::string largest) {
    RunInfo run;
    run.smallest_key = std::move(smallest);
    run.largest_key = std::move(largest);
    return CompactionPicker::level_for_flush(*versions->current(), run);
  };
  CHECK(level_for("a", "b") == kBottomLevel);
  CHECK(level_for("e", "f") == kBottomLevel);
  CHECK(level_for("d", "e") == 0);
  CHECK(level_for("a", "z") == 0);
  CHECK(level_for("h", "i") == 0);
}

}  // namespace sentinel::lsm
