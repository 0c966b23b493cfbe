/// Crashes of the storage engine: a scripted workload is stopped at every write point, every disk
/// that a power cut may leave there is built, up to a bound, and the store is recovered from each.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <deque>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lsm/db.h"
#include "test/support/budget.h"
#include "test/support/sim_world.h"

namespace sentinel {

using core::Bytes;
using core::Shard;
using core::Task;
using test::CrashStates;
using test::DiskImage;
using test::NodeContext;
using test::NodeId;
using test::NodeProgram;
using test::SimWorld;
using namespace std::chrono_literals;

namespace {

/// Small files, so that a short script rolls segments, recycles them, flushes, and replaces the
/// manifest.
lsm::DbOptions small_options() {
  lsm::DbOptions options;
  options.directory = "/store";
  options.store_id = 7;
  options.memtable_bytes = 24 << 10;
  options.wal.segment_bytes = 64 << 10;
  options.wal.first_segment_bytes = 16 << 10;
  options.wal.buffer_bytes = 16 << 10;
  return options;
}

/// One of several workloads: which sizes meet which batch, and how many run at a time.
struct Script {
  int variant = 0;

  [[nodiscard]] int together(int batch) const { return 1 + (batch + variant) % (2 + variant % 4); }
  [[nodiscard]] bool flushes_before(int batch) const { return (batch + 3 * variant) % 23 == 20; }
};

std::string value_of(const Script& script, int batch, int entry) {
  // From empty to larger than a block of the log, and now and then larger than its buffer.
  static constexpr int kSizes[] = {0, 30, 700, 5000, 1, 2000, 20'000};
  const int which = batch + entry + script.variant * (1 + batch / 7);
  const auto size =
      static_cast<std::size_t>(kSizes[static_cast<std::size_t>(which) % std::size(kSizes)]);
  return fmt::format("{}-{}:", batch, entry) +
         std::string(size, static_cast<char>('a' + batch % 26));
}

constexpr int kBatches = 40;

/// Keys of batch b: one of its own, and one that every fourth batch overwrites or deletes.
lsm::WriteBatch make_batch(const Script& script, int batch) {
  lsm::WriteBatch out;
  out.put(core::as_bytes(fmt::format("own-{:04}", batch)), Bytes::copy(value_of(script, batch, 0)));
  const std::string shared = fmt::format("shared-{}", batch % 4);
  if (batch % 5 == 4) {
    out.remove(core::as_bytes(shared));
  } else {
    out.put(core::as_bytes(shared), Bytes::copy(value_of(script, batch, 1)));
  }
  return out;
}

using Contents = std::map<std::string, std::string>;

/// What the store holds after the first `count` batches.
Contents contents_after(const Script& script, int count) {
  Contents contents;
  for (int batch = 0; batch < count; ++batch) {
    contents[fmt::format("own-{:04}", batch)] = value_of(script, batch, 0);
    const std::string shared = fmt::format("shared-{}", batch % 4);
    if (batch % 5 == 4) {
      contents.erase(shared);
    } else {
      contents[shared] = value_of(script, batch, 1);
    }
  }
  return contents;
}

Task<void> write_one(lsm::Db* db, Script script, int batch, int* acked) {
  co_await db->write(make_batch(script, batch));
  // Answered in order, so a count says which.
  ++*acked;
}

/// Writes the script: some batches one after the other, some at the same time, with a flush on the
/// way.
class Writer final : public NodeProgram {
 public:
  Writer(const NodeContext& context, Script script, int* acked)
      : script_(script), scope_(*context.shards.front()), acked_(acked) {}

  Task<void> run(Shard& shard) override {
    auto opened = co_await lsm::Db::open(shard, small_options(), true);
    SENTINEL_ASSERT(opened.has_value(), "{}", opened.error().message);
    db_ = std::move(*opened);
    for (int batch = 0; batch < kBatches;) {
      if (script_.flushes_before(batch)) co_await db_->flush();
      const int together = script_.together(batch);
      for (int i = 0; i < together && batch < kBatches; ++i, ++batch) {
        scope_.spawn(write_one(db_.get(), script_, batch, acked_));
      }
      co_await scope_.join();
    }
    done_ = true;
    co_await db_->close();
  }
  void request_stop() override {}
  [[nodiscard]] bool done() const { return done_; }

 private:
  const Script script_;
  std::unique_ptr<lsm::Db> db_;
  core::TaskScope scope_;
  int* acked_;
  bool done_ = false;
};

/// Opens the store, reads all of it, and closes it.
class Recovery final : public NodeProgram {
 public:
  explicit Recovery(bool create) : create_(create) {}

  Task<void> run(Shard& shard) override {
    auto opened = co_await lsm::Db::open(shard, small_options(), create_);
    if (!opened) {
      error_ = opened.error().message;
      co_return;
    }
    std::unique_ptr<lsm::Db> db = std::move(*opened);
    {
      lsm::Cursor cursor = db->cursor();
      const Bytes nothing;
      core::Status status = co_await cursor.seek(lsm::KeyTarget(nothing));
      while (status && cursor.valid()) {
        contents_[std::string(core::as_text(cursor.key()))] = core::as_text(cursor.value());
        status = co_await cursor.next();
      }
      if (!status) error_ = status.error().message;
    }
    co_await db->close();
  }
  void request_stop() override {}

  [[nodiscard]] const std::optional<std::string>& error() const { return error_; }
  [[nodiscard]] const Contents& contents() const { return contents_; }

 private:
  const bool create_;
  std::optional<std::string> error_;
  Contents contents_;
};

struct Recovered {
  std::optional<std::string> error;
  Contents contents;
  DiskImage disk;
};

Recovered recover(const DiskImage& image, bool create) {
  SimWorld world(1);
  const NodeId node = world.add_node(
      {.program = [create](const NodeContext&) { return std::make_unique<Recovery>(create); },
       .image = image});
  world.start(node);
  world.run_until([&] { return world.is_idle(node); }, 60s);
  const auto& program = static_cast<const Recovery&>(*world.program(node));
  Recovered recovered{program.error(), program.contents(), {}};
  if (world.failure(node).has_value()) recovered.error = world.failure(node)->message;
  REQUIRE(world.stop(node));
  recovered.disk = world.disk(node).image();
  return recovered;
}

struct CrashCase {
  DiskImage image;
  int acked = 0;
  std::uint64_t point = 0;
};

/// How many batches the recovered store shows; they must be the first ones, whole.
std::optional<int> batches_in(const Script& script, const Contents& contents) {
  int count = 0;
  while (contents.contains(fmt::format("own-{:04}", count))) ++count;
  return contents == contents_after(script, count) ? std::optional(count) : std::nullopt;
}

struct Tally {
  std::uint64_t points = 0;
  std::uint64_t states = 0;
  std::set<std::uint64_t> disks;
};

/// Recovers every state behind one write point, each twice.
void check_states(const Script& script, const CrashCase& at, Tally& tally,
                  std::uint64_t states_max) {
  CrashStates states(at.image, {.subset_units_max = 6, .torn_sectors_max = 64});
  DiskImage after;
  while (tally.states < states_max && states.next(after)) {
    if (!tally.disks.insert(after.hash()).second) continue;
    ++tally.states;
    CAPTURE(script.variant);
    CAPTURE(at.point);
    CAPTURE(tally.states);
    // Before the first start has got as far as a manifest there is no store yet, and nothing
    // acknowledged.
    const Recovered first = recover(after, at.acked == 0);
    REQUIRE_MESSAGE(!first.error.has_value(), first.error.value_or(""));
    const std::optional<int> found = batches_in(script, first.contents);
    REQUIRE_MESSAGE(found.has_value(),
                    "the store holds something else than a prefix of the batches");
    REQUIRE(*found >= at.acked);
    if (tally.states % 8 == 0) {
      const Recovered second = recover(first.disk, false);
      REQUIRE_MESSAGE(!second.error.has_value(), second.error.value_or(""));
      REQUIRE(second.contents == first.contents);
    }
  }
}

/// Runs the script once, and recovers from what a power cut may leave at each of its write points.
void enumerate_crashes(const Script& script, Tally& tally, std::uint64_t states_max) {
  DiskImage fresh;
  fresh.make_directories("/store");
  int acked = 0;
  SimWorld world(static_cast<std::uint64_t>(script.variant));
  const NodeId node =
      world.add_node({.program =
                          [&](const NodeContext& context) {
                            return std::make_unique<Writer>(context, script, &acked);
                          },
                      .image = fresh});
  std::deque<CrashCase> cases;
  world.disk(node).set_observer(
      [&](const DiskImage& image, std::uint64_t point) { cases.push_back({image, acked, point}); });
  world.start(node);
  world.run_until([&] { return static_cast<Writer&>(*world.program(node)).done(); }, 600s);
  REQUIRE(acked == kBatches);
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
  const std::uint64_t states_wanted = test::budget(60'000, 2'000);
  constexpr std::uint64_t kStatesPerScript = 5'000;
  Tally tally;
  for (int variant = 0; tally.states < states_wanted; ++variant) {
    enumerate_crashes(Script{variant}, tally, kStatesPerScript);
  }
  MESSAGE("write points: " << tally.points << ", crash states: " << tally.states);
}

}  // namespace sentinel
