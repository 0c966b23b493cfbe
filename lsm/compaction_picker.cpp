#include "lsm/compaction_picker.h"

#include <algorithm>
#include <set>

namespace sentinel::lsm {

namespace {

constexpr std::uint64_t kLevelFactor = 8;

core::ByteSpan smallest_of(const Run& run) { return core::as_bytes(run.info->smallest_key); }
core::ByteSpan largest_of(const Run& run) { return core::as_bytes(run.info->largest_key); }

/// Runs of level 0 that are connected by overlaps, with the runs of deeper levels that they reach.
/// Together they cover an interval of keys without a gap, so that what is merged of them never
/// spans a run that stays.
class Cluster {
 public:
  Cluster(const Version& version, std::uint8_t base) : version_(version), base_(base) {}

  [[nodiscard]] bool reaches(const Run& run) const {
    return upper_.empty() || compare_keys(smallest_of(run), core::as_bytes(largest_)) <= 0;
  }
  void add(const Run* run) {
    upper_.push_back(run);
    extend(*run);
    // Newer data must not pass older data on a level in between.
    for (std::uint8_t level = 1; level <= base_; ++level) {
      const auto below =
          version_.overlapping(level, core::as_bytes(smallest_), core::as_bytes(largest_));
      if (below.empty()) continue;
      if (level < output_) output_ = level;
      if (level != output_) break;
      extend(*below.front());
      extend(*below.back());
      break;
    }
  }
  [[nodiscard]] std::size_t tables() const {
    std::set<FileNumber> files;
    for (const Run* run : upper_) files.insert(run->info->id.file);
    return files.size();
  }
  [[nodiscard]] CompactionPlan plan(const std::shared_ptr<const Version>& version) const {
    CompactionPlan plan{.version = version, .inputs = upper_, .upper_count = upper_.size()};
    plan.output_level = std::min(output_, base_);
    const auto below = version_.overlapping(plan.output_level, core::as_bytes(smallest_),
                                            core::as_bytes(largest_));
    plan.inputs.insert(plan.inputs.end(), below.begin(), below.end());
    plan.moves = plan.inputs.size() == 1;
    const bool free_below =
        !version_.overlaps(1, core::as_bytes(smallest_), core::as_bytes(largest_));
    if (plan.moves && free_below) plan.output_level = kBottomLevel;
    return plan;
  }

 private:
  void extend(const Run& run) {
    const bool first = smallest_.empty() && largest_.empty();
    if (first || run.info->smallest_key < smallest_) smallest_ = run.info->smallest_key;
    if (first || run.info->largest_key > largest_) largest_ = run.info->largest_key;
  }

  const Version& version_;
  const std::uint8_t base_;
  std::uint8_t output_ = kBottomLevel;
  std::vector<const Run*> upper_;
  std::string smallest_;
  std::string largest_;
};

std::vector<Cluster> clusters_of(const Version& version, std::uint8_t base) {
  Version::Runs runs = version.level(0);
  std::ranges::sort(runs, [](const Run* a, const Run* b) {
    return compare_keys(smallest_of(*a), smallest_of(*b)) < 0;
  });
  std::vector<Cluster> clusters;
  for (const Run* run : runs) {
    if (clusters.empty() || !clusters.back().reaches(*run)) clusters.emplace_back(version, base);
    clusters.back().add(run);
  }
  return clusters;
}

}  // namespace

CompactionPicker::Targets CompactionPicker::targets_of(const Version& version) const {
  Targets targets{};
  targets[kBottomLevel] = UINT64_MAX;
  std::uint64_t bytes = version.bytes(kBottomLevel);
  for (std::uint8_t level = kBottomLevel - 1; level > 0; --level) {
    bytes /= kLevelFactor;
    if (bytes < base_bytes_) break;
    targets[level] = bytes;
  }
  return targets;
}

std::uint8_t CompactionPicker::base_of(const Targets& targets) {
  std::uint8_t base = 1;
  while (targets[base] == 0) ++base;
  return base;
}

std::optional<CompactionPlan> CompactionPicker::pick(
    const std::shared_ptr<const Version>& version) {
  const Targets targets = targets_of(*version);
  const std::uint8_t base = base_of(targets);
  if (auto plan = pick_level0(version, base)) return plan;
  double worst = 1;
  std::uint8_t level_to_shrink = 0;
  for (std::uint8_t level = 1; level < kBottomLevel; ++level) {
    const double target = static_cast<double>(std::max<std::uint64_t>(targets[level], 1));
    const double score = static_cast<double>(version->bytes(level)) / target;
    if (score <= worst) continue;
    worst = score;
    level_to_shrink = level;
  }
  if (level_to_shrink == 0) return std::nullopt;
  return pick_run(version, level_to_shrink);
}

/// The cluster of most tables, or a run that can move.
std::optional<CompactionPlan> CompactionPicker::pick_level0(
    const std::shared_ptr<const Version>& version, std::uint8_t base) const {
  std::optional<CompactionPlan> best;
  std::size_t most = kLevel0Tables - 1;
  for (const Cluster& cluster : clusters_of(*version, base)) {
    const std::size_t tables = cluster.tables();
    if (tables == 1) {
      CompactionPlan plan = cluster.plan(version);
      if (plan.moves) return plan;
    }
    if (tables <= most) continue;
    most = tables;
    best = cluster.plan(version);
  }
  return best;
}

/// By the clusters that pick() sees, so that what is too deep is also due.
std::size_t CompactionPicker::level0_depth(const Version& version) const {
  std::size_t most = 0;
  for (const Cluster& cluster : clusters_of(version, base_of(targets_of(version)))) {
    most = std::max(most, cluster.tables());
  }
  return most;
}

/// Runs of a level take turns, in the order of their keys.
CompactionPlan CompactionPicker::pick_run(const std::shared_ptr<const Version>& version,
                                          std::uint8_t level) {
  const Version::Runs& runs = version->level(level);
  auto next = std::ranges::partition_point(runs, [&](const Run* run) {
    return compare_keys(smallest_of(*run), core::as_bytes(last_key_[level])) <= 0;
  });
  if (next == runs.end()) next = runs.begin();
  const Run* run = *next;
  last_key_[level] = run->info->smallest_key;
  CompactionPlan plan{.version = version, .inputs = {run}, .upper_count = 1};
  plan.output_level = static_cast<std::uint8_t>(level + 1);
  const auto below = version->overlapping(plan.output_level, smallest_of(*run), largest_of(*run));
  plan.inputs.insert(plan.inputs.end(), below.begin(), below.end());
  plan.moves = below.empty();
  if (plan.moves && !version->overlaps(plan.output_level, smallest_of(*run), largest_of(*run)))
    plan.output_level = kBottomLevel;
  return plan;
}

std::uint8_t CompactionPicker::level_for_flush(const Version& version, const RunInfo& run) {
  const bool overlaps =
      version.overlaps(0, core::as_bytes(run.smallest_key), core::as_bytes(run.largest_key));
  return overlaps ? 0 : kBottomLevel;
}

}  // namespace sentinel::lsm
