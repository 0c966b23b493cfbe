#pragma once
/// What the manifest knows of table files and of the runs in them.
///
/// A run is a sorted stretch of entries with an index of its own. A table file holds one or more
/// runs, whose keys ascend from run to run; levels are made of runs, not of files. So a flush
/// writes one file, whatever the number of partitions in it, and still each partition's run goes
/// down the levels, or away, for itself: by a manifest edit, without being written again.

#include <cstdint>
#include <string>
#include <vector>

#include "lsm/format.h"

namespace sentinel::lsm {

/// Levels 0 to 4. Runs of level 0 may overlap, those of a deeper level don't.
inline constexpr std::uint8_t kLevels = 5;
inline constexpr std::uint8_t kBottomLevel = kLevels - 1;

/// Where a part of a table file lies. `length` is that of the content, without its checksum.
struct TableHandle {
  std::uint64_t offset = 0;
  std::uint32_t length = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.offset);
    visit(self.length);
  }
};

/// Names a run: the file, and the run's place among the runs of the file.
struct RunId {
  FileNumber file;
  std::uint32_t ordinal = 0;

  friend auto operator<=>(const RunId&, const RunId&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.file);
    visit(self.ordinal);
  }
};

struct RunInfo {
  RunId id;
  std::uint8_t level = 0;
  std::uint64_t data_begin = 0;  ///< In the file. The data end, without a gap, at `data_end`.
  std::uint64_t data_end = 0;
  TableHandle index;
  TableHandle filter;  ///< Of length 0: the run has none.
  std::uint64_t entry_count = 0;
  std::uint64_t tombstone_count = 0;
  std::string smallest_key;  ///< Bytes, not text.
  std::string largest_key;
  SequenceNumber smallest_sequence;
  SequenceNumber largest_sequence;

  static void fields(auto& self, auto& visit) {
    visit(self.id);
    visit(self.level);
    visit(self.data_begin);
    visit(self.data_end);
    visit(self.index);
    visit(self.filter);
    visit(self.entry_count);
    visit(self.tombstone_count);
    visit(self.smallest_key);
    visit(self.largest_key);
    visit(self.smallest_sequence);
    visit(self.largest_sequence);
  }

  /// Whether it may have keys in [begin, end); an empty bound is none.
  [[nodiscard]] bool reaches_into(core::ByteSpan begin, core::ByteSpan end) const {
    const bool behind = !end.empty() && compare_keys(core::as_bytes(smallest_key), end) >= 0;
    return !behind && compare_keys(core::as_bytes(largest_key), begin) >= 0;
  }
  /// Where what belongs to the run behind all data begins.
  [[nodiscard]] std::uint64_t tail_begin() const {
    return filter.length > 0 ? filter.offset : index.offset;
  }
  /// Bytes of the file that are free once the run is gone.
  [[nodiscard]] std::uint64_t size_bytes() const { return data_end - data_begin; }
  [[nodiscard]] bool overlaps(core::ByteSpan smallest, core::ByteSpan largest) const {
    return compare_keys(core::as_bytes(smallest_key), largest) <= 0 &&
           compare_keys(core::as_bytes(largest_key), smallest) >= 0;
  }
  [[nodiscard]] bool overlaps(const RunInfo& other) const {
    return overlaps(core::as_bytes(other.smallest_key), core::as_bytes(other.largest_key));
  }
};

struct TableInfo {
  FileNumber number;
  std::uint64_t size_bytes = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.number);
    visit(self.size_bytes);
  }
};

/// A table file that has just been written, all of its runs on level 0.
struct NewTable {
  TableInfo info;
  std::vector<RunInfo> runs;

  static void fields(auto& self, auto& visit) {
    visit(self.info);
    visit(self.runs);
  }
};

}  // namespace sentinel::lsm
