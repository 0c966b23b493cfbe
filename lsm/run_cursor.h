#pragma once
/// A walk over one run of a table file. Stepping within a loaded block does not wait; crossing into
/// the next one does.

#include "lsm/block.h"
#include "lsm/table_file.h"

namespace sentinel::lsm {

/// A run and the open file it lies in. Lives as long as a version that has it.
struct Run {
  std::shared_ptr<const RunInfo> info;
  const TableFile* file = nullptr;
};

/// How a cursor reads blocks that are not in the cache.
struct ReadOptions {
  /// Reads blocks that follow each other together, up to so many bytes at once. They pass by the
  /// cache: it is for what is read again. 0 reads block by block, into the cache.
  std::size_t read_ahead_bytes = 0;
  /// What will be taken altogether: no more is read ahead. Without a limit what is read ahead is
  /// sure to be wanted sometime.
  std::uint64_t wanted_bytes = UINT64_MAX;
  /// Keeps what was read together in the shard's memory for reading ahead (lsm/read_ahead.h), where
  /// the next cursor finds it: for streams that are read by one cursor after the other. While that
  /// memory is used up, blocks are read one by one.
  bool keep_ahead = false;
};

class RunCursor {
 public:
  /// `run` outlives the cursor.
  explicit RunCursor(const Run& run, ReadOptions options = {}) : run_(&run), options_(options) {}

  /// The first entry whose key is not before the target.
  core::Task<core::Status> seek(const SeekTarget& target);
  /// The same without waiting; false, and the cursor stands nowhere, when a block is not in the
  /// cache or there is something wrong with it: seek() then reads it, or says what.
  bool try_seek(const SeekTarget& target);
  /// The last entry whose key is before the target.
  core::Task<core::Status> seek_to_last_before(const SeekTarget& target);
  /// Steps on within the block; false when the next one has to be loaded first, with next_block().
  bool try_next();
  core::Task<core::Status> next_block();

  /// What is left of ReadOptions::wanted_bytes.
  [[nodiscard]] std::uint64_t still_wanted() const { return options_.wanted_bytes; }
  [[nodiscard]] const RunInfo& info() const { return *run_->info; }
  [[nodiscard]] bool valid() const { return block_.valid(); }
  [[nodiscard]] core::ByteSpan key() const { return block_.key(); }
  [[nodiscard]] EntryTag tag() const { return block_.tag(); }
  [[nodiscard]] core::ByteSpan value() const { return block_.value(); }
  [[nodiscard]] core::Bytes value_bytes() const { return block_.value_bytes(); }

 private:
  static constexpr std::uint64_t kNoBlock = UINT64_MAX;

  void leave();
  core::Task<core::Status> load_index();
  core::Task<core::Status> load_block();
  core::Task<core::Result<core::Bytes>> fetch(TableHandle handle);
  core::Task<core::Status> read_on(TableHandle handle);
  [[nodiscard]] core::Status check(bool as_expected);

  const Run* run_;
  ReadOptions options_;
  bool index_loaded_ = false;
  BlockCursor index_;
  BlockCursor block_;
  std::uint64_t block_offset_ = kNoBlock;  // Of the block that block_ walks over.
  core::Bytes ahead_;                      // Read ahead, from ahead_offset_ on.
  std::uint64_t ahead_offset_ = 0;
  bool in_window_ = false;  // ahead_ is kept by ReadAhead.
};

}  // namespace sentinel::lsm
