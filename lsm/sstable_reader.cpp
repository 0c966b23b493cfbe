#include "lsm/sstable_reader.h"

#include <fmt/format.h>

#include "core/codec.h"
#include "lsm/manifest.h"

namespace sentinel::lsm {

SSTableReader::~SSTableReader() = default;

core::Task<core::Result<std::shared_ptr<SSTableReader>>> SSTableReader::open(core::Shard& shard,
                                                                             std::string directory,
                                                                             TableInfo info,
                                                                             std::uint64_t store_id,
                                                                             BlockCache* cache) {
  const std::string path = directory + "/" + table_file_name(info.number);
  std::shared_ptr<SSTableReader> reader(new SSTableReader(shard, std::move(info), store_id, cache));
  core::Status loaded = co_await reader->load(path);
  if (!loaded) {
    co_await reader->close();
    co_return std::unexpected(std::move(loaded).error());
  }
  co_return reader;
}

core::Task<core::Status> SSTableReader::load(const std::string& path) {
  auto file = co_await core::File::open(shard_, path, core::open_flags::read);
  if (!file) {
    const bool missing = file.error().code == core::Errc::not_found;
    co_return core::fail(missing ? core::Errc::corruption : file.error().code,
                         fmt::format("{}, although the manifest names it", file.error().message));
  }
  file_ = std::move(*file);
  SENTINEL_CO_TRY(stat, co_await core::stat_path(shard_, path));
  if (stat.size_bytes != info_.size_bytes || stat.size_bytes < kTableFooterBytes) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("{} has {} bytes, the manifest says {}", path, stat.size_bytes,
                                     info_.size_bytes));
  }
  TableHandle index;
  TableHandle properties;
  SENTINEL_CO_CHECK(co_await check_footer(index, properties));
  SENTINEL_CO_TRY(index_block, co_await read_part(index));
  index_ = std::move(index_block);
  data_end_ = index.offset;
  SENTINEL_CO_TRY(stored, co_await read_part(properties));
  // The manifest may have moved the table to another level since.
  TableInfo expected = info_;
  expected.level = 0;
  const core::Bytes encoded = core::encode_fields(expected);
  if (stored.size() < encoded.size() ||
      !core::equal(stored.view().first(encoded.size()), encoded.view())) {
    co_return malformed(properties.offset);
  }
  co_return core::Status();
}

core::Task<core::Status> SSTableReader::check_footer(TableHandle& index, TableHandle& properties) {
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
  fields(index);
  fields(properties);
  const core::ByteSpan covered = footer.first(kTableFooterBytes - kTableCrcBytes);
  if (magic != kTableMagic || core::crc32c(covered) != reader.u32()) co_return malformed(offset);
  // Only behind the checksum: a flipped version is damage. So the footer keeps its layout in all
  // formats.
  if (version > kFormatVersion) {
    co_return core::fail(core::Errc::newer_format,
                         fmt::format("{} has format {}, this release reads up to {}", file_.path(),
                                     version, kFormatVersion));
  }
  if (found_store != store_id_ || found_number != info_.number.value()) {
    co_return core::fail(
        core::Errc::corruption,
        fmt::format("{} belongs to another store, or has another's name", file_.path()));
  }
  co_return core::Status();
}

