#include "consensus/agenda.h"

namespace sentinel::consensus {

void Agenda::schedule(GroupId group, core::TimePoint due) {
  const auto [found, added] = due_of_.emplace(group, due);
  if (!added) {
    if (due >= found->second) return;
    by_time_.erase({found->second, group});
    found->second = due;
  }
  by_time_.insert({due, group});
  if (by_time_.begin()->second == group) changed_.notify_all();
}

void Agenda::forget(GroupId group) {
  const auto found = due_of_.find(group);
  if (found == due_of_.end()) return;
  by_time_.erase({found->second, group});
  due_of_.erase(found);
}

core::Task<std::optional<GroupId>> Agenda::next() {
  while (!closed_) {
    if (by_time_.empty()) {
      co_await changed_.wait();
      continue;
    }
    const auto [due, group] = *by_time_.begin();
    if (due <= shard_.now()) {
      forget(group);
      co_return group;
    }
    co_await changed_.wait(core::Deadline(due));
  }
  co_return std::nullopt;
}

void Agenda::close() {
  closed_ = true;
  changed_.notify_all();
}

}  // namespace sentinel::consensus
