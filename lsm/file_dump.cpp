#include "lsm/file_dump.h"

#include <fmt/format.h>

#include "core/codec.h"
#include "core/io.h"
#include "core/sync.h"
#include "lsm/log_reader.h"
#include "lsm/manifest.h"
#include "lsm/run_cursor.h"
#include "lsm/wal.h"
#include "lsm/write_batch.h"

namespace sentinel::lsm {

namespace {

constexpr ReadOptions kReads{.read_ahead_bytes = std::size_t{512} << 10};

std::string_view name_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string directory_of(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? "." : std::string(path.substr(0, slash));
}

class Dumper {
 public:
  Dumper(core::Shard& shard, FileDumpOptions options)
      : shard_(shard),
        options_(std::move(options)),
        parsed_(parse_file_name(name_of(options_.path))) {}

  core::Task<core::Status> run() {
    SENTINEL_CO_TRY(stat, co_await core::stat_path(shard_, options_.path));
    size_bytes_ = stat.size_bytes;
    switch (parsed_.kind) {
      case FileKind::table: co_return co_await dump_table();
      case FileKind::wal:
      case FileKind::manifest: co_return co_await dump_log();
      case FileKind::temporary:
      case FileKind::unknown: break;
    }
    co_return core::fail(
        core::Errc::invalid_argument,
        fmt::format("{} is no wal-N.log, table-N.sst or manifest-N.log", options_.path));
  }

 private:
  template <typename... Arguments>
  void print(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
    options_.print(fmt::format(format, std::forward<Arguments>(arguments)...));
  }

  core::Task<core::Status> dump_table() {
    SENTINEL_CO_TRY(store_id, co_await TableFile::store_id_of(shard_, options_.path, size_bytes_));
    const TableFile::Options options{
        .directory = directory_of(options_.path), .store_id = store_id, .cache = nullptr};
    auto opened = co_await TableFile::open(shard_, options,
                                           {.number = parsed_.number, .size_bytes = size_bytes_});
    if (!opened) co_return std::unexpected(std::move(opened).error());
    const std::unique_ptr<TableFile> table = std::move(*opened);
    print("table {} of store {:016x}, {} bytes", parsed_.number, store_id, size_bytes_);
    core::Status dumped = co_await dump_runs(*table);
    co_await table->close();
    co_return dumped;
  }

  core::Task<core::Status> dump_runs(const TableFile& table) {
    SENTINEL_CO_TRY(written, co_await table.read_properties());
    for (RunInfo& info : written.runs) {
      print_run(info);
      const Run run{.info = std::make_shared<const RunInfo>(std::move(info)), .file = &table};
      core::Status dumped = co_await dump_entries(run);
      // A run that was dropped may have been punched out; the manifest knows.
      if (!dumped) print("  unreadable, as what was dropped is: {}", dumped.error().message);
    }
    co_return core::Status();
  }

  core::Task<core::Status> dump_entries(const Run& run) {
    RunCursor cursor(run, kReads);
    const KeyTarget start{core::ByteSpan()};
    SENTINEL_CO_CHECK(co_await cursor.seek(start));
    while (cursor.valid()) {
      print_entry(cursor.key(), cursor.tag(), cursor.value().size());
      if (cursor.try_next()) continue;
      SENTINEL_CO_CHECK(co_await cursor.next_block());
      co_await core::yield(shard_);
    }
    co_return core::Status();
  }

  core::Task<core::Status> dump_log() {
    auto file = co_await core::File::open(shard_, options_.path, core::open_flags::read);
    if (!file) co_return std::unexpected(std::move(file).error());
    core::Status dumped = co_await dump_records(*file);
    co_await file->close();
    co_return dumped;
  }

