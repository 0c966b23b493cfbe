#include <doctest/doctest.h>

#include <array>

#include "lsm/sstable_reader.h"
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

  TableInfo write(const LsmEntries& entries) {
    auto info = run_task(shard, test::write_table_task(shard, kNumber, kStore, entries));
    REQUIRE(info.has_value());
    return *info;
  }
  core::Result<LsmEntries> read(const TableInfo& info, std::uint64_t store_id = kStore) {
    auto found = run_task(shard, test::read_table_task(shard, info, store_id));
    CHECK(ring.open_handles() == 0);
    return found;
  }
  /// Damage is reported as such, and by name.
  void check_damaged(const TableInfo& info) {
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

core::Task<void> check_searches(SSTableCursor* cursor, const LsmEntries* entries, std::string key) {
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

core::Task<void> check_model(core::Shard& shard, TableInfo info, const LsmEntries* entries) {
  auto table = co_await SSTableReader::open(shard, "db", info, kStore);
  CHECK(table.has_value());
  if (!table) co_return;
  {
    SSTableCursor cursor(*table);
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
  auto writer = co_await SSTableWriter::create(shard, "db", kNumber, kStore);
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
  auto writer = co_await SSTableWriter::create(shard, "db", kNumber, kStore);
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
    const TableInfo info = write(entries);
    const auto found = read(info);
    REQUIRE(found.has_value());
    CHECK(*found == entries);
    run_task(shard, check_model(shard, info, &entries));
  }
}

TEST_CASE_FIXTURE(Fixture, "a finished table is described by its TableInfo") {
  const TableInfo info = write({{.key = "a", .sequence = 9, .value = "1"},
                                {.key = "b", .sequence = 12, .value = "2"},
                                {.key = "b", .sequence = 3, .value = "3"},
                                {.key = "c", .sequence = 7, .value = "4"}});
  CHECK(info.number == kNumber);
  CHECK(info.size_bytes == ring.files.at(kPath).size());
  CHECK(info.size_bytes % kTableFileAlignment == 0);
  CHECK(info.entry_count == 4);
  CHECK(info.smallest_key == "a");
  CHECK(info.largest_key == "c");
  CHECK(info.smallest_sequence == SequenceNumber(3));
  CHECK(info.largest_sequence == SequenceNumber(12));
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
  const TableInfo info = write(small_entries());
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
  const TableInfo info = write(small_entries());
  const std::vector<std::byte> whole = ring.files.at(kPath);
  for (std::size_t length = 0; length < whole.size() + 3; ++length) {
    if (length == whole.size()) continue;
    CAPTURE(length);
    ring.files.at(kPath) = whole;
    ring.files.at(kPath).resize(length);
    check_damaged(info);
    // The same when the manifest believes in that length.
    TableInfo believed = info;
    believed.size_bytes = length;
    check_damaged(believed);
  }
}

TEST_CASE_FIXTURE(Fixture, "a missing table is damage") {
  const TableInfo info = write(small_entries());
  ring.files.erase(kPath);
  check_damaged(info);
}

TEST_CASE_FIXTURE(Fixture, "whole blocks that changed places are found") {
  const TableInfo info = write(one_entry_blocks(3));
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
  const TableInfo info = write(small_entries());
  SUBCASE("store") {
    const auto found = read(info, kStore + 1);
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error().code == Errc::corruption);
  }
  SUBCASE("name") {
    TableInfo renamed = info;
    renamed.number = FileNumber(6);
    ring.files["db/table-00000006.sst"] = ring.files.at(kPath);
    const auto found = read(renamed);
    REQUIRE_FALSE(found.has_value());
    CHECK(found.error().code == Errc::corruption);
  }
}

TEST_CASE_FIXTURE(Fixture, "a table that the manifest describes differently is refused") {
  const TableInfo info = write(small_entries());
  const auto check_with = [&](auto change) {
    TableInfo changed = info;
    change(changed);
    check_damaged(changed);
  };
  check_with([](TableInfo& changed) { ++changed.entry_count; });
  check_with([](TableInfo& changed) { changed.smallest_key = ""; });
  check_with([](TableInfo& changed) { changed.largest_key += "z"; });
  check_with([](TableInfo& changed) { changed.largest_sequence = SequenceNumber(1000); });
  TableInfo moved = info;
  moved.level = 3;
  CHECK(read(moved).has_value());
}

TEST_CASE_FIXTURE(Fixture, "a table of a later release is told from a damaged one") {
  const TableInfo info = write(small_entries());
  std::vector<std::byte>& file = ring.files.at(kPath);
  const std::size_t footer = file.size() - kTableFooterBytes;
  const std::size_t covered = kTableFooterBytes - kTableCrcBytes;
  core::store_be<std::uint32_t>(file.data() + footer + 8, 2);
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
  const TableInfo info = write(one_entry_blocks(3));
  for (std::size_t failing = 1;; ++failing) {
    CAPTURE(failing);
    ring.log.clear();
    ring.fail_at = failing;
    const auto found = run_task(shard, test::read_table_task(shard, info, kStore));
    if (ring.log.size() < failing) break;
    if (ring.log[failing - 1] == OpCode::close_handle) continue;
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
