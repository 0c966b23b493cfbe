#include <doctest/doctest.h>
#include <fmt/format.h>

#include "lsm/db.h"
#include "lsm/store_check.h"
#include "test/support/memory_ring.h"
#include "test/support/run_task.h"

namespace sentinel::lsm {
namespace {

using core::as_bytes;
using core::Bytes;
using core::OpCode;
using test::run_task;

constexpr std::size_t kEntries = 600;
constexpr std::size_t kValueBytes = 10'000;

std::string key_of(std::size_t i) { return fmt::format("key{:05}", i); }

/// A store whose entries, every second key of a range, are all in one table. What of it is in
/// memory was put there by the test.
struct Fixture {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};
  BlockCache cache{shard, std::size_t{64} << 20};
  ReadAhead ahead{shard, {.window_bytes = std::size_t{256} << 10}};
  std::unique_ptr<Db> db;

  std::optional<std::string> filters;

  explicit Fixture(std::optional<std::string> filters_from) : filters(std::move(filters_from)) {
    open(true);
    for (std::size_t i = 0; i < kEntries; ++i) {
      WriteBatch batch;
      batch.put(as_bytes(key_of(2 * i)), Bytes::copy(std::string(kValueBytes, 'v')));
      run_task(shard, db->write(std::move(batch)));
    }
    run_task(shard, db->flush());
    REQUIRE(db->table_count() == 1);
    ring.log.clear();
  }
  ~Fixture() {
    run_task(shard, db->close());
    run_task(shard, ahead.close());
    CHECK(ring.open_handles() == 0);
  }

  void open(bool create) {
    DbOptions options;
    options.directory = "store";
    options.cache = &cache;
    options.read_ahead = &ahead;
    options.runs.run_bytes = std::size_t{1} << 20;
    options.runs.filters_from = filters;
    auto opened = run_task(shard, Db::open(shard, std::move(options), create));
    REQUIRE(opened.has_value());
    db = std::move(*opened);
  }
  void reopen() {
    run_task(shard, db->close());
    open(false);
  }
  /// Until everything that was begun has ended.
  void settle() {
    while (shard.turn(core::Shard::Sleep::never)) {
    }
  }
  /// Thirty thousand entries behind all others, in one table with some of those written again.
  void write_many_small() {
    WriteBatch batch;
    for (std::size_t i = 0; i < kEntries / 2; ++i)
      batch.put(as_bytes(key_of(2 * i)), Bytes::copy(std::string(kValueBytes / 2, 'w')));
    for (std::size_t i = 0; i < 60'000; i += 2)
      batch.put(as_bytes(fmt::format("small{:06}", i)), Bytes::copy(std::string("v")));
    run_task(shard, db->write(std::move(batch)));
    run_task(shard, db->flush());
  }
  bool has_small(std::size_t i) {
    const auto found = run_task(shard, db->get(Bytes::copy(fmt::format("small{:06}", i))));
    return found.has_value() && found->has_value();
  }

  bool has(std::size_t i) {
    const auto found = run_task(shard, db->get(Bytes::copy(key_of(i))));
    REQUIRE(found.has_value());
    return found->has_value();
  }
  /// Walks over `count` entries from `first` on.
  void walk(std::size_t first, std::size_t count) {
    run_task(shard, walk_task(db.get(), first, count));
  }
  static core::Task<void> walk_task(const Db* db, std::size_t first, std::size_t count) {
    Cursor cursor =
        db->cursor({}, {}, {.read_ahead_bytes = std::size_t{256} << 10, .keep_ahead = true});
    const std::string key = key_of(2 * first);
    core::Status status = co_await cursor.seek(KeyTarget(as_bytes(key)));
    for (std::size_t i = first; i < first + count; ++i) {
      CHECK((status && cursor.valid() && core::as_text(cursor.key()) == key_of(2 * i)));
      if (i + 1 < first + count) status = co_await cursor.next();
    }
  }
  [[nodiscard]] std::size_t reads() const { return ring.count(OpCode::read); }
};

TEST_CASE("with a filter, keys that are not there cost no read of a block") {
  Fixture fixture("");
  for (std::size_t i = 1; i < 2 * kEntries - 1; i += 2) CHECK_FALSE(fixture.has(i));
  // One filter for each of the runs, and a block for the few that a filter does not deny.
  const std::size_t runs = fixture.db->version()->level(kBottomLevel).size();
  CHECK(runs > 3);
  CHECK(fixture.reads() >= runs);
  CHECK(fixture.reads() < 2 * runs + kEntries / 20);
  for (std::size_t i = 0; i < kEntries; ++i) CHECK(fixture.has(2 * i));
}

TEST_CASE("filters outlive the runs before them in their file, and starts") {
  Fixture fixture("");
  // More keys than one block of the file system has of a filter.
  fixture.write_many_small();
  fixture.db->discard({}, Bytes::copy(key_of(2 * kEntries)));
  for (int start = 0; start < 3; ++start) {
    run_task(fixture.shard, fixture.db->until_compacted());
    fixture.settle();
    CHECK(fixture.has_small(20'000));
    CHECK_FALSE(fixture.has_small(20'001));
    StoreCheckOptions options;
    options.directory = "store";
    const StoreCheck check =
        run_task(fixture.shard, check_store(fixture.shard, std::move(options)));
    CHECK(check.problems.empty());
    fixture.reopen();
    fixture.db->discard({}, Bytes::copy(key_of(2 * kEntries)));
  }
}

TEST_CASE("keys before the first one with filters have none") {
  Fixture fixture("key00600");
  std::size_t filtered = 0;
  std::size_t others = 0;
  for (const Run* run : fixture.db->version()->level(kBottomLevel)) {
    const bool expected = run->info->smallest_key >= "key00600";
    CHECK((run->info->filter.length > 0) == expected);
    ++(expected ? filtered : others);
  }
  CHECK(filtered > 0);
  CHECK(others > 0);
  CHECK(fixture.has(1000));
  CHECK_FALSE(fixture.has(1001));
  CHECK_FALSE(fixture.has(101));
}

TEST_CASE("what was looked ahead for is there when a walk comes to it, over the ends of runs") {
  Fixture fixture(std::nullopt);
  const std::string first = key_of(2 * 50);
  const KeyTarget target(as_bytes(first));
  run_task(fixture.shard, fixture.db->look_ahead(target, {}, {}, std::uint64_t{2} << 20));
  fixture.settle();
  const std::size_t reads = fixture.reads();
  CHECK(reads > 8);  // Windows of 2 MiB, and indexes.
  fixture.walk(50, 200);
  CHECK(fixture.reads() == reads);
  // Again it finds what is there.
  run_task(fixture.shard, fixture.db->look_ahead(target, {}, {}, std::uint64_t{1} << 20));
  CHECK(fixture.reads() == reads);
}

TEST_CASE("nothing is looked ahead for outside the bounds or before the target") {
  Fixture fixture(std::nullopt);
  const KeyTarget behind(as_bytes("key99999"));
  run_task(fixture.shard, fixture.db->look_ahead(behind, {}, {}, std::uint64_t{1} << 20));
  const KeyTarget start(as_bytes(""));
  run_task(fixture.shard, fixture.db->look_ahead(start, {}, Bytes::copy(std::string("a")),
                                                 std::uint64_t{1} << 20));
  CHECK(fixture.reads() == 0);
}

}  // namespace
}  // namespace sentinel::lsm
