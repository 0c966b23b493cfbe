/// The storage engine against a map: random writes, deletions, discards, flushes and compactions,
/// with restarts and power cuts in between. Afterwards the offline check finds nothing wrong.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <array>
#include <deque>
#include <map>
#include <optional>
#include <string>

#include "lsm/db.h"
#include "lsm/store_check.h"
#include "test/support/budget.h"
#include "test/support/sim_world.h"

namespace sentinel {
namespace {

using core::as_bytes;
using core::as_text;
using core::Bytes;
using core::Shard;
using core::Task;
using test::NodeContext;
using test::NodeId;
using test::SimWorld;
using namespace std::chrono_literals;

constexpr std::size_t kLogs = 5;
constexpr std::uint64_t kStore = 7;

using Entries = std::map<std::string, std::string>;
/// What one batch does.
using Change = std::map<std::string, std::optional<std::string>>;

void apply_change(const Change& change, Entries& entries) {
  for (const auto& [key, value] : change) {
    if (value.has_value()) {
      entries[key] = *value;
    } else {
      entries.erase(key);
    }
  }
}

/// What the store should hold. It outlives the lives of the node.
struct Model {
  Entries entries;
  Entries durable;                           // Without what is not on disk for certain.
  std::array<std::uint64_t, kLogs> next{};   // The next index of each log.
  std::array<std::uint64_t, kLogs> floor{};  // What is below was discarded.
  /// Batches that were only queued, and the one on its way: after a crash the first few of them are
  /// there, each as a whole.
  std::deque<Change> tail;

