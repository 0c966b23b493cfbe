#include "lsm/manifest.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "core/codec.h"
#include "lsm/log_reader.h"

namespace sentinel::lsm {

namespace {

constexpr std::uint8_t kHeaderRecord = 1;
constexpr std::uint8_t kEditRecord = 2;
constexpr std::uint64_t kFileBytesMin = std::uint64_t{1} << 20;
// Keeps the records of a state within what a reader takes: a run's keys may have 4 KiB each.
constexpr std::size_t kRunsPerStateEdit = 2048;

std::uint64_t blocks_for(std::size_t stream_bytes) {
  return (stream_bytes + kLogRecordHeaderBytes + kLogBlockPayloadBytes - 1) / kLogBlockPayloadBytes;
}

/// The header of a later format may be longer; its version still stands where ours does.
core::Result<ManifestHeader> check_header(const LogRecord& record, const std::string& path,
                                          std::uint64_t store_id) {
  core::ByteReader start(record.body);
  const std::uint64_t magic = start.u64();
  const std::uint32_t version = start.u32();
  if (start.failed() || record.type != kHeaderRecord || magic != kManifestMagic) {
    return core::fail(core::Errc::corruption,
                      fmt::format("{} is damaged at offset 0: not a manifest", path));
  }
  if (auto readable = check_format(path, version); !readable)
    return std::unexpected(std::move(readable).error());
  auto header = core::decode_fields<ManifestHeader>(record.body);
  if (!header || header->store_id != store_id) {
    return core::fail(core::Errc::corruption, fmt::format("{} belongs to another store", path));
  }
  return header;
}

}  // namespace

core::Status check_format(const std::string& path, std::uint32_t version) {
  if (version == kFormatVersion) return {};
  if (version > kFormatVersion) {
    return core::fail(core::Errc::newer_format,
                      fmt::format("{} has format {}, this release reads up to {}", path, version,
                                  kFormatVersion));
  }
  return core::fail(core::Errc::unsupported,
                    fmt::format("{} has format {}, of a preview release; this release begins with "
                                "{}: start with another directory",
                                path, version, kFormatVersion));
}

core::Status FileSet::apply(const VersionEdit& edit) {
  next_file_number = std::max(next_file_number, edit.next_file_number);
  flushed_sequence = std::max(flushed_sequence, edit.flushed_sequence);
  for (const TableInfo& table : edit.tables_added) {
    if (!tables.emplace(table.number, Table{.info = table, .runs = 0}).second)
      return core::fail(core::Errc::corruption, "adds a table twice");
  }
  for (const RunId id : edit.runs_removed) {
    SENTINEL_CHECK(remove_run(id));
  }
  for (const RunInfo& run : edit.runs_added) {
    SENTINEL_CHECK(add_run(run));
  }
  for (const RunId id : edit.runs_removed) {
    const auto table = tables.find(id.file);
    if (table != tables.end() && table->second.runs == 0) tables.erase(table);
  }
  for (const TableInfo& table : edit.tables_added) {
    const auto added = tables.find(table.number);
    if (added == tables.end() || added->second.runs == 0)
      return core::fail(core::Errc::corruption, "adds a table without runs");
  }
  for (FileNumber number : edit.wals_removed) {
    if (wals.erase(number) == 0)
      return core::fail(core::Errc::corruption, "removes an unknown log");
  }
  for (const WalInfo& wal : edit.wals_added) {
    if (!wals.emplace(wal.number, wal).second)
      return core::fail(core::Errc::corruption, "adds a log twice");
  }
  for (FileNumber number : edit.wals_started) {
    const auto wal = wals.find(number);
    if (wal == wals.end()) return core::fail(core::Errc::corruption, "starts an unknown log");
    wal->second.started = true;
  }
  return {};
}

core::Status FileSet::remove_run(RunId id) {
  if (runs.erase(id) == 0) return core::fail(core::Errc::corruption, "removes an unknown run");
  --tables.at(id.file).runs;
  return {};
}

core::Status FileSet::add_run(const RunInfo& run) {
  const auto table = tables.find(run.id.file);
  if (table == tables.end())
    return core::fail(core::Errc::corruption, "adds a run without a table");
  const bool lies_inside = run.level < kLevels && run.data_begin < run.data_end &&
                           run.data_end <= table->second.info.size_bytes;
  if (!lies_inside ||
      compare_keys(core::as_bytes(run.smallest_key), core::as_bytes(run.largest_key)) > 0)
    return core::fail(core::Errc::corruption, "adds an impossible run");
  if (!runs.emplace(run.id, std::make_shared<const RunInfo>(run)).second)
    return core::fail(core::Errc::corruption, "adds a run twice");
  ++table->second.runs;
  return {};
}

std::vector<VersionEdit> FileSet::snapshot() const {
  std::vector<VersionEdit> edits(1);
  edits.back().next_file_number = next_file_number;
  edits.back().flushed_sequence = flushed_sequence;
  for (const auto& [number, wal] : wals) edits.back().wals_added.push_back(wal);
  FileNumber named{0};
  for (const auto& [id, run] : runs) {
    if (edits.back().runs_added.size() >= kRunsPerStateEdit) edits.emplace_back();
    if (id.file != named) edits.back().tables_added.push_back(tables.at(id.file).info);
    named = id.file;
    edits.back().runs_added.push_back(*run);
  }
  return edits;
}

Manifest::Manifest(core::Shard& shard, Options options)
    : shard_(shard), options_(std::move(options)), turn_(shard, 1) {}

Manifest::~Manifest() = default;

core::Task<core::Result<std::unique_ptr<Manifest>>> Manifest::open(core::Shard& shard,
                                                                   Options options, bool create) {
  std::unique_ptr<Manifest> manifest(new Manifest(shard, std::move(options)));
  auto names = co_await core::list_directory(shard, manifest->options_.directory);
  if (!names && names.error().code == core::Errc::not_found) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{} is missing", manifest->options_.directory));
  }
  if (!names) co_return std::unexpected(std::move(names).error());
  FileNumber newest{0};
  FileNumber highest{0};
  for (const std::string& name : *names) {
    const ParsedFileName parsed = parse_file_name(name);
    highest = std::max(highest, parsed.number);
    if (parsed.kind == FileKind::manifest) newest = std::max(newest, parsed.number);
  }
  if (newest != FileNumber{0}) {
    SENTINEL_CO_CHECK(co_await manifest->read_existing(newest));
  } else if (!create) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{} has no manifest", manifest->options_.directory));
  }
  // A number that a crash left in use without a record of it is not given out again.
  manifest->next_file_number_ = std::max(manifest->files_.next_file_number, highest.next());
  co_return manifest;
}

