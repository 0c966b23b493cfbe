#pragma once
/// Writes one SSTable (lsm/sstable_format.h): entries in, a finished and named file out.
///
/// The file is written past the page cache, in large pieces: copying it there costs more than all
/// the rest, and would push out what consumers read.

#include <memory>
#include <string>
#include <vector>

#include "core/aligned_memory.h"
#include "core/io.h"
#include "lsm/block.h"
#include "lsm/run_planner.h"
#include "lsm/sstable_format.h"

namespace sentinel::lsm {

class SSTableWriter {
 public:
  struct Options {
    std::string directory;
    std::uint64_t store_id = 0;
    RunRules runs;
  };

  /// Begins a table under its temporary name.
  static core::Task<core::Result<std::unique_ptr<SSTableWriter>>> create(core::Shard& shard,
                                                                         Options options,
                                                                         FileNumber number);
  ~SSTableWriter();

  /// Adds an entry; entries come in order. Waits only when a buffer is full, and lets others run
  /// now and then.
  core::Task<core::Status> add(core::ByteSpan key, EntryTag tag, core::ByteSpan value);
  /// Bytes of data so far.
  [[nodiscard]] std::uint64_t data_bytes() const { return end() + block_.size_bytes(); }
  /// Completes the file, makes it durable and gives it its name. At least one entry was added.
  core::Task<core::Result<NewTable>> finish();
  /// Gives up: closes and removes the file. After an error, instead of finish().
  core::Task<void> abandon();

 private:
  SSTableWriter(core::Shard& shard, Options options, FileNumber number);
  [[nodiscard]] bool ends_block(core::ByteSpan next_key) const;
  core::Task<core::Status> close_block();
  core::Task<core::Result<TableHandle>> append_part(core::ByteSpan content);
  core::Task<core::Status> append(core::ByteSpan bytes);
  core::Task<core::Status> write_out();
  [[nodiscard]] std::uint64_t end() const { return written_bytes_ + filled_; }
  core::Task<core::Status> complete();
  core::Task<core::Status> append_run(std::size_t first_block, std::size_t end_block);
  core::Task<core::Result<TableHandle>> append_filter(std::size_t first_block,
                                                      std::size_t end_block);
  [[nodiscard]] bool is_filtered(core::ByteSpan key) const;
  core::Task<core::Result<TableHandle>> append_properties();
  core::Task<core::Status> append_footer(TableHandle properties);

  core::Shard& shard_;
  const Options options_;
  core::File file_;
  NewTable made_;
  BlockBuilder block_;
  BlockInfo open_;  // What block_ holds.
  std::vector<BlockInfo> blocks_;
  std::uint64_t group_begin_ = 0;  // Where the data of the current group begin.
  core::AlignedMemory out_;        // Finished parts on their way to the file.
  std::size_t filled_ = 0;
  std::uint64_t written_bytes_ = 0;  // Before what is in out_.
  std::size_t work_since_yield_ = 0;
};

}  // namespace sentinel::lsm
