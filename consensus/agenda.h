#pragma once
/// Groups that are to be looked at, each when its time comes: what retention and cleaning wait on
/// instead of polling.

#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "consensus/types.h"
#include "core/sync.h"

namespace sentinel::consensus {

class Agenda {
 public:
  explicit Agenda(core::Shard& shard) : shard_(shard), changed_(shard) {}

  /// Has `group` come up at `due`, or earlier if that was said before.
  void schedule(GroupId group, core::TimePoint due);
  void forget(GroupId group);
  [[nodiscard]] bool has(GroupId group) const { return due_of_.contains(group); }

  /// Waits for the next group that is due and takes it off; nothing once closed.
  core::Task<std::optional<GroupId>> next();
  void close();

 private:
  core::Shard& shard_;
  std::unordered_map<GroupId, core::TimePoint> due_of_;
  std::set<std::pair<core::TimePoint, GroupId>> by_time_;
  bool closed_ = false;
  core::Signal changed_;
};

}  // namespace sentinel::consensus
