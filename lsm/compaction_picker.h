#pragma once
/// Which runs to merge next: levelled compaction whose levels are sized from the bottom up.
///
/// The bottom level holds nearly everything; each level above may hold an eighth of the one below,
/// and a level that would be smaller than kBaseBytes is left empty: flushed runs then go straight
/// to the first level that is not (the base). So a store of a few GiB has one sorted level, and
/// space is at most an eighth above what is live (RocksDB calls it dynamic level size).
///
/// A run that overlaps nothing below it moves down by a manifest edit.

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lsm/version.h"

namespace sentinel::lsm {

/// Tables on level 0, among those that overlap each other, which make a compaction due.
inline constexpr std::size_t kLevel0Tables = 4;

struct CompactionPlan {
  std::shared_ptr<const Version> version;
  /// Those of the upper level first; the rest is on the output level, in the order of keys.
  std::vector<const Run*> inputs;
  std::size_t upper_count = 0;
  std::uint8_t output_level = kBottomLevel;
  /// The inputs overlap nothing: they change their level as they are.
  bool moves = false;
};

class CompactionPicker {
 public:
  explicit CompactionPicker(std::uint64_t base_bytes) : base_bytes_(base_bytes) {}

  /// What is most urgent; nothing when the levels are in shape.
  std::optional<CompactionPlan> pick(const std::shared_ptr<const Version>& version);
  /// The most tables of level 0 that overlap each other.
  [[nodiscard]] std::size_t level0_depth(const Version& version) const;
  /// The level for a run that was just flushed: the bottom if it overlaps nothing, else level 0.
  static std::uint8_t level_for_flush(const Version& version, const RunInfo& run);

 private:
  /// Per level; 0 for those that are to be empty.
  using Targets = std::array<std::uint64_t, kLevels>;

  [[nodiscard]] Targets targets_of(const Version& version) const;
  /// The first level below level 0 that is to hold anything.
  [[nodiscard]] static std::uint8_t base_of(const Targets& targets);
  [[nodiscard]] std::optional<CompactionPlan> pick_level0(
      const std::shared_ptr<const Version>& version, std::uint8_t base) const;
  CompactionPlan pick_run(const std::shared_ptr<const Version>& version, std::uint8_t level);

  const std::uint64_t base_bytes_;
  std::array<std::string, kLevels> last_key_;  // Where the last compaction of a level ended.
};

}  // namespace sentinel::lsm
