#include "lsm/store_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/codec.h"
#include "core/io.h"
#include "core/sync.h"
#include "lsm/bloom.h"
#include "lsm/log_replay.h"
#include "lsm/manifest.h"
#include "lsm/run_cursor.h"

namespace sentinel::lsm {

namespace {

/// What the entries of a run add up to, in the order of reading.
class RunTally {
 public:
  /// False when the entry does not stand behind the one before.
  bool add(core::ByteSpan key, EntryTag tag) {
    const bool first = seen_.entry_count == 0;
    if (!first && !is_after(key, tag, core::as_bytes(seen_.largest_key), last_tag_)) return false;
    if (first) {
      seen_.smallest_key = core::as_text(key);
      seen_.smallest_sequence = tag.sequence;
    }
    seen_.largest_key = core::as_text(key);
    seen_.smallest_sequence = std::min(seen_.smallest_sequence, tag.sequence);
    seen_.largest_sequence = std::max(seen_.largest_sequence, tag.sequence);
    last_tag_ = tag;
    seen_.tombstone_count += tag.kind == EntryKind::tombstone ? 1 : 0;
    ++seen_.entry_count;
    return true;
  }
  [[nodiscard]] bool agrees_with(const RunInfo& info) const {
    return seen_.entry_count == info.entry_count && seen_.tombstone_count == info.tombstone_count &&
           seen_.smallest_key == info.smallest_key && seen_.largest_key == info.largest_key &&
           seen_.smallest_sequence == info.smallest_sequence &&
           seen_.largest_sequence == info.largest_sequence;
  }

 private:
  RunInfo seen_;
  EntryTag last_tag_;
};

class Checker {
 public:
  Checker(core::Shard& shard, StoreCheckOptions options)
      : shard_(shard), options_(std::move(options)) {}

  core::Task<StoreCheck> run() {
    core::Status checked = co_await check_all();
    if (!checked) found_.problems.push_back(checked.error().message);
    co_return std::move(found_);
  }

 private:
  core::Task<core::Status> check_all() {
    auto opened = co_await Manifest::open(
        shard_, {.directory = options_.directory, .store_id = options_.store_id}, false);
    if (!opened) co_return std::unexpected(std::move(opened).error());
    const FileSet& files = (*opened)->files();
    for (const auto& [number, table] : files.tables) {
      core::Status checked = co_await check_table(table.info, files);
      if (!checked) found_.problems.push_back(checked.error().message);
    }
    core::Status levels = check_levels(files);
    if (!levels) found_.problems.push_back(levels.error().message);
    core::Status logs = co_await check_logs(files);
    if (!logs) found_.problems.push_back(logs.error().message);
    co_return co_await find_unnamed(files);
  }

  core::Task<core::Status> check_table(const TableInfo& info, const FileSet& files) {
    const TableFile::Options options{.directory = options_.directory,
                                     .store_id = options_.store_id};
    auto opened = co_await TableFile::open(shard_, options, info);
    if (!opened) co_return std::unexpected(std::move(opened).error());
    const std::unique_ptr<TableFile> table = std::move(*opened);
    core::Status checked = co_await check_runs(*table, files);
    co_await table->close();
    ++found_.tables;
    found_.table_bytes += info.size_bytes;
    co_return checked;
  }

  /// The runs that the manifest still names must be as the table's writer described them.
  core::Task<core::Status> check_runs(const TableFile& table, const FileSet& files) {
    SENTINEL_CO_TRY(written, co_await table.read_properties());
    const RunId first{.file = table.info().number, .ordinal = 0};
    for (auto at = files.runs.lower_bound(first);
         at != files.runs.end() && at->first.file == first.file; ++at) {
      const RunInfo& run = *at->second;
      if (run.id.ordinal >= written.runs.size() || !is_same(written.runs[run.id.ordinal], run)) {
        co_return core::fail(
            core::Errc::corruption,
            fmt::format("{}: run {} is not as the manifest says", table.path(), run.id.ordinal));
      }
      SENTINEL_CO_CHECK(co_await check_blocks(table, run));
      found_.table_entries += run.entry_count;
    }
    co_return core::Status();
  }

  static bool is_same(RunInfo written, const RunInfo& now) {
    written.level = now.level;
    return core::equal(core::encode_fields(written), core::encode_fields(now));
  }

  /// The data blocks must follow each other without a gap.
  core::Task<core::Status> check_blocks(const TableFile& table, const RunInfo& run) {
    SENTINEL_CO_TRY(index_content, co_await table.read_block(run.index));
    BlockCursor index(index_content);
    core::Bytes filter;
    if (run.filter.length > 0) {
      SENTINEL_CO_TRY(content, co_await table.read_block(run.filter));
      filter = std::move(content);
    }
    std::uint64_t offset = run.data_begin;
    RunTally tally;
    for (index.seek_to_first(); index.valid(); index.next()) {
      const auto handle = core::decode_fields<TableHandle>(index.value());
      if (!handle || handle->offset != offset) co_return table.malformed(offset);
      SENTINEL_CO_TRY(content, co_await table.read_block(*handle));
      BlockCursor block(content);
      SENTINEL_CO_CHECK(check_entries(table, offset, block, tally));
      if (!passes(filter, block)) co_return table.malformed(run.filter.offset);
      const bool ends_as_indexed =
          core::equal(block.key(), index.key()) && block.tag().packed() == index.tag().packed();
      if (block.corrupt() || !ends_as_indexed) co_return table.malformed(offset);
      offset += handle->length + kTableCrcBytes;
      co_await core::yield(shard_);
    }
    if (index.corrupt() || offset != run.data_end || !tally.agrees_with(run))
      co_return table.malformed(run.index.offset);
    co_return core::Status();
  }

