#include "lsm/log_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace sentinel::lsm {

namespace {
constexpr std::uint64_t kChunkBlocks = 256;
constexpr std::size_t kReadStreamKeptMax = std::size_t{1} << 18;
}  // namespace

LogReader::LogReader(const core::File& file, FileNumber number, std::uint64_t size_bytes)
    : file_(file),
      generation_(static_cast<std::uint32_t>(number.value())),
      block_count_(size_bytes / kLogBlockBytes) {}

core::Task<core::Result<std::optional<LogRecord>>> LogReader::next() {
  for (;;) {
    if (auto record = cut_record()) co_return record;
    if (record_length_bad_)
      co_return damaged(block_index_ - 1, "a record with an impossible length");
    if (ended_) co_return std::nullopt;
    SENTINEL_CO_TRY(more, co_await next_block());
    if (!more) {
      ended_ = true;
      end_.torn_bytes += stream_.size() - stream_read_;
    }
  }
}

std::optional<LogRecord> LogReader::cut_record() {
  core::ByteReader reader(stream_.view().subspan(stream_read_));
  if (reader.remaining() < kLogRecordHeaderBytes) return std::nullopt;
  const std::uint32_t length = reader.u32();
  const std::uint8_t type = reader.u8();
  if (length > kLogRecordBytesMax) {
    record_length_bad_ = true;
    return std::nullopt;
  }
  if (reader.remaining() < length) return std::nullopt;
  LogRecord record{type, core::Bytes::copy(reader.take(length))};
  stream_read_ += reader.consumed();
  if (stream_read_ == stream_.size()) {
    stream_.clear();
    stream_read_ = 0;
  }
  return record;
}

core::Task<core::Result<bool>> LogReader::next_block() {
  if (block_index_ == block_count_) {
    end_.offset = block_index_ * kLogBlockBytes;
    co_return false;
  }
  if (block_index_ >= chunk_first_block_ + chunk_blocks_) {
    SENTINEL_CO_CHECK(co_await load_chunk());
  }
  BlockHeader header;
  const core::ByteSpan block = block_at(block_index_);
  const BlockState state =
      classify_block(block, generation_, static_cast<std::uint32_t>(block_index_), header);
  if (state == BlockState::valid && continues(header)) {
    if (stream_read_ > kReadStreamKeptMax) {
      core::ByteWriter unread;
      unread.bytes(stream_.view().subspan(stream_read_));
      stream_ = std::move(unread);
      stream_read_ = 0;
    }
    append_payload(block, header, stream_);
    last_ = header;
    ++block_index_;
    co_return true;
  }
  const bool in_write = last_.blocks_left > 0;
  if (state == BlockState::valid &&
      header.write_number <= last_.write_number + (in_write ? 0 : 1)) {
    co_return damaged(block_index_, "a block out of order");
  }
  const std::uint32_t torn_write = in_write ? last_.write_number : last_.write_number + 1;
  SENTINEL_CO_CHECK(co_await judge_end(torn_write));
  co_return false;
}

bool LogReader::continues(const BlockHeader& header) const {
  if (last_.blocks_left > 0) {
    return header.write_number == last_.write_number && header.blocks_left + 1 == last_.blocks_left;
  }
  return header.write_number == last_.write_number + 1;
}

/// The block at block_index_ does not continue the log. Reads the rest of the file to tell a tear
/// from damage: a tear leaves nothing behind but blocks of its own write and unwritten ones.
core::Task<core::Status> LogReader::judge_end(std::uint32_t torn_write) {
  const std::uint64_t end_block = block_index_;
  // One past the last block that holds anything of the torn write.
  std::uint64_t behind_torn = end_block;
  for (std::uint64_t index = end_block; index < block_count_; ++index) {
    if (index >= chunk_first_block_ + chunk_blocks_ || index < chunk_first_block_) {
      block_index_ = index;
      SENTINEL_CO_CHECK(co_await load_chunk());
    }
    BlockHeader header;
    const BlockState state =
        classify_block(block_at(index), generation_, static_cast<std::uint32_t>(index), header);
    // Where no sector carries the file's generation nothing was written, but for the very next
    // block: there all of it may have decayed.
    const bool was_written = header.write_number > 0 || index == end_block;
    if (state == BlockState::damaged && was_written)
      co_return damaged(index, "it was written and has decayed");
    if (header.write_number > torn_write) {
      // One write is in flight at a time: this one began after the torn one was synced.
      co_return damaged(end_block, "damage before intact data");
    }
    if (state == BlockState::valid) {
      behind_torn = index + 1 + header.blocks_left;
    } else if (header.write_number == torn_write) {
      behind_torn = index + 1;
    }
  }
  end_.offset = end_block * kLogBlockBytes;
  end_.torn_bytes = (std::min(behind_torn, block_count_) - end_block) * kLogBlockBytes;
  co_return core::Status();
}

core::Task<core::Status> LogReader::load_chunk() {
  chunk_first_block_ = block_index_;
  chunk_blocks_ = std::min(kChunkBlocks, block_count_ - block_index_);
  // Slices handed out are copies, so the chunk is read over again.
  if (!chunk_) chunk_ = core::Buffer::allocate(kChunkBlocks * kLogBlockBytes);
  const core::Status status = co_await file_.read_exactly(
      block_index_ * kLogBlockBytes,
      {chunk_.data(), static_cast<std::size_t>(chunk_blocks_ * kLogBlockBytes)});
  co_return status;
}

core::ByteSpan LogReader::block_at(std::uint64_t block_index) const {
  return {chunk_.data() + (block_index - chunk_first_block_) * kLogBlockBytes, kLogBlockBytes};
}

std::unexpected<core::Error> LogReader::damaged(std::uint64_t block_index,
                                                std::string_view what) const {
  return core::fail(core::Errc::corruption,
                    fmt::format("{} is damaged at offset {}: {}", file_.path(),
                                block_index * kLogBlockBytes, what));
}

}  // namespace sentinel::lsm
