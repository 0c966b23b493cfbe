#include "consensus/cleaner.h"

#include <algorithm>

#include "consensus/broker_shard.h"

namespace sentinel::consensus {

namespace {

using namespace std::chrono_literals;

// So much is looked at without waiting.
constexpr std::uint64_t kMuchBytes = std::uint64_t{4} << 20;
// Times that a plan names are by the wall clock, which may be set.
constexpr core::Duration kLatest = 1h;

}  // namespace

Cleaner::Cleaner(core::Shard& shard, BrokerShard& broker, core::Duration gather)
    : shard_(shard),
      broker_(broker),
      gather_(gather),
      clock_(shard.now(), shard.ring().wall_now()),
      agenda_(shard),
      scope_(shard) {}

Cleaner::~Cleaner() = default;

void Cleaner::start() { scope_.spawn(loop()); }

core::Task<void> Cleaner::close() {
  agenda_.close();
  co_await scope_.close();
}

void Cleaner::add(GroupId group, const CleaningRules& rules, bool is_new) {
  if (!rules.compact) return;
  entries_[group].rules = rules;
  if (!is_new) agenda_.schedule(group, shard_.now() + gather_);
}

void Cleaner::remove(GroupId group) {
  entries_.erase(group);
  agenda_.forget(group);
}

void Cleaner::on_committed(const Partition& partition) {
  const auto found = entries_.find(partition.group());
  if (found == entries_.end()) return;
  const bool much = partition.committed_bytes() - found->second.seen_bytes >= kMuchBytes;
  agenda_.schedule(partition.group(), shard_.now() + (much ? 0s : gather_));
}

core::Task<void> Cleaner::loop() {
  for (;;) {
    const std::optional<GroupId> group = co_await agenda_.next();
    if (!group.has_value()) co_return;
    co_await look_at(*group);
    co_await core::yield(shard_);
  }
}

core::Task<void> Cleaner::look_at(GroupId group) {
  auto partition = co_await broker_.partition(group);
  const auto found = entries_.find(group);
  if (found == entries_.end()) co_return;  // Deleted meanwhile.
  if (!partition) {
    agenda_.schedule(group, shard_.now() + kLatest);  // Unreadable, as the log says.
    co_return;
  }
  found->second.seen_bytes = (*partition)->committed_bytes();
  const CleaningRules rules = found->second.rules;
  const auto now_ms = clock_.read(shard_.now(), shard_.ring().wall_now());
  const auto again_ms = co_await (*partition)->clean(rules, now_ms);
  if (!entries_.contains(group)) co_return;
  if (!again_ms) {
    agenda_.schedule(group, shard_.now() + kLatest);
  } else if (!now_ms.has_value()) {
    agenda_.schedule(group, std::max(clock_.trusted_from(), shard_.now() + gather_));
  } else if (again_ms->has_value()) {
    const auto wait = std::chrono::milliseconds(std::max<std::int64_t>(**again_ms - *now_ms, 0));
    const auto longest = std::chrono::duration_cast<std::chrono::milliseconds>(kLatest);
    agenda_.schedule(group,
                     shard_.now() + std::max<core::Duration>(std::min(wait, longest), gather_));
  }
}

}  // namespace sentinel::consensus
