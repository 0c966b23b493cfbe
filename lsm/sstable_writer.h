#pragma once
/// Writes one SSTable (lsm/sstable_format.h): entries in, a finished and named file out.
///
/// The file is written past the page cache, in large pieces: copying it there costs more than all
/// the rest, and would push out what consumers read.

#include <memory>
#include <string>

#include "core/aligned_memory.h"
#include "core/io.h"
#include "lsm/block.h"
#include "lsm/sstable_format.h"
#include "lsm/table_info.h"

namespace sentinel::lsm {

class SSTableWriter {
 public:
  /// Begins a table under its temporary name.
  static core::Task<core::Result<std::unique_ptr<SSTableWriter>>> create(core::Shard& shard,
                                                                         std::string directory,
                                                                         FileNumber number,
                                                                         std::uint64_t store_id);
  ~SSTableWriter();

  /// Adds an entry; entries come in order. Waits only when a buffer is full, and lets others run
  /// now and then.
  core::Task<core::Status> add(core::ByteSpan key, EntryTag tag, core::ByteSpan value);
  /// Completes the file, makes it durable and gives it its name. At least one entry was added.
  core::Task<core::Result<TableInfo>> finish();
  /// Gives up: closes and removes the file. After an error, instead of finish().
  core::Task<void> abandon();

 private:
  SSTableWriter(core::Shard& shard, std::string directory, FileNumber number,
                std::uint64_t store_id);
  core::Task<core::Status> close_block();
  core::Task<core::Result<TableHandle>> append_part(core::ByteSpan content);
  core::Task<core::Status> append(core::ByteSpan bytes);
  core::Task<core::Status> write_out();
  [[nodiscard]] std::uint64_t end() const { return written_bytes_ + filled_; }
  core::Task<core::Status> complete();

  core::Shard& shard_;
  const std::string directory_;
  const std::uint64_t store_id_;
  core::File file_;
  TableInfo info_;
  BlockBuilder block_;
  BlockBuilder index_;
  core::AlignedMemory out_;  // Finished parts on their way to the file.
  std::size_t filled_ = 0;
  std::uint64_t written_bytes_ = 0;  // Before what is in out_.
  std::size_t work_since_yield_ = 0;
};

}  // namespace sentinel::lsm
