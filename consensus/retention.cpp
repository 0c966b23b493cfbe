#include "consensus/retention.h"

#include <algorithm>

#include "consensus/broker_shard.h"

namespace sentinel::consensus {

namespace {

using namespace std::chrono_literals;

// No partition is looked at more often by age, and none less: the wall clock may be set.
constexpr core::Duration kSoonest = 10s;
constexpr core::Duration kLatest = 1h;
// A partition may outgrow its limit by a 32nd before it is trimmed at once.
constexpr std::uint64_t kSlackShare = 32;
constexpr std::uint64_t kSlackMin = std::uint64_t{64} << 10;

std::int64_t milliseconds_of(core::WallTime wall) { return wall.time_since_epoch().count(); }

}  // namespace

Retention::Retention(core::Shard& shard, BrokerShard& broker)
    : shard_(shard),
      broker_(broker),
      clock_(shard.now(), shard.ring().wall_now()),
      agenda_(shard),
      scope_(shard) {}

Retention::~Retention() = default;

void Retention::start() { scope_.spawn(loop()); }

core::Task<void> Retention::close() {
  agenda_.close();
  co_await scope_.close();
}

void Retention::add(GroupId group, RetentionLimits limits, bool is_new) {
  if (!limits.any()) return;
  limits_[group] = limits;
  if (!is_new) agenda_.schedule(group, clock_.trusted_from());
}

void Retention::remove(GroupId group) {
  limits_.erase(group);
  agenda_.forget(group);
}

void Retention::on_committed(const Partition& partition) {
  const auto found = limits_.find(partition.group());
  if (found == limits_.end()) return;
  const RetentionLimits& limits = found->second;
  if (limits.bytes >= 0) {
    const auto limit = static_cast<std::uint64_t>(limits.bytes);
    const std::uint64_t slack = std::max(limit / kSlackShare, kSlackMin);
    const std::uint64_t size = partition.size_bytes();
    if (size > limit) {
      agenda_.schedule(partition.group(), shard_.now() + (size > limit + slack ? 0s : kSoonest));
    }
  }
  if (limits.ms >= 0 && !agenda_.has(partition.group()))
    agenda_.schedule(partition.group(), expiry(partition.largest_timestamp(), limits));
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
  for (;;) {
    const std::optional<GroupId> group = co_await agenda_.next();
    if (!group.has_value()) co_return;
    co_await look_at(*group);
    co_await core::yield(shard_);
  }
}

core::Task<void> Retention::look_at(GroupId group) {
  const RetentionLimits limits = limits_.at(group);
  const auto now_ms = clock_.read(shard_.now(), shard_.ring().wall_now());
  const auto oldest = co_await retain(group, limits, now_ms);
  if (!limits_.contains(group)) co_return;  // Deleted meanwhile.
  if (!oldest) {
    agenda_.schedule(group, shard_.now() + kLatest);  // Unreadable, as the log says.
  } else if (oldest->has_value() && limits.ms >= 0) {
    const core::TimePoint due = expiry(**oldest, limits);
    agenda_.schedule(group, now_ms.has_value() ? due : std::max(due, clock_.trusted_from()));
  }
}

/// Gives up what has to go; the timestamp of the oldest batch that is left, if there is one.
core::Task<Result<std::optional<std::int64_t>>> Retention::retain(
    GroupId group, RetentionLimits limits, std::optional<std::int64_t> now_ms) {
  auto oldest = co_await broker_.oldest_batch(group);
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
  oldest = co_await broker_.oldest_batch(group);
  if (!oldest) co_return std::unexpected(oldest.error());
  if (!oldest->has_value()) co_return std::nullopt;
  co_return (*oldest)->max_timestamp;
}

}  // namespace sentinel::consensus
