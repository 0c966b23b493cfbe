#include "lsm/sstable_writer.h"

#include <algorithm>
#include <array>
#include <utility>

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
    : shard_(shard), directory_(std::move(directory)), store_id_(store_id), out_(kWriteBytes) {
  info_.number = number;
}

SSTableWriter::~SSTableWriter() = default;

core::Task<core::Result<std::unique_ptr<SSTableWriter>>> SSTableWriter::create(
    core::Shard& shard, std::string directory, FileNumber number, std::uint64_t store_id) {
  std::unique_ptr<SSTableWriter> writer(
      new SSTableWriter(shard, std::move(directory), number, store_id));
  auto file = co_await core::File::open_direct(
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
    SENTINEL_CO_CHECK(co_await close_block());
  }
  work_since_yield_ += value.size() + kWorkPerEntry;
  if (work_since_yield_ >= kWorkPerYield) {
    work_since_yield_ = 0;
    co_await core::yield(shard_);
  }
  co_return core::Status();
}

core::Task<core::Status> SSTableWriter::close_block() {
  if (block_.empty()) co_return core::Status();
  SENTINEL_CO_TRY(handle, co_await append_part(block_.finish()));
  core::ByteWriter encoded;
  core::encode_fields(encoded, handle);
  index_.add(block_.last_key(), block_.last_tag(), encoded.view());
  block_.clear();
  co_return core::Status();
}

core::Task<core::Result<TableHandle>> SSTableWriter::append_part(core::ByteSpan content) {
  const TableHandle handle{.offset = end(), .length = core::narrow<std::uint32_t>(content.size())};
  std::array<std::byte, kTableCrcBytes> crc;
  core::store_be(crc.data(), table_part_crc(content, handle.offset, info_.number));
  SENTINEL_CO_CHECK(co_await append(content));
  SENTINEL_CO_CHECK(co_await append(crc));
  co_return handle;
}

core::Task<core::Status> SSTableWriter::append(core::ByteSpan bytes) {
  while (!bytes.empty()) {
    const std::size_t length = std::min(bytes.size(), out_.size() - filled_);
    std::memcpy(out_.data() + filled_, bytes.data(), length);
    filled_ += length;
    bytes = bytes.subspan(length);
    if (filled_ == out_.size()) {
      SENTINEL_CO_CHECK(co_await write_out());
    }
  }
  co_return core::Status();
}

core::Task<core::Status> SSTableWriter::write_out() {
  SENTINEL_CO_CHECK(co_await file_.write(written_bytes_, out_.part(0, filled_)));
  written_bytes_ += std::exchange(filled_, 0);
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
  SENTINEL_CO_CHECK(co_await close_block());
  SENTINEL_CO_TRY(index, co_await append_part(index_.finish()));
  // Padded, so that the file ends with a whole block. The size, fixed-width, is filled in next: it
  // does not change the length.
  core::ByteWriter properties;
  core::encode_fields(properties, info_);
  const std::uint64_t least = end() + properties.size() + kTableCrcBytes + kTableFooterBytes;
  info_.size_bytes = (least + kTableFileAlignment - 1) / kTableFileAlignment * kTableFileAlignment;
  properties.clear();
  core::encode_fields(properties, info_);
  properties.extend(info_.size_bytes - least);
  SENTINEL_CO_TRY(properties_at, co_await append_part(properties.view()));
  core::ByteWriter footer;
  footer.u64(kTableMagic);
  footer.u32(kFormatVersion);
  footer.u64(store_id_);
  footer.u64(info_.number.value());
  core::encode_fields(footer, index);
  core::encode_fields(footer, properties_at);
  footer.u32(core::crc32c(footer.view()));
  SENTINEL_ASSERT(footer.size() == kTableFooterBytes);
  SENTINEL_CO_CHECK(co_await append(footer.view()));
  if (filled_ > 0) {
    SENTINEL_CO_CHECK(co_await write_out());
  }
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
