#include "lsm/table_file.h"

#include <fmt/format.h>

#include "core/codec.h"
#include "lsm/manifest.h"

namespace sentinel::lsm {

TableFile::TableFile(core::Shard& shard, const Options& options, TableInfo info)
    : shard_(shard),
      info_(info),
      store_id_(options.store_id),
      cache_(options.cache),
      read_ahead_(options.read_ahead),
      on_damage_(options.on_damage),
      reads_(shard) {}

TableFile::~TableFile() = default;

core::Task<core::Result<std::unique_ptr<TableFile>>> TableFile::open(core::Shard& shard,
                                                                     const Options& options,
                                                                     TableInfo info) {
  const std::string path = options.directory + "/" + table_file_name(info.number);
  std::unique_ptr<TableFile> table(new TableFile(shard, options, info));
  core::Status loaded = co_await table->load(path);
  if (!loaded) {
    co_await table->close();
    co_return std::unexpected(std::move(loaded).error());
  }
  co_return table;
}

core::Task<core::Result<std::uint64_t>> TableFile::store_id_of(core::Shard& shard, std::string path,
                                                               std::uint64_t size_bytes) {
  auto file = co_await core::File::open(shard, path, core::open_flags::read);
  if (!file) co_return std::unexpected(std::move(file).error());
  std::array<std::byte, kTableFooterBytes> footer{};
  core::Status read = size_bytes < footer.size()
                          ? core::fail(core::Errc::corruption, fmt::format("{} is too short", path))
                          : co_await file->read_exactly(size_bytes - footer.size(), footer);
  co_await file->close();
  if (!read) co_return std::unexpected(std::move(read).error());
  core::ByteReader reader(footer);
  const std::uint64_t magic = reader.u64();
  reader.u32();
  if (magic != kTableMagic) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{} is damaged: it does not end as a table", path));
  }
  co_return reader.u64();
}

core::Task<core::Status> TableFile::load(const std::string& path) {
  auto file = co_await core::File::open(shard_, path, core::open_flags::read);
  if (!file) {
    const bool missing = file.error().code == core::Errc::not_found;
    co_return core::fail(missing ? core::Errc::corruption : file.error().code,
                         fmt::format("{}, although the manifest names it", file.error().message));
  }
  file_ = std::move(*file);
  // Cursors read ahead as far as they are asked to; what the system would add is read twice.
  const core::Status advised = co_await file_.advise_random();
  static_cast<void>(advised.has_value());  // Advice, no more.
  SENTINEL_CO_TRY(stat, co_await core::stat_path(shard_, path));
  if (stat.size_bytes != info_.size_bytes || stat.size_bytes < kTableFooterBytes) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{} has {} bytes, the manifest says {}", path, stat.size_bytes,
                                     info_.size_bytes));
  }
  co_return co_await check_footer();
}

core::Task<core::Status> TableFile::check_footer() {
  core::Buffer buffer = core::Buffer::allocate(kTableFooterBytes);
  const std::uint64_t offset = info_.size_bytes - kTableFooterBytes;
  SENTINEL_CO_CHECK(co_await file_.read_exactly(offset, {buffer.data(), kTableFooterBytes}));
  const core::ByteSpan footer(buffer.data(), kTableFooterBytes);
  core::ByteReader reader(footer);
  const std::uint64_t magic = reader.u64();
  const std::uint32_t version = reader.u32();
  const std::uint64_t found_store = reader.u64();
  const std::uint64_t found_number = reader.u64();
  core::FieldReader fields(reader);
  fields(properties_);
  const core::ByteSpan covered = footer.first(kTableFooterBytes - kTableCrcBytes);
  if (magic != kTableMagic || core::crc32c(covered) != reader.u32()) co_return malformed(offset);
  // Only behind the checksum: a flipped version is damage. So the footer keeps its layout in all
  // formats.
  SENTINEL_CO_CHECK(check_format(file_.path(), version));
  if (found_store != store_id_ || found_number != info_.number.value()) {
    co_return core::fail(
        core::Errc::corruption,
        fmt::format("{} belongs to another store, or has another's name", file_.path()));
  }
  co_return core::Status();
}

core::Task<core::Result<core::Bytes>> TableFile::read_block(TableHandle handle) const {
  if (cache_ == nullptr) co_return co_await read_part(handle);
  const BlockKey key = cache_key(handle.offset);
  for (;;) {
    if (auto cached = cache_->find(key)) co_return std::move(*cached);
    if (!cache_->is_loading(key)) break;
    // If that load fails, this reader tries for itself.
    co_await cache_->wait_for_load(key);
  }
  const BlockCache::Load load(*cache_, key);
  auto content = co_await read_part(handle);
  if (content) cache_->insert(key, *content);
  co_return content;
}

core::Task<core::Result<core::Bytes>> TableFile::read_range(std::uint64_t offset,
                                                            std::size_t length) const {
  if (offset > info_.size_bytes || length > info_.size_bytes - offset) co_return malformed(offset);
  core::Buffer buffer = core::Buffer::allocate(length);
  const core::Status read = co_await file_.read_exactly(offset, {buffer.data(), length});
  if (!read) {
    report(read.error());
    co_return std::unexpected(read.error());
  }
  co_return buffer.slice(0, length);
}