core::Task<core::Status> Manifest::start() {
  // First what may hold the space that the fresh manifest needs. Only what is durable may decide
  // that a file is not needed: what was read may stand in the system's cache alone.
  if (read_number_ != FileNumber{0}) {
    SENTINEL_CO_CHECK(co_await sync_existing());
    SENTINEL_CO_CHECK(co_await remove_unnamed());
  }
  SENTINEL_CO_CHECK(co_await start_new_file());
  SENTINEL_CO_CHECK(co_await remove_unnamed());
  co_return co_await remove_old_manifests();
}

core::Task<core::Status> Manifest::sync_existing() {
  auto file = co_await core::File::open(shard_, path(manifest_file_name(read_number_)),
                                        core::open_flags::read | core::open_flags::write);
  if (!file) co_return std::unexpected(std::move(file).error());
  core::Status synced = co_await file->sync_all();
  co_await file->close();
  SENTINEL_CO_CHECK(std::move(synced));
  co_return co_await core::sync_directory(shard_, options_.directory);
}

core::Task<core::Status> Manifest::read_existing(FileNumber number) {
  read_number_ = number;
  const std::string file_path = path(manifest_file_name(number));
  SENTINEL_CO_TRY(stat, co_await core::stat_path(shard_, file_path));
  auto file = co_await core::File::open(shard_, file_path, core::open_flags::read);
  if (!file) co_return std::unexpected(std::move(file).error());
  LogReader reader(*file, number, stat.size_bytes);
  core::Status status;
  bool first = true;
  std::uint32_t state_edits_left = 1;
  for (;;) {
    auto record = co_await reader.next();
    if (!record) {
      status = std::unexpected(std::move(record).error());
      break;
    }
    if (!record->has_value()) break;
    const LogRecord& found = **record;
    if (first) {
      auto header = check_header(found, file_path, options_.store_id);
      if (!header) {
        status = std::unexpected(std::move(header).error());
      } else if (header->file_bytes != stat.size_bytes) {
        status = core::fail(core::Errc::corruption,
                            fmt::format("{} has {} bytes instead of {}", file_path, stat.size_bytes,
                                        header->file_bytes));
      } else {
        state_edits_left = header->state_edits;
      }
      first = false;
    } else {
      auto edit = core::decode_fields<VersionEdit>(found.body);
      status = !edit ? core::Status(std::unexpected(std::move(edit).error())) : files_.apply(*edit);
      if (!status)
        status.error().message =
            fmt::format("{} is damaged: {}", file_path, status.error().message);
      if (state_edits_left > 0) --state_edits_left;
    }
    if (!status) break;
  }
  co_await file->close();
  // The file got its name only after all of its state was synced.
  if (status && state_edits_left > 0) {
    status = core::fail(core::Errc::corruption,
                        fmt::format("{} is damaged at offset {}: a part of the state is missing",
                                    file_path, reader.end().offset));
  }
  torn_bytes_ = reader.end().torn_bytes;
  co_return status;
}

