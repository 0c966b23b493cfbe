#include "lsm/sstable_writer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "core/codec.h"
#include "core/sync.h"
#include "lsm/bloom.h"
#include "lsm/manifest.h"

namespace sentinel::lsm {

namespace {
constexpr std::size_t kWriteBytes = std::size_t{1} << 20;
// About 100 us of building between two chances for others: bytes copied, and as many for each entry
// as it costs.
constexpr std::size_t kWorkPerYield = std::size_t{256} << 10;
constexpr std::size_t kWorkPerEntry = 256;
// Smaller ones share a block with the next group.
constexpr std::size_t kBlockAtGroupEndBytes = 512;
}  // namespace

SSTableWriter::SSTableWriter(core::Shard& shard, Options options, FileNumber number)
    : shard_(shard), options_(std::move(options)), out_(kWriteBytes) {
  made_.info.number = number;
}

SSTableWriter::~SSTableWriter() = default;

core::Task<core::Result<std::unique_ptr<SSTableWriter>>> SSTableWriter::create(core::Shard& shard,
                                                                               Options options,
                                                                               FileNumber number) {
  std::unique_ptr<SSTableWriter> writer(new SSTableWriter(shard, std::move(options), number));
  auto file = co_await core::File::open_direct(
      shard, writer->options_.directory + "/" + temporary_file_name(number),
      core::open_flags::write | core::open_flags::create | core::open_flags::truncate);
  if (!file) co_return std::unexpected(std::move(file).error());
  writer->file_ = std::move(*file);
  co_return writer;
}

core::Task<core::Status> SSTableWriter::add(core::ByteSpan key, EntryTag tag,
                                            core::ByteSpan value) {
  if (!block_.empty() && ends_block(key)) {
    SENTINEL_CO_CHECK(co_await close_block());
    group_begin_ = end();
  }
  if (block_.empty()) {
    const bool in_order =
        blocks_.empty() ||
        is_after(key, tag, core::as_bytes(blocks_.back().last_key), blocks_.back().last_tag);
    SENTINEL_ASSERT(in_order, "entries out of order");
    open_ = BlockInfo();
    open_.first_key = core::as_text(key);
    open_.smallest_sequence = open_.largest_sequence = tag.sequence;
  }
  open_.smallest_sequence = std::min(open_.smallest_sequence, tag.sequence);
  open_.largest_sequence = std::max(open_.largest_sequence, tag.sequence);
  open_.tombstone_count += tag.kind == EntryKind::tombstone ? 1 : 0;
  ++open_.entry_count;
  const bool other_key = block_.empty() || compare_keys(key, block_.last_key()) != 0;
  if (other_key && is_filtered(key)) open_.key_hashes.push_back(bloom_hash(key));
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

bool SSTableWriter::is_filtered(core::ByteSpan key) const {
  const auto& from = options_.runs.filters_from;
  return from.has_value() && compare_keys(key, core::as_bytes(*from)) >= 0;
}

/// A block ends where a group does that will have runs of its own, and otherwise unless it is tiny.
bool SSTableWriter::ends_block(core::ByteSpan next_key) const {
  const std::string_view next = core::as_text(next_key);
  const std::string_view last = core::as_text(block_.last_key());
  const std::size_t group_bytes = options_.runs.group_bytes;
  if (group_of(next, group_bytes) == group_of(last, group_bytes)) return false;
  return block_.size_bytes() >= kBlockAtGroupEndBytes ||
         data_bytes() - group_begin_ >= options_.runs.own_bytes;
}

core::Task<core::Status> SSTableWriter::close_block() {
  if (block_.empty()) co_return core::Status();
  SENTINEL_CO_TRY(handle, co_await append_part(block_.finish()));
  open_.handle = handle;
  open_.last_key = core::as_text(block_.last_key());
  open_.last_tag = block_.last_tag();
  blocks_.push_back(std::move(open_));
  block_.clear();
  co_return core::Status();
}

core::Task<core::Result<TableHandle>> SSTableWriter::append_part(core::ByteSpan content) {
  const TableHandle handle{.offset = end(), .length = core::narrow<std::uint32_t>(content.size())};
  std::array<std::byte, kTableCrcBytes> crc;
  core::store_be(crc.data(), table_part_crc(content, handle.offset, made_.info.number));
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

core::Task<core::Result<NewTable>> SSTableWriter::finish() {
  core::Status completed = co_await complete();
  if (!completed) {
    co_await abandon();
    co_return std::unexpected(std::move(completed).error());
  }
  co_return std::move(made_);
}

core::Task<core::Status> SSTableWriter::complete() {
  SENTINEL_CO_CHECK(co_await close_block());
  SENTINEL_ASSERT(!blocks_.empty());
  const std::vector<std::size_t> starts = plan_runs(blocks_, options_.runs);
  for (std::size_t i = 0; i < starts.size(); ++i) {
    const std::size_t behind = i + 1 < starts.size() ? starts[i + 1] : blocks_.size();
    SENTINEL_CO_CHECK(co_await append_run(starts[i], behind));
  }
  SENTINEL_CO_TRY(properties, co_await append_properties());
  SENTINEL_CO_CHECK(co_await append_footer(properties));
  SENTINEL_CO_CHECK(co_await file_.sync_all());
  co_await file_.close();
  const FileNumber number = made_.info.number;
  SENTINEL_CO_CHECK(
      co_await core::rename_file(shard_, options_.directory + "/" + temporary_file_name(number),
                                 options_.directory + "/" + table_file_name(number)));
  co_return co_await core::sync_directory(shard_, options_.directory);
}

/// Writes the filter, if it is to have one, and the index of a run, and describes the run.
core::Task<core::Status> SSTableWriter::append_run(std::size_t first_block, std::size_t end_block) {
  const BlockInfo& first = blocks_[first_block];
  const BlockInfo& last = blocks_[end_block - 1];
  RunInfo run;
  run.id = {.file = made_.info.number, .ordinal = core::narrow<std::uint32_t>(made_.runs.size())};
  run.data_begin = first.handle.offset;
  run.data_end = last.handle.offset + last.handle.length + kTableCrcBytes;
  run.smallest_key = first.first_key;
  run.largest_key = last.last_key;
  run.smallest_sequence = first.smallest_sequence;
  BlockBuilder index;
  core::ByteWriter encoded;
  for (std::size_t i = first_block; i < end_block; ++i) {
    const BlockInfo& block = blocks_[i];
    run.entry_count += block.entry_count;
    run.tombstone_count += block.tombstone_count;
    run.smallest_sequence = std::min(run.smallest_sequence, block.smallest_sequence);
    run.largest_sequence = std::max(run.largest_sequence, block.largest_sequence);
    encoded.clear();
    core::encode_fields(encoded, block.handle);
    index.add(core::as_bytes(block.last_key), block.last_tag, encoded.view());
  }
  if (is_filtered(core::as_bytes(run.smallest_key))) {
    SENTINEL_CO_TRY(filter, co_await append_filter(first_block, end_block));
    run.filter = filter;
  }
  SENTINEL_CO_TRY(handle, co_await append_part(index.finish()));
  run.index = handle;
  made_.runs.push_back(std::move(run));
  co_return core::Status();
}

core::Task<core::Result<TableHandle>> SSTableWriter::append_filter(std::size_t first_block,
                                                                   std::size_t end_block) {
  std::vector<std::uint64_t> hashes;
  for (std::size_t i = first_block; i < end_block; ++i)
    hashes.insert(hashes.end(), blocks_[i].key_hashes.begin(), blocks_[i].key_hashes.end());
  const std::vector<std::byte> filter = build_bloom(hashes);
  co_return co_await append_part(filter);
}

/// Padded, so that the file ends with a whole block. The size, fixed-width, is filled in once it is
/// known: it does not change the length.
core::Task<core::Result<TableHandle>> SSTableWriter::append_properties() {
  core::ByteWriter properties;
  core::encode_fields(properties, made_);
  const std::uint64_t least = end() + properties.size() + kTableCrcBytes + kTableFooterBytes;
  made_.info.size_bytes =
      (least + kTableFileAlignment - 1) / kTableFileAlignment * kTableFileAlignment;
  properties.clear();
  core::encode_fields(properties, made_);
  properties.extend(made_.info.size_bytes - least);
  co_return co_await append_part(properties.view());
}

core::Task<core::Status> SSTableWriter::append_footer(TableHandle properties) {
  core::ByteWriter footer;
  footer.u64(kTableMagic);
  footer.u32(kFormatVersion);
  footer.u64(options_.store_id);
  footer.u64(made_.info.number.value());
  core::encode_fields(footer, properties);
  footer.u32(core::crc32c(footer.view()));
  SENTINEL_ASSERT(footer.size() == kTableFooterBytes);
  SENTINEL_CO_CHECK(co_await append(footer.view()));
  if (filled_ == 0) co_return core::Status();
  co_return co_await write_out();
}

core::Task<void> SSTableWriter::abandon() {
  co_await file_.close();
  const core::Status removed = co_await core::unlink_file(
      shard_, options_.directory + "/" + temporary_file_name(made_.info.number));
  static_cast<void>(removed.has_value());
}

}  // namespace sentinel::lsm