  core::Task<core::Status> dump_records(const core::File& file) {
    LogReader reader(file, parsed_.number, size_bytes_);
    for (bool header = true;; header = false) {
      SENTINEL_CO_TRY(record, co_await reader.next());
      if (!record.has_value()) break;
      const core::Status known = parsed_.kind == FileKind::wal
                                     ? dump_wal_record(*record, header)
                                     : dump_manifest_record(*record, header);
      if (!known) {
        co_return core::fail(core::Errc::corruption,
                             fmt::format("{} is damaged: a malformed record", options_.path));
      }
      co_await core::yield(shard_);
    }
    print("end at offset {}, {} torn bytes behind it", reader.end().offset,
          reader.end().torn_bytes);
    co_return core::Status();
  }

  core::Status dump_wal_record(const LogRecord& record, bool is_header) {
    if (is_header) {
      SENTINEL_TRY(header, core::decode_fields<WalHeader>(record.body));
      print("log {} of store {:016x}, format {}, from operation {}", parsed_.number,
            header.store_id, header.format_version, header.first_sequence);
      return {};
    }
    SENTINEL_TRY(batch, WriteBatch::decode(record.body));
    print("batch of {} operations, {} bytes", batch.count(), batch.body_bytes());
    SequenceNumber sequence = batch.first_sequence();
    for (const WriteBatch::Operation& operation : batch.operations()) {
      print_entry(batch.key(operation), {.sequence = sequence, .kind = operation.kind},
                  operation.value.size());
      sequence = sequence.next();
    }
    return {};
  }

  core::Status dump_manifest_record(const LogRecord& record, bool is_header) {
    if (is_header) {
      SENTINEL_TRY(header, core::decode_fields<ManifestHeader>(record.body));
      print("manifest {} of store {:016x}, format {}, {} edits of state", parsed_.number,
            header.store_id, header.format_version, header.state_edits);
      return {};
    }
    SENTINEL_TRY(edit, core::decode_fields<VersionEdit>(record.body));
    print("edit: flushed up to {}, next file {}", edit.flushed_sequence, edit.next_file_number);
    for (const TableInfo& table : edit.tables_added)
      print("  + table {}, {} bytes", table.number, table.size_bytes);
    for (const RunId& run : edit.runs_removed)
      print("  - run {} of table {}", run.ordinal, run.file);
    for (const RunInfo& run : edit.runs_added) print_run(run);
    for (const WalInfo& wal : edit.wals_added)
      print("  + log {}, {} bytes{}", wal.number, wal.size_bytes, wal.started ? ", in use" : "");
    for (const FileNumber wal : edit.wals_started) print("  = log {} is in use", wal);
    for (const FileNumber wal : edit.wals_removed) print("  - log {}", wal);
    return {};
  }

  void print_run(const RunInfo& run) {
    print("  + run {} of table {} on level {}, {} entries of which {} deleted, bytes {} to {}",
          run.id.ordinal, run.id.file, run.level, run.entry_count, run.tombstone_count,
          run.data_begin, run.data_end);
    if (run.filter.length > 0)
      print("      with a filter of {} bytes at {}", run.filter.length, run.filter.offset);
    print("      from {}", options_.describe_key(core::as_bytes(run.smallest_key)));
    print("      to   {}", options_.describe_key(core::as_bytes(run.largest_key)));
  }
  void print_entry(core::ByteSpan key, EntryTag tag, std::size_t value_bytes) {
    if (tag.kind == EntryKind::tombstone) {
      print("    {} delete {}", tag.sequence, options_.describe_key(key));
    } else {
      print("    {} put    {} = {} bytes", tag.sequence, options_.describe_key(key), value_bytes);
    }
  }

  core::Shard& shard_;
  const FileDumpOptions options_;
  const ParsedFileName parsed_;
  std::uint64_t size_bytes_ = 0;
};

}  // namespace

core::Task<core::Status> dump_file(core::Shard& shard, FileDumpOptions options) {
  Dumper dumper(shard, std::move(options));
  co_return co_await dumper.run();
}

}  // namespace sentinel::lsm