std::optional<std::uint64_t> TableFile::begin_window(std::uint64_t offset, std::uint64_t needed_end,
                                                     std::uint64_t end,
                                                     ReadAhead::Need need) const {
  if (read_ahead_ == nullptr || end > info_.size_bytes) return std::nullopt;
  ReadAhead::Window* window = read_ahead_->find(place(offset), needed_end);
  if (window == nullptr) {
    window = read_ahead_->open(place(offset), end, need);
    if (window == nullptr) return std::nullopt;
    reads_.spawn(fill(window));
  }
  return window->end;
}

core::Task<core::Result<TableFile::Stretch>> TableFile::read_window(
    std::uint64_t offset, std::uint64_t needed_end) const {
  ReadAhead::Window* window = read_ahead_->find(place(offset), needed_end);
  while (window != nullptr && window->loading) {
    const core::Buffer kept = window->buffer;  // So that it is not let go before this reader is on.
    co_await window->settled.wait();
    window = read_ahead_->find(place(offset), needed_end);
  }
  if (window != nullptr) {
    co_return Stretch{.bytes = window->bytes(), .offset = window->place.offset};
  }
  // It could not be read: this read says why, or does better.
  SENTINEL_CO_TRY(bytes, co_await read_range(offset, needed_end - offset));
  co_return Stretch{.bytes = std::move(bytes), .offset = offset};
}

core::Task<void> TableFile::fill(ReadAhead::Window* window) const {
  const core::Status read = co_await read_direct(window->aligned_begin(),
                                                 {window->buffer.data(), window->aligned_length()});
  read_ahead_->loaded(*window, read.has_value());
}

/// Past the page cache. A store may have many thousands of tables, so the second descriptor is not
/// kept: opening costs little beside a large read.
core::Task<core::Status> TableFile::read_direct(std::uint64_t offset,
                                                std::span<std::byte> into) const {
  auto direct = co_await core::File::open_direct(shard_, path(), core::open_flags::read);
  if (!direct) co_return co_await file_.read_exactly(offset, into);
  core::Status read = co_await direct->read_exactly(offset, into);
  co_await direct->close();
  // Some file systems take the flag and then refuse to do it, or demand larger blocks.
  if (read || read.error().code != core::Errc::invalid_argument) co_return read;
  co_return co_await file_.read_exactly(offset, into);
}

void TableFile::leave_window(std::uint64_t offset) const {
  ReadAhead::Window* window = read_ahead_->find(place(offset), offset + 1);
  if (window != nullptr) window->spent = true;
}

bool TableFile::lies_inside(TableHandle handle) const {
  const std::uint64_t end = info_.size_bytes - kTableFooterBytes;
  return handle.length <= kTablePartBytesMax && handle.offset <= end &&
         handle.length + kTableCrcBytes <= end - handle.offset;
}

core::Task<core::Result<core::Bytes>> TableFile::read_part(TableHandle handle) const {
  if (!lies_inside(handle)) co_return malformed(handle.offset);
  SENTINEL_CO_TRY(range, co_await read_range(handle.offset, handle.length + kTableCrcBytes));
  co_return part_of(range, handle.offset, handle);
}

core::Result<core::Bytes> TableFile::part_of(const core::Bytes& range, std::uint64_t range_offset,
                                             TableHandle handle) const {
  const std::size_t begin = handle.offset - range_offset;
  const core::Bytes content = range.slice(begin, handle.length);
  const std::uint32_t stored = core::load_be<std::uint32_t>(range.data() + begin + handle.length);
  if (table_part_crc(content, handle.offset, info_.number) != stored) {
    auto damaged = core::fail(
        core::Errc::corruption,
        fmt::format("{} is damaged at offset {}: wrong checksum", file_.path(), handle.offset));
    report(damaged.error());
    return damaged;
  }
  return content;
}

core::Task<core::Result<NewTable>> TableFile::read_properties() const {
  SENTINEL_CO_TRY(content, co_await read_part(properties_));
  core::ByteReader reader(content);
  core::FieldReader fields(reader);
  NewTable table;
  fields(table);
  const bool matches =
      table.info.number == info_.number && table.info.size_bytes == info_.size_bytes;
  if (reader.failed() || !matches) co_return malformed(properties_.offset);
  co_return table;
}

std::unexpected<core::Error> TableFile::malformed(std::uint64_t offset) const {
  auto damaged = core::fail(core::Errc::corruption,
                            fmt::format("{} is damaged at offset {}", file_.path(), offset));
  report(damaged.error());
  return damaged;
}

void TableFile::report(const core::Error& error) const {
  // What is closed, or cancelled, says nothing of the disk.
  const bool of_disk = error.code == core::Errc::corruption || error.code == core::Errc::io_error;
  if (!of_disk) return;
  if (on_damage_ != nullptr && *on_damage_) (*on_damage_)(error);
}

core::Task<void> TableFile::close() {
  co_await reads_.join();
  if (read_ahead_ != nullptr) read_ahead_->forget(store_id_, info_.number);
  co_await file_.close();
}

}  // namespace sentinel::lsm