  void all_durable() {
    durable = entries;
    tail.clear();
  }
  void discard(const std::string& begin, const std::string& end) {
    for (Entries* each : {&entries, &durable})
      each->erase(each->lower_bound(begin), each->lower_bound(end));
    for (Change& change : tail) change.erase(change.lower_bound(begin), change.lower_bound(end));
  }
};

struct Totals {
  std::uint64_t operations = 0;
  std::uint64_t crashes = 0;
  lsm::DbCounters counters;
  std::uint64_t deepest_levels = 0;
};

std::string log_key(std::size_t log, std::uint64_t index) {
  return fmt::format("log{:05}-{:08}", log, index);
}

// For a cursor that reads ahead in each of its runs.
constexpr lsm::ReadAheadOptions kReadAhead{
    .bytes_max = std::size_t{16} << 20, .window_bytes = 100'000, .idle = std::chrono::seconds(1)};

lsm::DbOptions options_of(std::uint64_t seed) {
  core::Random random(seed);
  lsm::DbOptions options;
  options.directory = "/store";
  options.store_id = kStore;
  options.memtable_bytes = random.chance(0.5) ? 24 << 10 : 200 << 10;
  options.runs.group_bytes = random.chance(0.8) ? 8 : 0;
  if (random.chance(0.5)) options.runs.own_bytes = 4 << 10;
  if (random.chance(0.7)) options.runs.filters_from = random.chance(0.5) ? "" : "state";
  if (random.chance(0.5)) options.runs.run_bytes = 64 << 10;
  options.base_level_bytes = random.chance(0.5) ? 30 << 10 : 300 << 10;
  options.wal.segment_bytes = 256 << 10;
  options.wal.first_segment_bytes = 16 << 10;
  options.wal.buffer_bytes = 64 << 10;
  return options;
}

class Life final : public test::NodeProgram {
 public:
  Life(std::uint64_t seed, core::Random random, Model& model, Totals& totals)
      : options_(options_of(seed)), random_(random), model_(model), totals_(totals) {}

  Task<void> run(Shard& shard) override {
    ahead_ = std::make_unique<lsm::ReadAhead>(shard, kReadAhead);
    if (random_.chance(0.5)) options_.read_ahead = ahead_.get();
    auto opened = co_await lsm::Db::open(shard, options_, true);
    SENTINEL_ASSERT(opened.has_value(), "{}", opened.error().message);
    db_ = std::move(*opened);
    for (std::size_t log = 0; log < kLogs; ++log) discard(log);
    co_await check_after_start();
    while (!stopping_) co_await operate();
    co_await db_->until_compacted();
    co_await check_all();
    note_counters();
    co_await db_->close();
    co_await ahead_->close();
    model_.all_durable();
  }
  void request_stop() override { stopping_ = true; }

 private:
  Task<void> operate() {
    ++totals_.operations;
    const std::uint64_t what = random_.below(100);
    if (what < 55) {
      co_await append();
    } else if (what < 80) {
      co_await overwrite();
    } else if (what < 90) {
      co_await check_get();
    } else if (what < 94) {
      co_await check_scan();
    } else if (what < 97) {
      co_await retain();
    } else if (what < 98) {
      co_await sync();
    } else if (what < 99) {
      co_await db_->flush();
      model_.all_durable();
    } else {
      co_await db_->until_compacted();
    }
  }

  [[nodiscard]] std::string value() {
    static constexpr std::array kSizes{0, 10, 300, 3000, 30'000};
    const auto size = static_cast<std::size_t>(kSizes[random_.below(kSizes.size())]);
    return std::string(size, static_cast<char>('a' + random_.below(26))) +
           std::to_string(random_.below(1000));
  }

  Task<void> write(Change change) {
    lsm::WriteBatch batch;
    for (const auto& [key, value] : change) {
      if (value.has_value()) {
        batch.put(as_bytes(key), Bytes::copy(*value));
      } else {
        batch.remove(as_bytes(key));
      }
    }
    model_.tail.push_back(change);
    if (random_.chance(0.7)) {
      if (!random_.chance(0.5) || !db_->try_write(batch))
        co_await db_->write(std::move(batch), lsm::Durability::queued);
      apply_change(change, model_.entries);
    } else {
      co_await db_->write(std::move(batch));
      apply_change(change, model_.entries);
      model_.all_durable();
    }
  }

  Task<void> sync() {
    co_await db_->sync();
    model_.all_durable();
  }

  Task<void> append() {
    Change change;
    for (std::uint64_t i = random_.between(1, 3); i > 0; --i) {
      // The first log gets most of it, the last ones little.
      const std::size_t log = std::min(random_.below(kLogs), random_.below(kLogs));
      change[log_key(log, model_.next[log]++)] = value();
    }
    co_await write(std::move(change));
  }

  Task<void> overwrite() {
    Change change;
    for (std::uint64_t i = random_.between(1, 4); i > 0; --i) {
      const std::string key = fmt::format("state{:04}", random_.below(150));
      if (random_.chance(0.4)) {
        change[key] = std::nullopt;
      } else {
        change[key] = value().substr(0, 3000);
      }
    }
    co_await write(std::move(change));
  }

  Task<void> retain() {
    const std::size_t log = random_.below(kLogs);
    const std::uint64_t live = model_.next[log] - model_.floor[log];
    model_.floor[log] += random_.below(live + 1);
    discard(log);
    co_return;
  }

  void discard(std::size_t log) {
    const std::string begin = log_key(log, 0);
    const std::string end = log_key(log, model_.floor[log]);
    db_->discard(Bytes::copy(begin), Bytes::copy(end));
    model_.discard(begin, end);
  }

  Task<void> check_get() {
    std::string key = fmt::format("state{:04}", random_.below(150));
    if (random_.chance(0.5)) {
      const std::size_t log = random_.below(kLogs);
      key = log_key(log, model_.floor[log] + random_.below(60));
    }
    const auto found = co_await db_->get(Bytes::copy(key));
    REQUIRE_MESSAGE(found.has_value(), found.error().message);
    const auto expected = model_.entries.find(key);
    REQUIRE(found->has_value() == (expected != model_.entries.end()));
    if (found->has_value()) REQUIRE((*found)->text() == expected->second);
  }

  Task<void> check_scan() {
    const std::size_t log = random_.below(kLogs + 1);
    if (log == kLogs) {
      co_await check_range("state", "statf");
    } else {
      const std::uint64_t live = model_.next[log] - model_.floor[log];
      const std::uint64_t from = model_.floor[log] + random_.below(live + 1);
      co_await check_range(log_key(log, from), log_key(log + 1, 0));
    }
  }

  Task<void> check_all() {
    for (std::size_t log = 0; log < kLogs; ++log) {
      co_await check_range(log_key(log, model_.floor[log]), log_key(log + 1, 0));
    }
    co_await check_range("state", "statf");
  }

  [[nodiscard]] lsm::ReadOptions read_options() {
    if (random_.chance(0.3)) return {};
    return {.read_ahead_bytes = 100'000,
            .wanted_bytes = random_.chance(0.5) ? 150'000 : UINT64_MAX,
            .keep_ahead = random_.chance(0.7)};
  }

  Task<void> check_range(std::string begin, std::string end) {
    CAPTURE(begin);
    if (random_.chance(0.3)) {
      const lsm::KeyTarget first(as_bytes(begin));
      co_await db_->look_ahead(first, Bytes::copy(begin), Bytes::copy(end), 200'000);
    }
    lsm::Cursor cursor = db_->cursor(Bytes::copy(begin), Bytes::copy(end), read_options());
    auto expected = model_.entries.lower_bound(begin);
    core::Status status = co_await cursor.seek(lsm::KeyTarget(as_bytes(begin)));
    for (; status && cursor.valid(); ++expected) {
      REQUIRE((expected != model_.entries.end() && as_text(cursor.key()) == expected->first));
      REQUIRE(as_text(cursor.value()) == expected->second);
      status = co_await cursor.next();
    }
    REQUIRE(status.has_value());
    REQUIRE((expected == model_.entries.end() || expected->first >= end));
  }

  /// What was not on disk for certain when the power went is there up to some batch.
  Task<void> check_after_start() {
    const Entries found = co_await read_all();
    Entries expected = model_.durable;
    for (const Change& change : model_.tail) {
      if (expected == found) break;
      apply_change(change, expected);
    }
    REQUIRE(expected == found);
    model_.entries = std::move(expected);
    model_.all_durable();
    co_await check_all();
  }

  /// Without what was discarded: that may be there or not.
  Task<Entries> read_all() {
    Entries found;
    lsm::Cursor cursor = db_->cursor();
    const Bytes nothing;
    core::Status status = co_await cursor.seek(lsm::KeyTarget(nothing));
    while (status && cursor.valid()) {
      found.emplace(as_text(cursor.key()), as_text(cursor.value()));
      status = co_await cursor.next();
    }
    REQUIRE(status.has_value());
    for (std::size_t log = 0; log < kLogs; ++log) {
      found.erase(found.lower_bound(log_key(log, 0)),
                  found.lower_bound(log_key(log, model_.floor[log])));
    }
    co_return found;
  }

  void note_counters() {
    const lsm::DbCounters counters = db_->counters();
    totals_.counters.compacted_bytes += counters.compacted_bytes;
    totals_.counters.flushed_bytes += counters.flushed_bytes;
    totals_.counters.runs_moved += counters.runs_moved;
    totals_.counters.runs_dropped += counters.runs_dropped;
    std::uint64_t levels = 0;
    for (std::uint8_t level = 0; level < lsm::kLevels; ++level) {
      levels += db_->version()->level(level).empty() ? 0 : 1;
    }
    totals_.deepest_levels = std::max(totals_.deepest_levels, levels);
  }

  lsm::DbOptions options_;
  core::Random random_;
  Model& model_;
  Totals& totals_;
  std::unique_ptr<lsm::ReadAhead> ahead_;
  std::unique_ptr<lsm::Db> db_;
  bool stopping_ = false;
};

Task<void> check_offline(Shard& shard, std::vector<std::string>* problems, bool* done) {
  lsm::StoreCheckOptions options;
  options.directory = "/store";
  options.store_id = kStore;
  lsm::StoreCheck found = co_await lsm::check_store(shard, std::move(options));
  *problems = std::move(found.problems);
  *done = true;
}

/// What the offline check finds wrong.
std::vector<std::string> problems_of(const test::DiskImage& image) {
  SimWorld world(1);
  const NodeId node = world.add_node({.image = image});
  world.start(node);
  std::vector<std::string> problems;
  bool done = false;
  world.spawn(node, 0, check_offline(world.shard(node), &problems, &done));
  world.run_until([&] { return done; });
  REQUIRE(world.stop(node));
  return problems;
}

void run_seed(std::uint64_t seed, int lives, Totals& totals) {
  CAPTURE(seed);
  SimWorld world(seed);
  Model model;
  core::Random random = world.random("operations");
  test::DiskImage disk;
  disk.make_directories("/store");
  const NodeId node = world.add_node({.program =
                                          [&](const NodeContext&) {
                                            return std::make_unique<Life>(
                                                seed, core::Random(random.next()), model, totals);
                                          },
                                      .image = disk});
  for (int life = 0; life < lives; ++life) {
    CAPTURE(life);
    world.start(node);
    world.run_for(std::chrono::milliseconds(random.between(20, 1500)));
    if (random.chance(0.5)) {
      REQUIRE(world.stop(node));
      const auto problems = problems_of(world.disk(node).image());
      REQUIRE_MESSAGE(problems.empty(), problems.front());
    } else {
      world.crash(node);
      ++totals.crashes;
    }
    REQUIRE(!world.failure(node).has_value());
  }
}

}  // namespace

TEST_CASE("a store holds what a map holds, through compactions, restarts and power cuts") {
  Totals totals;
  const std::uint64_t seeds = test::budget(30, 3);
  for (std::uint64_t seed = 1; seed <= seeds; ++seed) run_seed(seed, 8, totals);
  MESSAGE("seeds: " << seeds << ", operations: " << totals.operations << ", power cuts: "
                    << totals.crashes << ", compacted bytes: " << totals.counters.compacted_bytes
                    << ", runs moved: " << totals.counters.runs_moved << ", dropped: "
                    << totals.counters.runs_dropped << ", levels: " << totals.deepest_levels);
  CHECK(totals.counters.compacted_bytes > 0);
  CHECK(totals.counters.runs_dropped > 0);
}

}  // namespace sentinel
