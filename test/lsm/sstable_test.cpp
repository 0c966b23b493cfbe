#include <doctest/doctest.h>

#include <array>

#include "lsm/manifest.h"
#include "lsm/run_cursor.h"
#include "lsm/sstable_writer.h"
#include "test/support/lsm_entries.h"

namespace sentinel::lsm {
namespace {

using core::as_bytes;
using core::as_text;
using core::Errc;
using core::OpCode;
using test::LsmEntries;
using test::LsmEntry;
using test::run_task;

constexpr std::uint64_t kStore = 77;
constexpr FileNumber kNumber{5};
constexpr const char* kPath = "db/table-00000005.sst";
constexpr const char* kTemporary = "db/tmp-00000005";

struct Fixture {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};

  NewTable write(const LsmEntries& entries, std::size_t group_bytes = 0) {
    auto made =
        run_task(shard, test::write_table_task(shard, kNumber, kStore, entries, group_bytes));
    REQUIRE(made.has_value());
    return *made;
  }
  core::Result<LsmEntries> read(const NewTable& made, std::uint64_t store_id = kStore,
                                ReadOptions options = {}) {
    auto found = run_task(shard, test::read_table_task(shard, made, store_id, options));
    CHECK(ring.open_handles() == 0);
    return found;
  }
  /// Damage is reported as such, and by name.
  void check_damaged(const NewTable& info) {
    const auto found = read(info);
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error().code == Errc::corruption);
    CHECK(found.error().message.find("table-00000005.sst") != std::string::npos);
  }
};

/// Several versions, tombstones, and a table small enough to try each of its bytes.
LsmEntries small_entries() {
  core::Random random(3);
  return test::random_entries(random, 24, 1, 12);
}

/// Blocks of one entry each, all of one size.
LsmEntries one_entry_blocks(std::uint64_t count) {
  LsmEntries entries;
  for (std::uint64_t i = 0; i < count; ++i) {
    entries.push_back({.key = "key" + std::to_string(100 + i),
                       .sequence = i + 1,
                       .value = std::string(40000, static_cast<char>('a' + i % 26))});
  }
  return entries;
}

core::Task<void> check_searches(RunCursor* cursor, const LsmEntries* entries, std::string key) {
  CAPTURE(key);
  const KeyTarget target(as_bytes(key));
  const auto first =
      std::ranges::find_if(*entries, [&](const LsmEntry& entry) { return entry.key >= key; });
  core::Status sought = co_await cursor->seek(target);
  CHECK(sought.has_value());
  const auto rest = co_await test::read_rest(*cursor);
  CHECK((rest && *rest == LsmEntries(first, entries->end())));
  sought = co_await cursor->seek_to_last_before(target);
  CHECK(sought.has_value());
  CHECK(cursor->valid() == (first != entries->begin()));
  if (!cursor->valid()) co_return;
  const auto behind = co_await test::read_rest(*cursor);
  CHECK((behind && *behind == LsmEntries(first - 1, entries->end())));
}

core::Task<void> check_model(core::Shard& shard, NewTable made, const LsmEntries* entries,
                             ReadOptions options) {
  auto table = co_await TableFile::open(
      shard, {.directory = "db", .store_id = kStore, .cache = nullptr}, made.info);
  CHECK((table.has_value() && made.runs.size() == 1));
  if (!table) co_return;
  {
    const std::vector<Run> runs = test::runs_of(made, **table);
    RunCursor cursor(runs.front(), options);
    for (std::size_t i = 0; i < entries->size(); i += 1 + entries->size() / 12) {
      co_await check_searches(&cursor, entries, (*entries)[i].key);
      co_await check_searches(&cursor, entries, (*entries)[i].key + "!");
    }
    co_await check_searches(&cursor, entries, "");
    co_await check_searches(&cursor, entries, "z");
  }
  co_await (*table)->close();
}

/// Notes how many entries were added between two chances to run.
core::Task<void> watch(core::Shard& shard, const std::size_t* added, std::size_t total,
                       std::size_t* longest) {
  std::size_t seen = 0;
  while (*added < total) {
    *longest = std::max(*longest, *added - seen);
    seen = *added;
    co_await core::yield(shard);
  }
}

