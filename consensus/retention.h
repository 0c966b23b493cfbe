#pragma once
/// Gives up what the topics' limits say, partition by partition, on one shard.
///
/// Nothing polls: a partition is looked at when its oldest batch comes of age, and when it has
/// grown beyond its limit by more than a small slack. The wall clock alone deletes nothing: after a
/// start, and after a jump against the steady clock, ages count for nothing for a while.

#include <cstdint>
#include <optional>
#include <unordered_map>

#include "consensus/agenda.h"
#include "consensus/partition.h"
#include "consensus/trusted_clock.h"
#include "core/scope.h"

namespace sentinel::consensus {

class BrokerShard;

class Retention {
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
  void on_committed(const Partition& partition);

 private:
  core::Task<void> loop();
  core::Task<void> look_at(GroupId group);
  core::Task<Result<std::optional<std::int64_t>>> retain(GroupId group, RetentionLimits limits,
                                                         std::optional<std::int64_t> now_ms);
  [[nodiscard]] core::TimePoint expiry(std::int64_t timestamp_ms, const RetentionLimits& limits);

  core::Shard& shard_;
  BrokerShard& broker_;
  TrustedClock clock_;
  std::unordered_map<GroupId, RetentionLimits> limits_;
  Agenda agenda_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