  /// A filter must not deny any key of its run. An empty one denies nothing.
  static bool passes(const core::Bytes& filter, BlockCursor& block) {
    if (filter.empty()) return true;
    for (block.seek_to_first(); block.valid(); block.next()) {
      if (!bloom_may_have(filter, bloom_hash(block.key()))) return false;
    }
    return true;
  }

  /// Below level 0 the runs of a level must not overlap.
  core::Status check_levels(const FileSet& files) {
    std::array<std::vector<const RunInfo*>, kLevels> levels;
    for (const auto& [id, run] : files.runs) levels[run->level].push_back(run.get());
    for (std::uint8_t level = 1; level < kLevels; ++level) {
      auto& runs = levels[level];
      std::ranges::sort(runs, {}, &RunInfo::smallest_key);
      for (std::size_t i = 1; i < runs.size(); ++i) {
        if (!runs[i]->overlaps(*runs[i - 1])) continue;
        return core::fail(
            core::Errc::corruption,
            fmt::format("{}: run {} of {} overlaps run {} of {} on level {}", options_.directory,
                        runs[i]->id.ordinal, table_file_name(runs[i]->id.file),
                        runs[i - 1]->id.ordinal, table_file_name(runs[i - 1]->id.file), level));
      }
    }
    return {};
  }

  core::Status check_entries(const TableFile& table, std::uint64_t offset, BlockCursor& block,
                             RunTally& tally) {
    std::uint64_t entries = 0;
    std::uint64_t bytes = 0;
    for (block.seek_to_first(); block.valid(); block.next()) {
      if (!tally.add(block.key(), block.tag())) return table.malformed(offset);
      if (block.tag().kind == EntryKind::value) {
        const auto wrong = judge(block.key(), block.value());
        if (wrong.has_value()) {
          return core::fail(core::Errc::corruption, fmt::format("{} in the block at offset {}: {}",
                                                                table.path(), offset, *wrong));
        }
      }
      ++entries;
      bytes += block.key().size() + block.value().size();
    }
    advance(entries, bytes);
    return {};
  }

  core::Task<core::Status> check_logs(const FileSet& files) {
    LogReplay replay(shard_, options_.directory, options_.store_id, files);
    std::optional<std::string> first_wrong;
    core::Status replayed = co_await replay.run([&](const WriteBatch& batch) {
      for (const WriteBatch::Operation& operation : batch.operations()) {
        if (operation.kind != EntryKind::value || first_wrong.has_value()) continue;
        const auto wrong = judge(batch.key(operation), operation.value);
        if (wrong.has_value()) {
          first_wrong = fmt::format("{}: operation {} of the log and those behind it: {}",
                                    options_.directory, batch.first_sequence(), *wrong);
        }
      }
      advance(batch.count(), batch.body_bytes());
    });
    found_.logs = files.wals.size();
    found_.log_batches = replay.batches();
    found_.torn_bytes = replay.torn_bytes();
    if (replayed && first_wrong.has_value())
      co_return core::fail(core::Errc::corruption, std::move(*first_wrong));
    co_return replayed;
  }

  core::Task<core::Status> find_unnamed(const FileSet& files) {
    SENTINEL_CO_TRY(names, co_await core::list_directory(shard_, options_.directory));
    FileNumber newest{0};
    for (const std::string& name : names) {
      const ParsedFileName parsed = parse_file_name(name);
      if (parsed.kind == FileKind::manifest) newest = std::max(newest, parsed.number);
    }
    for (const std::string& name : names) {
      const ParsedFileName parsed = parse_file_name(name);
      const bool named = (parsed.kind == FileKind::manifest && parsed.number == newest) ||
                         (parsed.kind == FileKind::table && files.tables.contains(parsed.number)) ||
                         (parsed.kind == FileKind::wal && files.wals.contains(parsed.number));
      if (!named) found_.unnamed.push_back(options_.directory + "/" + name);
    }
    co_return core::Status();
  }

  [[nodiscard]] std::optional<std::string> judge(core::ByteSpan key, core::ByteSpan value) const {
    return options_.check_entry ? options_.check_entry(key, value) : std::nullopt;
  }
  void advance(std::uint64_t entries, std::uint64_t bytes) const {
    if (options_.progress) options_.progress(entries, bytes);
  }

  core::Shard& shard_;
  const StoreCheckOptions options_;
  StoreCheck found_;
};

}  // namespace

core::Task<StoreCheck> check_store(core::Shard& shard, StoreCheckOptions options) {
  Checker checker(shard, std::move(options));
  co_return co_await checker.run();
}

}  // namespace sentinel::lsm
