#include "lsm/read_ahead.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lsm/run_cursor.h"
#include "test/support/lsm_entries.h"

namespace sentinel::lsm {
namespace {

using core::OpCode;
using test::LsmEntries;
using test::run_task;

constexpr std::uint64_t kStore = 77;
constexpr std::size_t kValueBytes = 40'000;  // A block each.
constexpr std::size_t kWindow = std::size_t{256} << 10;
constexpr std::size_t kBlocksOfWindow = 6;
constexpr std::size_t kBlocks = 30;
constexpr std::size_t kPoolBuffer = kWindow + (std::size_t{128} << 10);

std::string key_of(std::size_t i) { return "key" + std::to_string(100 + i); }

/// A table of 30 blocks in one run, open beside a cache that holds its index.
struct Fixture {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};
  BlockCache cache{shard, std::size_t{4} << 20};
  std::unique_ptr<ReadAhead> ahead;
  std::unique_ptr<TableFile> file;
  std::vector<Run> runs;

  void open(std::size_t buffers) {
    ahead = std::make_unique<ReadAhead>(
        shard, ReadAheadOptions{.bytes_max = buffers * kPoolBuffer, .window_bytes = kWindow});
    LsmEntries entries;
    for (std::size_t i = 0; i < kBlocks; ++i) {
      entries.push_back({.key = key_of(i),
                         .sequence = i + 1,
                         .value = std::string(kValueBytes, static_cast<char>('a' + i % 26))});
    }
    auto made = run_task(shard, test::write_table_task(shard, FileNumber(5), kStore, entries, 0));
    REQUIRE(made.has_value());
    auto opened = run_task(
        shard,
        TableFile::open(
            shard,
            {.directory = "db", .store_id = kStore, .cache = &cache, .read_ahead = ahead.get()},
            made->info));
    REQUIRE(opened.has_value());
    file = std::move(*opened);
    runs = test::runs_of(*made, *file);
    REQUIRE(runs.size() == 1);
    static_cast<void>(run_task(shard, file->read_block(runs.front().info->index)));
    ring.log.clear();
  }
  ~Fixture() {
    if (file == nullptr) return;
    run_task(shard, file->close());
    run_task(shard, ahead->close());
    CHECK(ring.open_handles() == 0);
  }

