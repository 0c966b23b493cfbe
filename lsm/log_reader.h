#pragma once
/// Reads a block log (lsm/block_log.h) from its start to where it ends, and says how it ends.

#include <memory>
#include <optional>
#include <string>

#include "core/io.h"
#include "lsm/block_log.h"
#include "lsm/format.h"

namespace sentinel::lsm {

struct LogRecord {
  std::uint8_t type = 0;
  core::Bytes body;
};

/// What stood behind the last whole record.
struct LogEnd {
  std::uint64_t offset = 0;  ///< Where in the file the end was found.
  std::uint64_t torn_bytes =
      0;  ///< Bytes of a last write that did not reach the disk completely, or of a cut record.
};

/// Sequential reader of one file. Errc::corruption names the file and the offset when something
/// that had been synced can't be read.
class LogReader {
 public:
  /// `file` outlives the reader. `size_bytes` is what the file is expected to have; a shorter file
  /// is damage.
  LogReader(const core::File& file, FileNumber number, std::uint64_t size_bytes);

  /// The next record, or nothing at the end of the log; end() is set then.
  core::Task<core::Result<std::optional<LogRecord>>> next();
  [[nodiscard]] const LogEnd& end() const { return end_; }

 private:
  core::Task<core::Status> load_chunk();
  core::Task<core::Result<bool>> next_block();
  core::Task<core::Status> judge_end(std::uint32_t torn_write);
  [[nodiscard]] bool continues(const BlockHeader& header) const;
  [[nodiscard]] std::unexpected<core::Error> damaged(std::uint64_t block_index,
                                                     std::string_view what) const;
  std::optional<LogRecord> cut_record();
  [[nodiscard]] core::ByteSpan block_at(std::uint64_t block_index) const;

  const core::File& file_;
  const std::uint32_t generation_;
  const std::uint64_t block_count_;

  core::Buffer chunk_;
  std::uint64_t chunk_first_block_ = 0;
  std::uint64_t chunk_blocks_ = 0;

  std::uint64_t block_index_ = 0;
  BlockHeader last_;  // The block read last; write number 0 before the first.
  core::ByteWriter stream_;
  std::size_t stream_read_ = 0;
  bool record_length_bad_ = false;
  bool ended_ = false;
  LogEnd end_;
};

}  // namespace sentinel::lsm