core::Task<void> write_and_count(core::Shard& shard, const LsmEntries* entries,
                                 std::size_t* added) {
  auto writer = co_await SSTableWriter::create(
      shard, {.directory = "db", .store_id = kStore, .runs = {}}, kNumber);
  CHECK(writer.has_value());
  for (const LsmEntry& entry : *entries) {
    const core::Status status =
        co_await (*writer)->add(as_bytes(entry.key), entry.tag(), as_bytes(entry.value));
    CHECK(status.has_value());
    ++*added;
  }
  co_await (*writer)->abandon();
}

core::Task<void> write_and_abandon(core::Shard& shard) {
  auto writer = co_await SSTableWriter::create(
      shard, {.directory = "db", .store_id = kStore, .runs = {}}, kNumber);
  CHECK(writer.has_value());
  const core::Status added =
      co_await (*writer)->add(as_bytes("k"), {.sequence = kFirstSequence}, as_bytes("v"));
  CHECK(added.has_value());
  co_await (*writer)->abandon();
}

}  // namespace

TEST_CASE_FIXTURE(Fixture, "a table gives back random entries by walk and by search") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    CAPTURE(seed);
    core::Random random(seed);
    const std::size_t value_bytes_max = random.chance(0.5) ? 3000 : 40;
    const LsmEntries entries =
        test::random_entries(random, 1 + random.below(250), 1, value_bytes_max);
    const NewTable made = write(entries);
    const ReadOptions options{.read_ahead_bytes = random.chance(0.5) ? 70'000u : 0u};
    const auto found = read(made, kStore, options);
    REQUIRE(found.has_value());
    CHECK(*found == entries);
    run_task(shard, check_model(shard, made, &entries, options));
  }
}

TEST_CASE_FIXTURE(Fixture, "a finished table is described by what its writer returns") {
  const NewTable info = write({{.key = "a", .sequence = 9, .value = "1"},
                               {.key = "b", .sequence = 12, .value = "2"},
                               {.key = "b", .sequence = 3, .value = "3"},
                               {.key = "c", .sequence = 7, .value = "4"}});
  CHECK(info.info.number == kNumber);
  CHECK(info.info.size_bytes == ring.files.at(kPath).size());
  CHECK(info.info.size_bytes % kTableFileAlignment == 0);
  REQUIRE(info.runs.size() == 1);
  const RunInfo& run = info.runs.front();
  CHECK(run.entry_count == 4);
  CHECK(run.tombstone_count == 0);
  CHECK(run.smallest_key == "a");
  CHECK(run.largest_key == "c");
  CHECK(run.smallest_sequence == SequenceNumber(3));
  CHECK(run.largest_sequence == SequenceNumber(12));
}

TEST_CASE_FIXTURE(Fixture, "one huge value makes one huge block") {
  LsmEntries entries = {{.key = "a", .sequence = 1, .value = "small"},
                        {.key = "b", .sequence = 2, .value = std::string(kValueBytesMax, 'h')},
                        {.key = "c", .sequence = 3, .value = "small"}};
  const auto found = read(write(entries));
  REQUIRE(found.has_value());
  CHECK((*found == entries));
}

TEST_CASE_FIXTURE(Fixture, "short reads and writes are continued") {
  ring.transfer_max = 777;
  const LsmEntries entries = one_entry_blocks(3);
  const auto found = read(write(entries));
  REQUIRE(found.has_value());
  CHECK((*found == entries));
}

TEST_CASE_FIXTURE(Fixture, "a flip of any byte of a small table is found") {
  const NewTable info = write(small_entries());
  std::vector<std::byte>& file = ring.files.at(kPath);
  for (std::size_t offset = 0; offset < file.size(); ++offset) {
    for (const unsigned mask : {0x01U, 0x80U, 0xffU}) {
      CAPTURE(offset);
      CAPTURE(mask);
      file[offset] ^= static_cast<std::byte>(mask);
      check_damaged(info);
      file[offset] ^= static_cast<std::byte>(mask);
    }
  }
  CHECK(read(info) == small_entries());
}

