#include "consensus/retention.h"

#include <algorithm>

#include "consensus/broker_shard.h"

namespace sentinel::consensus {

namespace {

using namespace std::chrono_literals;

// How long the wall clock has to agree with the steady one.
constexpr core::Duration kHoldAfterStart = 10s;
constexpr core::Duration kHoldAfterJump = 10min;
constexpr std::chrono::milliseconds kJump = 30s;
// No partition is looked at more often by age, and none less: the wall clock may be set.
constexpr core::Duration kSoonest = 10s;
constexpr core::Duration kLatest = 1h;
// A partition may outgrow its limit by a 32nd before it is trimmed at once.
constexpr std::uint64_t kSlackShare = 32;
constexpr std::uint64_t kSlackMin = std::uint64_t{64} << 10;

std::int64_t milliseconds_of(core::WallTime wall) { return wall.time_since_epoch().count(); }

}  // namespace

TrustedClock::TrustedClock(core::TimePoint start, core::WallTime wall)
    : trusted_from_(start + kHoldAfterStart), last_(start, wall) {}

std::optional<std::int64_t> TrustedClock::read(core::TimePoint now, core::WallTime wall) {
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_.first);
  const auto by_wall = wall - last_.second;
  if (std::chrono::abs(by_wall - passed) > kJump) trusted_from_ = now + kHoldAfterJump;
  last_ = {now, wall};
  if (now < trusted_from_) return std::nullopt;
  return milliseconds_of(wall);
}

Retention::Retention(core::Shard& shard, BrokerShard& broker)
    : shard_(shard),
      broker_(broker),
      clock_(shard.now(), shard.ring().wall_now()),
      changed_(shard),
      scope_(shard) {}

Retention::~Retention() = default;

void Retention::start() { scope_.spawn(loop()); }

core::Task<void> Retention::close() {
  closing_ = true;
  changed_.notify_all();
  co_await scope_.close();
}

void Retention::add(GroupId group, RetentionLimits limits, bool is_new) {
  if (!limits.any()) return;
  Entry& entry = entries_[group];
  entry.limits = limits;
  if (!is_new) schedule(group, entry, shard_.now() + kHoldAfterStart);
}

void Retention::remove(GroupId group) {
  const auto found = entries_.find(group);
  if (found == entries_.end()) return;
  due_.erase({found->second.due, group});
  entries_.erase(found);
}

void Retention::schedule(GroupId group, Entry& entry, core::TimePoint due) {
  if (due >= entry.due) return;
  due_.erase({entry.due, group});
  entry.due = due;
  due_.insert({due, group});
  if (due_.begin()->second == group) changed_.notify_all();
}

void Retention::on_committed(const Partition& partition) {
  const auto found = entries_.find(partition.group());
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  if (entry.limits.bytes >= 0) {
    const auto limit = static_cast<std::uint64_t>(entry.limits.bytes);
    const std::uint64_t slack = std::max(limit / kSlackShare, kSlackMin);
    const std::uint64_t size = partition.size_bytes();
    if (size > limit) {
      schedule(partition.group(), entry, shard_.now() + (size > limit + slack ? 0s : kSoonest));
    }
  }
  if (entry.limits.ms >= 0 && entry.due == core::TimePoint::max()) {
    schedule(partition.group(), entry, expiry(partition.largest_timestamp(), entry.limits));
  }
}

/// When to look at a partition whose oldest batch has this timestamp.
core::TimePoint Retention::expiry(std::int64_t timestamp_ms, const RetentionLimits& limits) {
  constexpr std::int64_t kLatestMs =
      std::chrono::duration_cast<std::chrono::milliseconds>(kLatest).count();
  // None of these numbers, which clients and users give, is negative, so no difference overflows.
  const std::int64_t age_ms = std::max<std::int64_t>(
      milliseconds_of(shard_.ring().wall_now()) - std::max<std::int64_t>(timestamp_ms, 0), 0);
  const std::int64_t left_ms = timestamp_ms < 0 ? kLatestMs : limits.ms - age_ms;
  const auto wait = std::chrono::milliseconds(std::min(left_ms, kLatestMs) + 1);
  return shard_.now() + std::clamp<core::Duration>(wait, kSoonest, kLatest);
}

core::Task<void> Retention::loop() {
  while (!closing_) {
    if (due_.empty()) {
      co_await changed_.wait();
      continue;
    }
    const auto [due, group] = *due_.begin();
    if (due > shard_.now()) {
      co_await changed_.wait(core::Deadline(due));
      continue;
    }
    due_.erase(due_.begin());
    entries_.at(group).due = core::TimePoint::max();
    co_await look_at(group);
    co_await core::yield(shard_);
  }
}

core::Task<void> Retention::look_at(GroupId group) {
  const RetentionLimits limits = entries_.at(group).limits;
  const auto now_ms = clock_.read(shard_.now(), shard_.ring().wall_now());
  const auto oldest = co_await retain(group, limits, now_ms);
  const auto found = entries_.find(group);
  if (found == entries_.end()) co_return;  // Deleted meanwhile.
  Entry& entry = found->second;
  if (!oldest) {
    schedule(group, entry, shard_.now() + kLatest);  // Unreadable, as the log says.
  } else if (oldest->has_value() && limits.ms >= 0) {
    const core::TimePoint due = expiry(**oldest, limits);
    schedule(group, entry, now_ms.has_value() ? due : std::max(due, clock_.trusted_from()));
  }
}

/// Gives up what has to go; the timestamp of the oldest batch that is left, if there is one.
core::Task<Result<std::optional<std::int64_t>>> Retention::retain(
    GroupId group, RetentionLimits limits, std::optional<std::int64_t> now_ms) {
  auto oldest = co_await broker_.oldest_entry(group);
  if (!oldest) co_return std::unexpected(oldest.error());
  if (!oldest->has_value()) co_return std::nullopt;
  // Without a trusted clock nothing is too old.
  if (!now_ms.has_value()) limits.ms = -1;
  const bool aged = limits.ms >= 0 && (*oldest)->max_timestamp >= 0 &&
                    (*oldest)->max_timestamp < now_ms.value_or(0) - limits.ms;
  if (!aged && limits.bytes < 0) co_return (*oldest)->max_timestamp;
  auto partition = co_await broker_.partition(group);
  if (!partition) co_return std::unexpected(partition.error());
  const Result<void> retained = co_await (*partition)->retain(limits, now_ms.value_or(0));
  if (!retained) co_return std::unexpected(retained.error());
  oldest = co_await broker_.oldest_entry(group);
  if (!oldest) co_return std::unexpected(oldest.error());
  if (!oldest->has_value()) co_return std::nullopt;
  co_return (*oldest)->max_timestamp;
}

}  // namespace sentinel::consensus