core::Task<core::Status> Manifest::start_new_file() {
  const FileNumber number = new_file_number();
  files_.next_file_number = next_file_number_;
  std::vector<core::Bytes> state;
  std::uint64_t needed = kLogBlockBytes;
  for (const VersionEdit& edit : files_.snapshot()) {
    state.push_back(core::encode_fields(edit));
    needed += blocks_for(state.back().size()) * kLogBlockBytes;
  }
  co_await file_.close();
  file_number_ = number;
  file_bytes_ = std::max(kFileBytesMin, std::bit_ceil(4 * needed));
  next_block_ = 0;
  write_number_ = 0;
  const std::string temporary = path(temporary_file_name(number));
  auto file = co_await core::File::open(
      shard_, temporary,
      core::open_flags::write | core::open_flags::create | core::open_flags::truncate);
  if (!file) co_return std::unexpected(std::move(file).error());
  file_ = std::move(*file);
  SENTINEL_CO_CHECK(co_await file_.allocate(file_bytes_));
  const ManifestHeader header{.store_id = options_.store_id,
                              .file_bytes = file_bytes_,
                              .state_edits = core::narrow<std::uint32_t>(state.size())};
  SENTINEL_CO_CHECK(co_await write_record(kHeaderRecord, core::encode_fields(header)));
  for (const core::Bytes& edit : state) {
    SENTINEL_CO_CHECK(co_await write_record(kEditRecord, edit));
  }
  SENTINEL_CO_CHECK(co_await file_.sync_all());
  SENTINEL_CO_CHECK(
      co_await core::rename_file(shard_, temporary, path(manifest_file_name(number))));
  co_return co_await core::sync_directory(shard_, options_.directory);
}

core::Task<core::Status> Manifest::write_record(std::uint8_t type, core::Bytes body) {
  core::ByteWriter record;
  record.u32(static_cast<std::uint32_t>(body.size()));
  record.u8(type);
  record.bytes(body);
  std::vector<std::byte> memory(blocks_for(body.size()) * kLogBlockBytes);
  BlockEncoder encoder(memory);
  encoder.append(record.view());
  const core::ByteSpan blocks =
      encoder.finish(static_cast<std::uint32_t>(file_number_.value()), ++write_number_,
                     static_cast<std::uint32_t>(next_block_));
  const std::uint64_t offset = next_block_ * kLogBlockBytes;
  next_block_ += encoder.blocks();
  co_return co_await file_.write(offset, blocks);
}

core::Task<core::Status> Manifest::apply(VersionEdit edit) {
  co_await turn_.acquire(1);
  edit.next_file_number = next_file_number_;
  core::Status status = co_await write_edit(edit);
  turn_.release(1);
  if (!status) {
    const bool full = status.error().code == core::Errc::no_space;
    shard_.fail(full ? core::ExitCode::disk_full : core::ExitCode::io_failed,
                status.error().message);
  }
  co_return status;
}

core::Task<core::Status> Manifest::write_edit(const VersionEdit& edit) {
  const core::Bytes body = core::encode_fields(edit);
  const bool full = (next_block_ + blocks_for(body.size())) * kLogBlockBytes > file_bytes_;
  if (full) {
    const FileNumber old_number = file_number_;
    SENTINEL_CO_CHECK(files_.apply(edit));
    SENTINEL_CO_CHECK(co_await start_new_file());
    co_return co_await core::unlink_file(shard_, path(manifest_file_name(old_number)));
  }
  SENTINEL_CO_CHECK(co_await write_record(kEditRecord, body));
  SENTINEL_CO_CHECK(co_await file_.sync_data());
  co_return files_.apply(edit);
}

/// What a crash left: files that never came into use, or went out of it.
core::Task<core::Status> Manifest::remove_unnamed() {
  SENTINEL_CO_TRY(names, co_await core::list_directory(shard_, options_.directory));
  for (const std::string& name : names) {
    const ParsedFileName parsed = parse_file_name(name);
    const bool stale_table =
        parsed.kind == FileKind::table && !files_.tables.contains(parsed.number);
    const bool stale_wal = parsed.kind == FileKind::wal && !files_.wals.contains(parsed.number);
    if (stale_table || stale_wal || parsed.kind == FileKind::temporary) {
      SENTINEL_CO_CHECK(co_await core::unlink_file(shard_, path(name)));
    }
  }
  co_return core::Status();
}

core::Task<core::Status> Manifest::remove_old_manifests() {
  SENTINEL_CO_TRY(names, co_await core::list_directory(shard_, options_.directory));
  for (const std::string& name : names) {
    const ParsedFileName parsed = parse_file_name(name);
    if (parsed.kind == FileKind::manifest && parsed.number != file_number_) {
      SENTINEL_CO_CHECK(co_await core::unlink_file(shard_, path(name)));
    }
  }
  co_return core::Status();
}

core::Task<void> Manifest::close() {
  co_await turn_.acquire(1);
  co_await file_.close();
  turn_.release(1);
}

}  // namespace sentinel::lsm