TEST_CASE_FIXTURE(Fixture, "a table cut or extended by any length is found") {
  const NewTable info = write(small_entries());
  const std::vector<std::byte> whole = ring.files.at(kPath);
  for (std::size_t length = 0; length < whole.size() + 3; ++length) {
    if (length == whole.size()) continue;
    CAPTURE(length);
    ring.files.at(kPath) = whole;
    ring.files.at(kPath).resize(length);
    check_damaged(info);
    // The same when the manifest believes in that length.
    NewTable believed = info;
    believed.info.size_bytes = length;
    check_damaged(believed);
  }
}

TEST_CASE_FIXTURE(Fixture, "a missing table is damage") {
  const NewTable info = write(small_entries());
  ring.files.erase(kPath);
  check_damaged(info);
}

TEST_CASE_FIXTURE(Fixture, "whole blocks that changed places are found") {
  const NewTable info = write(one_entry_blocks(3));
  std::vector<std::byte>& file = ring.files.at(kPath);
  const std::string_view text = as_text(file);
  const std::size_t first = text.find("key100");
  const std::size_t second = text.find("key101");
  REQUIRE(second > first);
  const std::size_t distance = second - first;
  // Five bytes of lengths stand before the first key of a block.
  const std::size_t begin = first - 5;
  std::swap_ranges(file.begin() + static_cast<std::ptrdiff_t>(begin),
                   file.begin() + static_cast<std::ptrdiff_t>(begin + distance),
                   file.begin() + static_cast<std::ptrdiff_t>(begin + distance));
  check_damaged(info);
}

TEST_CASE_FIXTURE(Fixture, "a table of another store or under another's name is refused") {
  const NewTable info = write(small_entries());
  SUBCASE("store") {
    const auto found = read(info, kStore + 1);
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error().code == Errc::corruption);
  }
  SUBCASE("name") {
    NewTable renamed = info;
    renamed.info.number = FileNumber(6);
    ring.files["db/table-00000006.sst"] = ring.files.at(kPath);
    const auto found = read(renamed);
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error().code == Errc::corruption);
  }
}

TEST_CASE_FIXTURE(Fixture, "a large group has runs of its own, small ones share one") {
  LsmEntries entries;
  const auto add_group = [&](const std::string& group, std::size_t values) {
    for (std::size_t i = 0; i < values; ++i) {
      entries.push_back({.key = group + std::to_string(1000 + i),
                         .sequence = entries.size() + 1,
                         .value = std::string(1000, 'v')});
    }
  };
  for (const char* small : {"a", "b", "c"}) add_group(small, 3);
  add_group("d", 200);
  add_group("e", 70);
  add_group("f", 5);
  add_group("g", 5);
  const NewTable made = write(entries, 1);
  REQUIRE(made.runs.size() == 4);
  CHECK(made.runs[0].smallest_key == "a1000");
  CHECK(made.runs[0].largest_key == "c1002");
  CHECK(made.runs[1].smallest_key == "d1000");
  CHECK(made.runs[1].largest_key == "d1199");
  CHECK(made.runs[2].largest_key == "e1069");
  CHECK(made.runs[3].entry_count == 10);
  CHECK(read(made) == entries);
}