core::Task<core::Result<core::Bytes>> SSTableReader::read_block(TableHandle handle) const {
  if (cache_ == nullptr) co_return co_await read_part(handle);
  const BlockKey key{.store_id = store_id_, .file = info_.number, .offset = handle.offset};
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

core::Task<core::Result<core::Bytes>> SSTableReader::read_part(TableHandle handle) const {
  const std::uint64_t end = info_.size_bytes - kTableFooterBytes;
  if (handle.length > kTablePartBytesMax || handle.offset > end ||
      handle.length + kTableCrcBytes > end - handle.offset) {
    co_return malformed(handle.offset);
  }
  core::Buffer buffer = core::Buffer::allocate(handle.length + kTableCrcBytes);
  SENTINEL_CO_CHECK(
      co_await file_.read_exactly(handle.offset, {buffer.data(), handle.length + kTableCrcBytes}));
  const core::ByteSpan content(buffer.data(), handle.length);
  if (table_part_crc(content, handle.offset, info_.number) !=
      core::load_be<std::uint32_t>(buffer.data() + handle.length)) {
    co_return core::fail(
        core::Errc::corruption,
        fmt::format("{} is damaged at offset {}: wrong checksum", file_.path(), handle.offset));
  }
  co_return buffer.slice(0, handle.length);
}

std::unexpected<core::Error> SSTableReader::malformed(std::uint64_t offset) const {
  return core::fail(core::Errc::corruption,
                    fmt::format("{} is damaged at offset {}", file_.path(), offset));
}

core::Task<void> SSTableReader::close() { co_await file_.close(); }

SSTableCursor::SSTableCursor(std::shared_ptr<const SSTableReader> table)
    : table_(std::move(table)), index_(table_->index()) {}

void SSTableCursor::leave() {
  block_ = BlockCursor();
  block_offset_ = kNoBlock;
}

/// Makes block_ the one that the index cursor stands at; one that is loaded already is not read
/// again.
core::Task<core::Status> SSTableCursor::load_block() {
  if (!index_.valid()) {
    leave();
    if (index_.corrupt()) co_return table_->malformed(table_->info().size_bytes);
    co_return core::Status();
  }
  auto handle = core::decode_fields<TableHandle>(index_.value());
  if (handle && handle->offset == block_offset_) co_return core::Status();
  leave();
  if (!handle) co_return table_->malformed(table_->info().size_bytes);
  auto content = co_await table_->read_block(*handle);
  if (!content) co_return std::unexpected(std::move(content).error());
  block_ = BlockCursor(std::move(*content));
  block_offset_ = handle->offset;
  co_return core::Status();
}

/// A block whose checksum holds may still not fit the index; then it was written wrongly.
core::Status SSTableCursor::check(bool as_expected) {
  if (as_expected && !block_.corrupt()) return {};
  const std::uint64_t offset = block_offset_;
  leave();
  return table_->malformed(offset);
}

core::Task<core::Status> SSTableCursor::seek(const SeekTarget& target) {
  if (target.is_before(core::as_bytes(table_->info().largest_key))) {
    leave();
    co_return core::Status();
  }
  index_.seek(target);
  SENTINEL_CO_CHECK(co_await load_block());
  // The table reaches the target, so its index has to.
  if (!index_.valid()) co_return table_->malformed(table_->info().size_bytes);
  block_.seek(target);
  co_return check(block_.valid());
}

core::Task<core::Status> SSTableCursor::seek_to_last_before(const SeekTarget& target) {
  if (!target.is_before(core::as_bytes(table_->info().smallest_key))) {
    leave();
    co_return core::Status();
  }
  // The first block that reaches the target may begin before it.
  index_.seek(target);
  if (index_.valid()) {
    SENTINEL_CO_CHECK(co_await load_block());
    block_.seek_to_last_before(target);
    SENTINEL_CO_CHECK(check(true));
    if (block_.valid()) co_return core::Status();
  }
  index_.seek_to_last_before(target);
  SENTINEL_CO_CHECK(co_await load_block());
  if (!index_.valid()) co_return table_->malformed(table_->info().size_bytes);
  block_.seek_to_last();
  co_return check(block_.valid() && target.is_before(block_.key()));
}

bool SSTableCursor::try_next() {
  block_.next();
  return block_.valid();
}

core::Task<core::Status> SSTableCursor::next_block() {
  SENTINEL_CO_CHECK(check(true));
  const core::Bytes last_key = core::Bytes::copy(block_.key());
  const EntryTag last_tag = block_.tag();
  index_.next();
  SENTINEL_CO_CHECK(co_await load_block());
  if (!index_.valid()) co_return core::Status();
  block_.seek_to_first();
  co_return check(block_.valid() && is_after(block_.key(), block_.tag(), last_key, last_tag));
}

}  // namespace sentinel::lsm