  /// As a fetch does it: a cursor of its own that reads `count` blocks from `first` on.
  core::Status read(std::size_t first, std::size_t count, ReadOptions options) {
    return run_task(shard, read_task(&runs.front(), first, count, options));
  }
  static core::Task<core::Status> read_task(const Run* run, std::size_t first, std::size_t count,
                                            ReadOptions options) {
    RunCursor cursor(*run, options);
    const std::string key = key_of(first);
    SENTINEL_CO_CHECK(co_await cursor.seek(KeyTarget(core::as_bytes(key))));
    for (std::size_t i = first;; ++i) {
      CHECK(core::as_text(cursor.key()) == key_of(i));
      CHECK(core::as_text(cursor.value()) ==
            std::string(kValueBytes, static_cast<char>('a' + i % 26)));
      if (i + 1 == first + count) co_return core::Status();
      SENTINEL_CO_CHECK(co_await cursor.next_block());
    }
  }
  [[nodiscard]] std::size_t reads() const { return ring.count(OpCode::read); }
};

constexpr ReadOptions kKeep{.read_ahead_bytes = kWindow, .keep_ahead = true};

TEST_CASE_FIXTURE(Fixture, "cursors that go on where others ended read every byte once") {
  open(8);
  // Each begins in the block in which the one before ended.
  for (std::size_t first = 0; first + 4 <= kBlocks; first += 3)
    REQUIRE(read(first, 4, kKeep).has_value());
  CHECK(reads() == kBlocks / kBlocksOfWindow);
}

TEST_CASE_FIXTURE(Fixture, "no more is read than the reader will take") {
  open(8);
  ReadOptions options = kKeep;
  options.wanted_bytes = 4 * kValueBytes + kValueBytes / 2;
  REQUIRE(read(0, 4, options).has_value());
  CHECK(reads() == 1);
  // The fifth block was not wanted, so it was not there.
  REQUIRE(read(4, 1, kKeep).has_value());
  CHECK(reads() == 2);
}

core::Task<void> read_into(core::Task<core::Status> read, std::size_t* done) {
  const core::Status status = co_await std::move(read);
  CHECK(status.has_value());
  ++*done;
}

TEST_CASE_FIXTURE(Fixture, "who comes while a stretch is being read waits for it") {
  open(8);
  core::TaskScope scope(shard);
  std::size_t done = 0;
  for (int i = 0; i < 3; ++i) scope.spawn(read_into(read_task(&runs.front(), 1, 2, kKeep), &done));
  while (scope.active() > 0) shard.turn(core::Shard::Sleep::never);
  CHECK(done == 3);
  // Seeks that come to the same block at once; one read.
  CHECK(reads() == 1);
}

TEST_CASE_FIXTURE(Fixture, "while the memory is used up, blocks are read one by one") {
  open(1);
  std::optional<core::Bytes> held;
  {
    REQUIRE(file->begin_window(0, 100, 1000, ReadAhead::Need::now).has_value());
    auto stretch = run_task(shard, file->read_window(0, 100));
    REQUIRE(stretch.has_value());
    held = stretch->bytes;
  }
  ring.log.clear();
  CHECK(read(6, 3, kKeep).has_value());
  CHECK(reads() == 3);
  held.reset();
  ring.log.clear();
  CHECK(read(12, 3, kKeep).has_value());
  CHECK(reads() == 1);
}

TEST_CASE_FIXTURE(Fixture, "guesses leave memory for readers") {
  open(2);
  using Need = ReadAhead::Need;
  CHECK(file->begin_window(0, 100, 1000, Need::soon) == 1000u);
  CHECK_FALSE(file->begin_window(2000, 2100, 3000, Need::soon).has_value());
  CHECK(file->begin_window(4000, 4100, 5000, Need::now) == 5000u);
  // Bytes that are there, or on their way, take no more memory.
  CHECK(file->begin_window(500, 900, 1200, Need::soon) == 1000u);
  CHECK(ahead->window_count() == 2);
}

TEST_CASE_FIXTURE(Fixture,
                  "what could not be read ahead is read by the reader, who sees the error") {
  open(8);
  ring.fail_at = 2;                      // Behind the opening of the file.
  CHECK(read(0, 1, kKeep).has_value());  // The window failed; its own read did not.
  CHECK(ahead->window_count() == 0);
  std::vector<std::byte>& contents = ring.files["db/table-00000005.sst"];
  contents[std::size_t{3} * kValueBytes] ^= std::byte{1};
  const core::Status damaged = read(2, 2, kKeep);
  REQUIRE_FALSE(damaged.has_value());
  CHECK(damaged.error().code == core::Errc::corruption);
}

TEST_CASE_FIXTURE(Fixture, "all memory is given back some time after the last use") {
  open(8);
  REQUIRE(read(0, kBlocksOfWindow + 1, kKeep).has_value());
  CHECK(ahead->held_bytes() == 2 * kPoolBuffer);
  while (ahead->held_bytes() > 0) shard.turn(core::Shard::Sleep::allowed);
  CHECK(ahead->window_count() == 0);
  REQUIRE(read(0, 1, kKeep).has_value());
  CHECK(ahead->held_bytes() > 0);
}

TEST_CASE_FIXTURE(Fixture, "a file that is closed while it is read ahead is waited for") {
  open(8);
  REQUIRE(file->begin_window(0, 100, 1000, ReadAhead::Need::soon).has_value());
  CHECK(ahead->window_count() == 1);
  run_task(shard, file->close());
  CHECK(ahead->window_count() == 0);
}

}  // namespace
}  // namespace sentinel::lsm