TEST_CASE_FIXTURE(Fixture, "a long stretch is cut into runs, never between the versions of a key") {
  LsmEntries entries;
  for (std::uint64_t i = 0; i < 400; ++i) {
    entries.push_back({.key = "key" + std::to_string(1000 + i / 300),
                       .sequence = 1000 - i,
                       .value = std::string(40'000, 'v')});
  }
  const NewTable made = write(entries);
  REQUIRE(made.runs.size() == 2);
  CHECK(made.runs[0].entry_count == 300);
  CHECK(made.runs[0].data_end == made.runs[1].data_begin);
  CHECK(read(made) == entries);
}

TEST_CASE_FIXTURE(Fixture, "reading ahead reads each byte once") {
  const LsmEntries entries = one_entry_blocks(40);
  const NewTable made = write(entries);
  ring.log.clear();
  REQUIRE(read(made, kStore, {.read_ahead_bytes = 400'100}) == entries);
  // Footer, properties, index, and the blocks, nine at a time.
  CHECK(ring.count(OpCode::read) == 3 + 5);
}

TEST_CASE_FIXTURE(Fixture, "a table of a later release is told from a damaged one") {
  const NewTable info = write(small_entries());
  std::vector<std::byte>& file = ring.files.at(kPath);
  const std::size_t footer = file.size() - kTableFooterBytes;
  const std::size_t covered = kTableFooterBytes - kTableCrcBytes;
  core::store_be<std::uint32_t>(file.data() + footer + 8, kFormatVersion + 1);
  check_damaged(info);
  const core::ByteSpan bytes(file);
  core::store_be(file.data() + footer + covered, core::crc32c(bytes.subspan(footer, covered)));
  const auto found = read(info);
  REQUIRE_FALSE(found.has_value());
  CHECK(found.error().code == Errc::newer_format);
}

TEST_CASE_FIXTURE(Fixture, "a table is synced before it gets its name, and the name after that") {
  write(small_entries());
  std::vector<OpCode> order;
  for (const OpCode code : ring.log) {
    const bool counts =
        code == OpCode::write || code == OpCode::sync_all || code == OpCode::rename_file;
    if (counts) order.push_back(code);
  }
  CHECK(order == std::vector<OpCode>{OpCode::write, OpCode::sync_all, OpCode::rename_file,
                                     OpCode::sync_all});
  CHECK_FALSE(ring.files.contains(kTemporary));
}

TEST_CASE_FIXTURE(Fixture,
                  "whatever operation fails, the writer reports it and leaves no handle open") {
  const LsmEntries entries = one_entry_blocks(60);  // Several writes.
  for (std::size_t failing = 1;; ++failing) {
    CAPTURE(failing);
    ring.files.clear();
    ring.log.clear();
    ring.fail_at = failing;
    ring.failure = ENOSPC;
    const auto info = run_task(shard, test::write_table_task(shard, kNumber, kStore, entries));
    if (ring.log.size() < failing) break;
    const OpCode failed = ring.log[failing - 1];
    // What a close says matters to nobody: the contents were synced.
    if (failed == OpCode::close_handle) {
      CHECK(info.has_value());
      continue;
    }
    REQUIRE_FALSE(info.has_value());
    CHECK(info.error().code == Errc::no_space);
    CHECK(ring.open_handles() == 0);
    CHECK_FALSE(ring.files.contains(kTemporary));
  }
  CHECK(ring.files.contains(kPath));
}

TEST_CASE_FIXTURE(Fixture,
                  "whatever operation fails, the reader reports it and leaves no handle open") {
  const NewTable info = write(one_entry_blocks(3));
  for (std::size_t failing = 1;; ++failing) {
    CAPTURE(failing);
    ring.log.clear();
    ring.fail_at = failing;
    const auto found = run_task(shard, test::read_table_task(shard, info, kStore));
    if (ring.log.size() < failing) break;
    const OpCode failed = ring.log[failing - 1];
    if (failed == OpCode::close_handle) continue;
    if (failed == OpCode::advise_random) {
      CHECK(found.has_value());  // Advice, no more.
      continue;
    }
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error().code == Errc::io_error);
    CHECK(found.error().message.find("table-00000005.sst") != std::string::npos);
  }
}

TEST_CASE_FIXTURE(Fixture, "an abandoned table leaves nothing") {
  run_task(shard, write_and_abandon(shard));
  CHECK(ring.files.empty());
  CHECK(ring.open_handles() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a writer lets others run about every thousand small entries") {
  LsmEntries entries;
  for (std::uint64_t i = 0; i < 20000; ++i) {
    entries.push_back({.key = std::to_string(100000 + i), .sequence = i + 1, .value = "v"});
  }
  std::size_t added = 0;
  std::size_t longest = 0;
  core::TaskScope scope(shard);
  scope.spawn(write_and_count(shard, &entries, &added));
  scope.spawn(watch(shard, &added, entries.size(), &longest));
  while (scope.active() > 0) shard.turn(core::Shard::Sleep::never);
  CHECK(longest > 0);
  CHECK(longest <= 1100);
}

}  // namespace sentinel::lsm
