#include "lsm/sstable_writer.h"

#include <algorithm>

#include "core/codec.h"
#include "core/sync.h"
#include "lsm/manifest.h"

namespace sentinel::lsm {

namespace {
constexpr std::size_t kWriteBytes = std::size_t{1} << 20;
// About 100 us of building between two chances for others: bytes copied, and as many for each entry
// as it costs.
constexpr std::size_t kWorkPerYield = std::size_t{256} << 10;
constexpr std::size_t kWorkPerEntry = 256;
}  // namespace

SSTableWriter::SSTableWriter(core::Shard& shard, std::string directory, FileNumber number,
                             std::uint64_t store_id)
    : shard_(shard), directory_(std::move(directory)), store_id_(store_id) {
  info_.number = number;
}

SSTableWriter::~SSTableWriter() = default;

core::Task<core::Result<std::unique_ptr<SSTableWriter>>> SSTableWriter::create(
    core::Shard& shard, std::string directory, FileNumber number, std::uint64_t store_id) {
  std::unique_ptr<SSTableWriter> writer(
      new SSTableWriter(shard, std::move(directory), number, store_id));
  auto file = co_await core::File::open(
      shard, writer->directory_ + "/" + temporary_file_name(number),
      core::open_flags::write | core::open_flags::create | core::open_flags::truncate);
  if (!file) co_return std::unexpected(std::move(file).error());
  writer->file_ = std::move(*file);
  co_return writer;
}

core::Task<core::Status> SSTableWriter::add(core::ByteSpan key, EntryTag tag,
                                            core::ByteSpan value) {
  if (info_.entry_count == 0) {
    info_.smallest_key = core::as_text(key);
    info_.smallest_sequence = tag.sequence;
  }
  info_.largest_key = core::as_text(key);
  info_.smallest_sequence = std::min(info_.smallest_sequence, tag.sequence);
  info_.largest_sequence = std::max(info_.largest_sequence, tag.sequence);
  ++info_.entry_count;
  if (block_.empty() && info_.entry_count > 1) {
    SENTINEL_ASSERT(is_after(key, tag, index_.last_key(), index_.last_tag()),
                    "entries out of order");
  }
  block_.add(key, tag, value);
  if (block_.size_bytes() >= kTableBlockBytes) {
    close_block();
    if (out_.size() >= kWriteBytes) {
      SENTINEL_CO_CHECK(co_await write_out());
    }
  }
  work_since_yield_ += value.size() + kWorkPerEntry;
  if (work_since_yield_ >= kWorkPerYield) {
    work_since_yield_ = 0;
    co_await core::yield(shard_);
  }
  co_return core::Status();
}

void SSTableWriter::close_block() {
  if (block_.empty()) return;
  const TableHandle handle = append_part(block_.finish());
  core::ByteWriter encoded;
  core::encode_fields(encoded, handle);
  index_.add(block_.last_key(), block_.last_tag(), encoded.view());
  block_.clear();
}

TableHandle SSTableWriter::append_part(core::ByteSpan content) {
  const TableHandle handle{.offset = written_bytes_ + out_.size(),
                           .length = core::narrow<std::uint32_t>(content.size())};
  const std::uint32_t crc = table_part_crc(content, handle.offset, info_.number);
  out_.bytes(content);
  out_.u32(crc);
  return handle;
}

core::Task<core::Status> SSTableWriter::write_out() {
  SENTINEL_CO_CHECK(co_await file_.write(written_bytes_, out_.view()));
  written_bytes_ += out_.size();
  out_.clear();
  co_return core::Status();
}

core::Task<core::Result<TableInfo>> SSTableWriter::finish() {
  core::Status completed = co_await complete();
  if (!completed) {
    co_await abandon();
    co_return std::unexpected(std::move(completed).error());
  }
  co_return info_;
}

core::Task<core::Status> SSTableWriter::complete() {
  SENTINEL_ASSERT(info_.entry_count > 0);
  close_block();
  const TableHandle index = append_part(index_.finish());
  const std::uint64_t end = written_bytes_ + out_.size();
  core::ByteWriter properties;
  core::encode_fields(
      properties,
      info_);  // The size, fixed-width, is filled in next: it does not change the length.
  info_.size_bytes = end + properties.size() + kTableCrcBytes + kTableFooterBytes;
  properties.clear();
  core::encode_fields(properties, info_);
  const TableHandle properties_at = append_part(properties.view());
  core::ByteWriter footer;
  footer.u64(kTableMagic);
  footer.u32(kFormatVersion);
  footer.u64(store_id_);
  footer.u64(info_.number.value());
  core::encode_fields(footer, index);
  core::encode_fields(footer, properties_at);
  footer.u32(core::crc32c(footer.view()));
  SENTINEL_ASSERT(footer.size() == kTableFooterBytes);
  out_.bytes(footer.view());
  SENTINEL_CO_CHECK(co_await write_out());
  SENTINEL_CO_CHECK(co_await file_.sync_all());
  co_await file_.close();
  SENTINEL_CO_CHECK(co_await core::rename_file(shard_,
                                               directory_ + "/" + temporary_file_name(info_.number),
                                               directory_ + "/" + table_file_name(info_.number)));
  co_return co_await core::sync_directory(shard_, directory_);
}

core::Task<void> SSTableWriter::abandon() {
  co_await file_.close();
  const core::Status removed =
      co_await core::unlink_file(shard_, directory_ + "/" + temporary_file_name(info_.number));
  static_cast<void>(removed.has_value());
}

}  // namespace sentinel::lsm
