#pragma once
/// An open SSTable file (lsm/sstable_format.h). Every part is verified when it is read; errors name
/// file and offset.

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/io.h"
#include "lsm/block_cache.h"
#include "lsm/read_ahead.h"
#include "lsm/sstable_format.h"

namespace sentinel::lsm {

/// Told of each read of a table that fails, or finds something else than was written.
using OnDamage = std::function<void(const core::Error&)>;

class TableFile {
 public:
  struct Options {
    std::string directory;
    std::uint64_t store_id = 0;
    BlockCache* cache = nullptr;          ///< Outlives the file; null for none.
    ReadAhead* read_ahead = nullptr;      ///< Outlives the file; null for none.
    const OnDamage* on_damage = nullptr;  ///< The same.
  };

  /// Opens the table that the manifest describes as `info`. Errc::corruption for a file that is
  /// missing, has another size or belongs elsewhere; newer_format.
  static core::Task<core::Result<std::unique_ptr<TableFile>>> open(core::Shard& shard,
                                                                   const Options& options,
                                                                   TableInfo info);
  /// The store that a table file says it belongs to.
  static core::Task<core::Result<std::uint64_t>> store_id_of(core::Shard& shard, std::string path,
                                                             std::uint64_t size_bytes);
  ~TableFile();

  [[nodiscard]] const TableInfo& info() const { return info_; }
  [[nodiscard]] const std::string& path() const { return file_.path(); }

  /// The verified content of a data or index block, from the cache or the file.
  core::Task<core::Result<core::Bytes>> read_block(TableHandle handle) const;
  /// The block if it is in the cache.
  [[nodiscard]] std::optional<core::Bytes> cached_block(TableHandle handle) const {
    return cache_ == nullptr ? std::nullopt : cache_->find(cache_key(handle.offset));
  }
  /// Bytes of the file as they stand there, to be handed to part_of().
  core::Task<core::Result<core::Bytes>> read_range(std::uint64_t offset, std::size_t length) const;
  /// A stretch of the file: `bytes` from `offset` on.
  struct Stretch {
    core::Bytes bytes;
    std::uint64_t offset = 0;
  };
  /// Begins to read the file from `offset` to `end`, past the page cache and into the memory of
  /// ReadAhead, unless that has the bytes up to `needed_end` or is about to. Returns where what is
  /// there will end; nothing when there is no such memory.
  [[nodiscard]] std::optional<std::uint64_t> begin_window(std::uint64_t offset,
                                                          std::uint64_t needed_end,
                                                          std::uint64_t end,
                                                          ReadAhead::Need need) const;
  /// What was begun, as it stands in the file: at least the bytes from `offset` to `needed_end`.
  core::Task<core::Result<Stretch>> read_window(std::uint64_t offset,
                                                std::uint64_t needed_end) const;
  /// A reader has come to the end of what read_window() returned.
  void leave_window(std::uint64_t offset) const;
  [[nodiscard]] const ReadAhead* read_ahead() const { return read_ahead_; }

  /// The verified content of the part at `handle`, a slice of `range`, which was read from
  /// `range_offset` and holds it.
  [[nodiscard]] core::Result<core::Bytes> part_of(const core::Bytes& range,
                                                  std::uint64_t range_offset,
                                                  TableHandle handle) const;
  /// What the writer said of the file: its runs, as they were then.
  core::Task<core::Result<NewTable>> read_properties() const;
  [[nodiscard]] BlockCache* cache() const { return cache_; }
  [[nodiscard]] BlockKey cache_key(std::uint64_t offset) const {
    return {.store_id = store_id_, .file = info_.number, .offset = offset};
  }
  /// The error for a part whose checksum holds but whose content makes no sense.
  [[nodiscard]] std::unexpected<core::Error> malformed(std::uint64_t offset) const;
  /// By the one who opened it, when nobody reads any more.
  core::Task<void> close();

 private:
  TableFile(core::Shard& shard, const Options& options, TableInfo info);
  core::Task<core::Status> load(const std::string& path);
  core::Task<core::Status> check_footer();
  void report(const core::Error& error) const;
  [[nodiscard]] bool lies_inside(TableHandle handle) const;
  core::Task<core::Result<core::Bytes>> read_part(TableHandle handle) const;
  [[nodiscard]] ReadAhead::Place place(std::uint64_t offset) const {
    return {.store_id = store_id_, .file = info_.number, .offset = offset};
  }
  core::Task<void> fill(ReadAhead::Window* window) const;
  core::Task<core::Status> read_direct(std::uint64_t offset, std::span<std::byte> into) const;

  core::Shard& shard_;
  const TableInfo info_;
  const std::uint64_t store_id_;
  BlockCache* const cache_;
  ReadAhead* const read_ahead_;
  const OnDamage* const on_damage_;
  core::File file_;
  TableHandle properties_;
  // Of windows. They go on when the reader that began them has gone, but not beyond close().
  mutable core::TaskScope reads_;
};

}  // namespace sentinel::lsm
