#pragma once
/// Has the partitions of compacted topics cleaned, on one shard, one at a time.
///
/// Nothing polls: a partition is looked at a while after something was committed to it, at once
/// when that is much, and when the plan of its log names a time (consensus/compacted_log.h).

#include <optional>
#include <unordered_map>

#include "consensus/agenda.h"
#include "consensus/compacted_log.h"
#include "consensus/trusted_clock.h"
#include "core/scope.h"

namespace sentinel::consensus {

class BrokerShard;
class Partition;

/// What trickles in is gathered for so long before a partition is looked at.
inline constexpr core::Duration kCleaningGather = std::chrono::seconds(10);

class Cleaner {
 public:
  /// `broker` outlives it.
  Cleaner(core::Shard& shard, BrokerShard& broker, core::Duration gather);
  ~Cleaner();

  void start();
  /// Partitions are closed before, which ends a pass that runs.
  core::Task<void> close();

  /// Partitions that live here. Those that are not new are looked at soon.
  void add(GroupId group, const CleaningRules& rules, bool is_new);
  void remove(GroupId group);
  void on_committed(const Partition& partition);

 private:
  struct Entry {
    CleaningRules rules;
    std::uint64_t seen_bytes = 0;  // Partition::committed_bytes() at the last look.
  };
  core::Task<void> loop();
  core::Task<void> look_at(GroupId group);

  core::Shard& shard_;
  BrokerShard& broker_;
  const core::Duration gather_;
  TrustedClock clock_;
  std::unordered_map<GroupId, Entry> entries_;
  Agenda agenda_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
