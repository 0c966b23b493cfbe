#pragma once
/// Gives up what the topics' limits say, partition by partition, on one shard.
///
/// Nothing polls: a partition is looked at when its oldest batch comes of age, and when it has
/// grown beyond its limit by more than a small slack. The wall clock alone deletes nothing: after a
/// start, and after a jump against the steady clock, ages count for nothing for a while.

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "consensus/metadata.h"
#include "consensus/partition.h"
#include "core/clock.h"
#include "core/scope.h"
#include "core/sync.h"

namespace sentinel::consensus {

class BrokerShard;

/// The wall clock, as far as deleting may rely on it.
class TrustedClock {
 public:
  TrustedClock(core::TimePoint start, core::WallTime wall);
  /// Compares the clocks; the wall time in milliseconds, or nothing before trusted_from().
  std::optional<std::int64_t> read(core::TimePoint now, core::WallTime wall);
  [[nodiscard]] core::TimePoint trusted_from() const { return trusted_from_; }

 private:
  core::TimePoint trusted_from_;
  std::pair<core::TimePoint, core::WallTime> last_;
};

class Retention final : public CommitObserver {
 public:
  /// `broker` outlives it.
  Retention(core::Shard& shard, BrokerShard& broker);
  ~Retention();

  void start();
  core::Task<void> close();

  /// Partitions that live here. Of those that are not new it is to be found out when their oldest
  /// batch comes of age.
  void add(GroupId group, RetentionLimits limits, bool is_new);
  void remove(GroupId group);
  void on_committed(const Partition& partition) override;

 private:
  struct Entry {
    RetentionLimits limits;
    core::TimePoint due = core::TimePoint::max();
  };

  void schedule(GroupId group, Entry& entry, core::TimePoint due);
  core::Task<void> loop();
  core::Task<void> look_at(GroupId group);
  core::Task<Result<std::optional<std::int64_t>>> retain(GroupId group, RetentionLimits limits,
                                                         std::optional<std::int64_t> now_ms);
  [[nodiscard]] core::TimePoint expiry(std::int64_t timestamp_ms, const RetentionLimits& limits);

  core::Shard& shard_;
  BrokerShard& broker_;
  TrustedClock clock_;
  std::unordered_map<GroupId, Entry> entries_;
  std::set<std::pair<core::TimePoint, GroupId>> due_;
  bool closing_ = false;
  core::Signal changed_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
