#include "lsm/run_cursor.h"

#include <algorithm>

#include "core/codec.h"

namespace sentinel::lsm {

namespace {
// Less than this is not worth a buffer of ReadAhead.
constexpr std::size_t kWindowBytesMin = std::size_t{128} << 10;
}  // namespace

void RunCursor::leave() {
  block_ = BlockCursor();
  block_offset_ = kNoBlock;
}

core::Task<core::Status> RunCursor::load_index() {
  if (index_loaded_) co_return core::Status();
  SENTINEL_CO_TRY(content, co_await run_->file->read_block(info().index));
  index_ = BlockCursor(std::move(content));
  index_loaded_ = true;
  co_return core::Status();
}

/// Makes block_ the one that the index cursor stands at; one that is loaded already is not read
/// again.
core::Task<core::Status> RunCursor::load_block() {
  if (!index_.valid()) {
    leave();
    if (index_.corrupt()) co_return run_->file->malformed(info().index.offset);
    co_return core::Status();
  }
  auto handle = core::decode_fields<TableHandle>(index_.value());
  if (handle && handle->offset == block_offset_) co_return core::Status();
  leave();
  if (!handle) co_return run_->file->malformed(info().index.offset);
  SENTINEL_CO_TRY(content, co_await fetch(*handle));
  block_ = BlockCursor(std::move(content));
  block_offset_ = handle->offset;
  co_return core::Status();
}

core::Task<core::Result<core::Bytes>> RunCursor::fetch(TableHandle handle) {
  const TableFile& file = *run_->file;
  if (options_.read_ahead_bytes == 0) co_return co_await file.read_block(handle);
  const std::uint64_t end = handle.offset + handle.length + kTableCrcBytes;
  const bool is_ahead = handle.offset >= ahead_offset_ && end <= ahead_offset_ + ahead_.size();
  if (!is_ahead) {
    if (file.cache() != nullptr) {
      if (auto cached = file.cache()->find(file.cache_key(handle.offset))) co_return *cached;
    }
    SENTINEL_CO_CHECK(co_await read_on(handle));
  }
  auto content = file.part_of(ahead_, ahead_offset_, handle);
  const bool last = end == ahead_offset_ + ahead_.size();
  // Whoever reads on begins in the block in which this reader ends.
  if (last && in_window_) {
    file.leave_window(ahead_offset_);
  } else if (content && last && file.cache() != nullptr) {
    file.cache()->insert(file.cache_key(handle.offset), core::Bytes::copy(*content));
  }
  co_return content;
}

/// Reads the block, and what follows it as far as the read-ahead goes, into ahead_.
core::Task<core::Status> RunCursor::read_on(TableHandle handle) {
  const TableFile& file = *run_->file;
  const std::uint64_t begin = handle.offset;
  const std::uint64_t bytes_max =
      std::min<std::uint64_t>(options_.read_ahead_bytes, options_.wanted_bytes);
  const std::uint64_t end = end_of_stretch(index_, begin, bytes_max);
  const std::uint64_t block_end = begin + handle.length + kTableCrcBytes;
  if (options_.wanted_bytes != UINT64_MAX)
    options_.wanted_bytes -= std::min(options_.wanted_bytes, end - begin);
  ahead_ = {};
  ahead_offset_ = begin;
  in_window_ = options_.keep_ahead && file.read_ahead() != nullptr &&
               file.read_ahead()->fits(begin, end) &&
               (options_.wanted_bytes == UINT64_MAX || end - begin >= kWindowBytesMin);
  // While its memory is used up, reading goes on block by block.
  const bool short_of_memory =
      in_window_ && !file.begin_window(begin, block_end, end, ReadAhead::Need::now);
  if (!in_window_ || short_of_memory) {
    in_window_ = false;
    const std::uint64_t read_end = short_of_memory ? block_end : std::max(end, block_end);
    SENTINEL_CO_TRY(range, co_await file.read_range(begin, read_end - begin));
    ahead_ = std::move(range);
    co_return core::Status();
  }
  SENTINEL_CO_TRY(stretch, co_await file.read_window(begin, block_end));
  ahead_ = std::move(stretch.bytes);
  ahead_offset_ = stretch.offset;
  co_return core::Status();
}

/// A block whose checksum holds may still not fit the index; then it was written wrongly.
core::Status RunCursor::check(bool as_expected) {
  if (as_expected && !block_.corrupt()) return {};
  const std::uint64_t offset = block_offset_;
  leave();
  return run_->file->malformed(offset);
}

core::Task<core::Status> RunCursor::seek(const SeekTarget& target) {
  if (target.is_before(core::as_bytes(info().largest_key))) {
    leave();
    co_return core::Status();
  }
  SENTINEL_CO_CHECK(co_await load_index());
  index_.seek(target);
  SENTINEL_CO_CHECK(co_await load_block());
  // The table reaches the target, so its index has to.
  if (!index_.valid()) co_return run_->file->malformed(info().index.offset);
  block_.seek(target);
  co_return check(block_.valid());
}

bool RunCursor::try_seek(const SeekTarget& target) {
  leave();
  if (target.is_before(core::as_bytes(info().largest_key))) return true;
  const TableFile& file = *run_->file;
  if (!index_loaded_) {
    auto index = file.cached_block(info().index);
    if (!index) return false;
    index_ = BlockCursor(std::move(*index));
    index_loaded_ = true;
  }
  index_.seek(target);
  if (!index_.valid()) return false;
  const auto handle = core::decode_fields<TableHandle>(index_.value());
  if (!handle) return false;
  auto content = file.cached_block(*handle);
  if (!content) return false;
  block_ = BlockCursor(std::move(*content));
  block_offset_ = handle->offset;
  block_.seek(target);
  if (block_.valid()) return true;
  leave();
  return false;
}

core::Task<core::Status> RunCursor::seek_to_last_before(const SeekTarget& target) {
  if (!target.is_before(core::as_bytes(info().smallest_key))) {
    leave();
    co_return core::Status();
  }
  SENTINEL_CO_CHECK(co_await load_index());
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
  if (!index_.valid()) co_return run_->file->malformed(info().index.offset);
  block_.seek_to_last();
  co_return check(block_.valid() && target.is_before(block_.key()));
}

bool RunCursor::try_next() {
  block_.next();
  return block_.valid();
}

core::Task<core::Status> RunCursor::next_block() {
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
