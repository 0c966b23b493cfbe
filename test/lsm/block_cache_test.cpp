#include "lsm/block_cache.h"

#include <doctest/doctest.h>

#include <string>

#include "core/codec.h"
#include "core/random.h"
#include "core/scope.h"
#include "lsm/table_file.h"
#include "test/support/lsm_entries.h"

namespace sentinel::lsm {
namespace {

using test::run_task;

constexpr std::size_t kBlock = 4096;
constexpr std::size_t kBudget = std::size_t{200} * kBlock;

BlockKey key_of(std::uint64_t number) {
  return {.store_id = 1, .file = FileNumber(number / 100), .offset = number % 100 * kBlock};
}

core::Bytes block_of(std::uint64_t number) {
  return core::Bytes::copy(std::string(kBlock, static_cast<char>(number % 251)));
}

struct Fixture {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};
  BlockCache cache{shard, kBudget};

  /// As a reader does it; says whether the block was there.
  bool read(std::uint64_t number) {
    const auto found = cache.find(key_of(number));
    if (found.has_value()) {
      REQUIRE(core::equal(*found, block_of(number)));
      return true;
    }
    cache.insert(key_of(number), block_of(number));
    return false;
  }
  std::uint64_t hits_of(std::uint64_t begin, std::uint64_t end) {
    std::uint64_t hits = 0;
    for (std::uint64_t number = begin; number < end; ++number) hits += read(number) ? 1 : 0;
    return hits;
  }
};

TEST_CASE_FIXTURE(Fixture, "a cached block is the one that was put in, and the budget holds") {
  core::Random random(5);
  std::uint64_t hits = 0;
  for (int i = 0; i < 50'000; ++i) {
    // Some blocks are wanted much more often than others.
    hits += read(random.below(1 + random.below(2'000))) ? 1 : 0;
    REQUIRE(cache.bytes() <= kBudget);
  }
  CHECK(hits > 10'000);
  CHECK(cache.hits() == hits);
  CHECK(cache.hits() + cache.misses() == 50'000);
}

TEST_CASE_FIXTURE(Fixture, "a scan over cold data does not displace what is in use") {
  for (int i = 0; i < 5; ++i) hits_of(0, 100);
  REQUIRE(hits_of(0, 100) == 100);
  // Each block of the scan twice, as by fetches that end within a block.
  for (std::uint64_t number = 1'000; number < 10'000; ++number) {
    CHECK_FALSE(read(number));
    CHECK(read(number));
  }
  CHECK(hits_of(0, 100) == 100);
}

TEST_CASE_FIXTURE(Fixture, "a block that comes back soon is kept") {
  CHECK_FALSE(read(1));
  hits_of(1'000, 1'250);
  REQUIRE_FALSE(read(1));  // Evicted, its name is still known.
  hits_of(2'000, 2'400);
  CHECK(read(1));
}

TEST_CASE_FIXTURE(Fixture, "what is no longer wanted makes room for what is") {
  for (int i = 0; i < 5; ++i) hits_of(0, 150);
  for (int i = 0; i < 20; ++i) hits_of(1'000, 1'150);
  CHECK(hits_of(1'000, 1'150) == 150);
}

TEST_CASE_FIXTURE(Fixture, "a block of a large part of the budget is not kept, but can be read") {
  cache.insert(key_of(1), core::Bytes::copy(std::string(kBudget / 4, 'x')));
  CHECK(cache.bytes() == 0);
  CHECK_FALSE(cache.find(key_of(1)).has_value());
}

TEST_CASE_FIXTURE(Fixture, "an evicted block lives on with its reader") {
  read(1);
  const core::Bytes held = *cache.find(key_of(1));
  hits_of(1'000, 3'000);
  REQUIRE_FALSE(cache.find(key_of(1)).has_value());
  CHECK(core::equal(held, block_of(1)));
}

// Reading through the cache.

constexpr FileNumber kNumber{5};

core::Task<void> read_twice(core::Shard& shard, const TableFile* table, TableHandle handle,
                            int* succeeded) {
  core::TaskScope readers(shard);
  for (int i = 0; i < 5; ++i) {
    readers.spawn([](const TableFile* from, TableHandle at, int* count) -> core::Task<void> {
      const auto block = co_await from->read_block(at);
      if (block) ++*count;
    }(table, handle, succeeded));
  }
  co_await readers.join();
}

struct TableFixture : Fixture {
  std::unique_ptr<TableFile> table;
  TableHandle first;

  TableFixture() {
    const test::LsmEntries entries{{.key = "a", .sequence = 1, .value = std::string(1000, 'a')},
                                   {.key = "b", .sequence = 2, .value = "b"}};
    auto made = run_task(shard, test::write_table_task(shard, kNumber, 1, entries));
    REQUIRE(made.has_value());
    auto opened = run_task(
        shard,
        TableFile::open(shard, {.directory = "db", .store_id = 1, .cache = &cache}, made->info));
    REQUIRE(opened.has_value());
    table = std::move(*opened);
    auto content = run_task(shard, table->read_block(made->runs.front().index));
    REQUIRE(content.has_value());
    BlockCursor index(*content);
    index.seek_to_first();
    first = *core::decode_fields<TableHandle>(index.value());
    ring.log.clear();
  }
  ~TableFixture() { run_task(shard, table->close()); }
};

TEST_CASE_FIXTURE(TableFixture, "readers of one block at the same time cause one read") {
  int succeeded = 0;
  run_task(shard, read_twice(shard, table.get(), first, &succeeded));
  CHECK(succeeded == 5);
  CHECK(ring.count(core::OpCode::read) == 1);
  run_task(shard, read_twice(shard, table.get(), first, &succeeded));
  CHECK(succeeded == 10);
  CHECK(ring.count(core::OpCode::read) == 1);
}

TEST_CASE_FIXTURE(TableFixture, "when a load fails, who waited for it tries again") {
  ring.fail_at = 1;
  int succeeded = 0;
  run_task(shard, read_twice(shard, table.get(), first, &succeeded));
  CHECK(succeeded == 4);
  CHECK(ring.count(core::OpCode::read) == 2);
}

}  // namespace
}  // namespace sentinel::lsm
