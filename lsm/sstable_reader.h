#pragma once
/// Reads one SSTable (lsm/sstable_format.h). Every part is verified when it is read; errors name
/// file and offset.

#include <memory>
#include <string>

#include "core/io.h"
#include "lsm/block.h"
#include "lsm/block_cache.h"
#include "lsm/sstable_format.h"
#include "lsm/table_info.h"

namespace sentinel::lsm {

class SSTableReader {
 public:
  /// Opens the table that the manifest describes as `info`, and loads its index. Errc::corruption
  /// for a file that is missing, has another size, belongs elsewhere or fails a checksum;
  /// newer_format.
  /// `cache` outlives the reader; null for none.
  static core::Task<core::Result<std::shared_ptr<SSTableReader>>> open(core::Shard& shard,
                                                                       std::string directory,
                                                                       TableInfo info,
                                                                       std::uint64_t store_id,
                                                                       BlockCache* cache = nullptr);
  ~SSTableReader();

  [[nodiscard]] const TableInfo& info() const { return info_; }
  [[nodiscard]] const core::Bytes& index() const { return index_; }
  [[nodiscard]] const std::string& path() const { return file_.path(); }
  /// Where the data blocks end and the index begins.
  [[nodiscard]] std::uint64_t data_end() const { return data_end_; }
  /// The verified content of a data block, from the cache or the file.
  core::Task<core::Result<core::Bytes>> read_block(TableHandle handle) const;
  /// The error for a block whose checksum holds but whose content makes no sense.
  [[nodiscard]] std::unexpected<core::Error> malformed(std::uint64_t offset) const;
  /// By the one who opened it, when nobody reads any more.
  core::Task<void> close();

 private:
  SSTableReader(core::Shard& shard, TableInfo info, std::uint64_t store_id, BlockCache* cache)
      : shard_(shard), info_(std::move(info)), store_id_(store_id), cache_(cache) {}
  core::Task<core::Status> load(const std::string& path);
  core::Task<core::Status> check_footer(TableHandle& index, TableHandle& properties);
  core::Task<core::Result<core::Bytes>> read_part(TableHandle handle) const;

  core::Shard& shard_;
  const TableInfo info_;
  const std::uint64_t store_id_;
  BlockCache* const cache_;
  core::File file_;
  core::Bytes index_;
  std::uint64_t data_end_ = 0;
};

/// A walk over one table. Stepping within a loaded block does not wait; crossing into the next one
/// does.
class SSTableCursor {
 public:
  explicit SSTableCursor(std::shared_ptr<const SSTableReader> table);

  /// The first entry whose key is not before the target.
  core::Task<core::Status> seek(const SeekTarget& target);
  /// The last entry whose key is before the target.
  core::Task<core::Status> seek_to_last_before(const SeekTarget& target);
  /// Steps on within the block; false when the next one has to be loaded first, with next_block().
  bool try_next();
  core::Task<core::Status> next_block();

  [[nodiscard]] bool valid() const { return block_.valid(); }
  [[nodiscard]] core::ByteSpan key() const { return block_.key(); }
  [[nodiscard]] EntryTag tag() const { return block_.tag(); }
  [[nodiscard]] core::ByteSpan value() const { return block_.value(); }
  [[nodiscard]] core::Bytes value_bytes() const { return block_.value_bytes(); }

 private:
  static constexpr std::uint64_t kNoBlock = UINT64_MAX;

  void leave();
  core::Task<core::Status> load_block();
  [[nodiscard]] core::Status check(bool as_expected);

  std::shared_ptr<const SSTableReader> table_;
  BlockCursor index_;
  BlockCursor block_;
  std::uint64_t block_offset_ = kNoBlock;  // Of the block that block_ walks over.
};

}  // namespace sentinel::lsm
