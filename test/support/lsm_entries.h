#pragma once
/// Entries for tests of the storage engine, and tables made of them in a MemoryRing.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "lsm/run_cursor.h"
#include "lsm/sstable_writer.h"
#include "test/support/memory_ring.h"
#include "test/support/run_task.h"

namespace sentinel::test {

struct LsmEntry {
  std::string key;
  std::uint64_t sequence = 0;
  lsm::EntryKind kind = lsm::EntryKind::value;
  std::string value;

  [[nodiscard]] lsm::EntryTag tag() const {
    return {.sequence = lsm::SequenceNumber(sequence), .kind = kind};
  }
  friend bool operator==(const LsmEntry&, const LsmEntry&) = default;
  /// The order of entries: keys up, of one key the newest first.
  friend bool operator<(const LsmEntry& a, const LsmEntry& b) {
    return a.key != b.key ? a.key < b.key : a.sequence > b.sequence;
  }
};
using LsmEntries = std::vector<LsmEntry>;

/// `count` entries of distinct sequences from `first_sequence` on, over few enough keys that many
/// have several versions; sorted.
inline LsmEntries random_entries(core::Random& random, std::size_t count,
                                 std::uint64_t first_sequence, std::size_t value_bytes_max) {
  LsmEntries entries;
  for (std::size_t i = 0; i < count; ++i) {
    LsmEntry entry;
    entry.key = "k" + std::to_string(random.below(count + 1));
    if (random.chance(0.3)) entry.key.append(random.below(40), 'x');
    entry.sequence = first_sequence + i;
    if (random.chance(0.25)) entry.kind = lsm::EntryKind::tombstone;
    if (entry.kind == lsm::EntryKind::value) {
      entry.value.assign(random.below(value_bytes_max + 1), static_cast<char>(random.next()));
    }
    entries.push_back(std::move(entry));
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

inline core::Task<core::Result<lsm::NewTable>> write_table_task(core::Shard& shard,
                                                                lsm::FileNumber number,
                                                                std::uint64_t store_id,
                                                                const LsmEntries& entries,
                                                                std::size_t group_bytes = 0) {
  const lsm::RunRules rules{.group_bytes = group_bytes};
  auto writer = co_await lsm::SSTableWriter::create(
      shard, {.directory = "db", .store_id = store_id, .runs = rules}, number);
  if (!writer) co_return std::unexpected(std::move(writer).error());
  core::Status added;
  for (std::size_t i = 0; i < entries.size() && added; ++i) {
    added = co_await (*writer)->add(core::as_bytes(entries[i].key), entries[i].tag(),
                                    core::as_bytes(entries[i].value));
  }
  if (!added) {
    co_await (*writer)->abandon();
    co_return std::unexpected(std::move(added).error());
  }
  co_return co_await (*writer)->finish();
}

/// All entries from where the cursor stands.
inline core::Task<core::Result<LsmEntries>> read_rest(lsm::RunCursor& cursor) {
  LsmEntries found;
  while (cursor.valid()) {
    found.push_back({.key = std::string(core::as_text(cursor.key())),
                     .sequence = cursor.tag().sequence.value(),
                     .kind = cursor.tag().kind,
                     .value = std::string(core::as_text(cursor.value()))});
    if (cursor.try_next()) continue;
    SENTINEL_CO_CHECK(co_await cursor.next_block());
  }
  co_return found;
}

/// The runs of an open table.
inline std::vector<lsm::Run> runs_of(const lsm::NewTable& made, const lsm::TableFile& file) {
  std::vector<lsm::Run> runs;
  for (const lsm::RunInfo& info : made.runs) {
    runs.push_back({.info = std::make_shared<const lsm::RunInfo>(info), .file = &file});
  }
  return runs;
}

inline core::Task<core::Result<LsmEntries>> read_run_task(const lsm::Run& run,
                                                          lsm::ReadOptions options) {
  lsm::RunCursor cursor(run, options);
  const lsm::KeyTarget start{core::ByteSpan()};
  SENTINEL_CO_CHECK(co_await cursor.seek(start));
  co_return co_await read_rest(cursor);
}

/// Everything in a table; the table is closed.
inline core::Task<core::Result<LsmEntries>> read_table_task(core::Shard& shard, lsm::NewTable made,
                                                            std::uint64_t store_id,
                                                            lsm::ReadOptions options = {}) {
  auto table = co_await lsm::TableFile::open(
      shard, {.directory = "db", .store_id = store_id, .cache = nullptr}, made.info);
  if (!table) co_return std::unexpected(std::move(table).error());
  core::Result<LsmEntries> found = LsmEntries();
  const auto properties = co_await (*table)->read_properties();
  if (!properties) found = std::unexpected(properties.error());
  for (const lsm::Run& run : runs_of(made, **table)) {
    auto entries = co_await read_run_task(run, options);
    if (!found) break;
    if (!entries) {
      found = std::move(entries);
      break;
    }
    found->insert(found->end(), entries->begin(), entries->end());
  }
  co_await (*table)->close();
  co_return found;
}

}  // namespace sentinel::test
