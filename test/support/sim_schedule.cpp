#include "test/support/sim_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "core/assert.h"
#include "test/support/sim_ring.h"

namespace sentinel::test {

SimSchedule::SimSchedule(std::uint64_t seed)
    : root_(seed),
      random_(root_.fork("scheduling")),
      readable_(std::getenv("SENTINEL_SIM_TRACE") != nullptr) {}

void SimSchedule::advance_to(core::TimePoint time) { now_ = std::max(now_, time); }

bool SimSchedule::later(const Event& a, const Event& b) {
  if (a.at != b.at) return a.at > b.at;
  if (a.tie != b.tie) return a.tie > b.tie;
  return a.order > b.order;
}

std::uint32_t SimSchedule::add_target(EventTarget& target) {
  targets_.push_back(&target);
  return static_cast<std::uint32_t>(targets_.size() - 1);
}

void SimSchedule::schedule(core::TimePoint at, std::uint32_t target, std::uint64_t tag) {
  const std::uint64_t tie = fifo_ ? 0 : random_.next();
  events_.push_back(Event{std::max(at, now_), tie, ++events_added_, target, tag});
  std::ranges::push_heap(events_, later);
}

bool SimSchedule::deliver_due() {
  if (next_event() > now_) return false;
  std::ranges::pop_heap(events_, later);
  const Event event = events_.back();
  events_.pop_back();
  ++events_delivered_;
  EventTarget* target = targets_.at(event.target);
  if (target != nullptr) target->on_event(event.tag);
  return true;
}

void SimSchedule::make_runnable(SimRing& ring) {
  if (ring.listed_) return;
  ring.listed_ = true;
  runnable_.push_back(&ring);
}

void SimSchedule::forget(SimRing& ring) {
  if (!ring.listed_) return;
  ring.listed_ = false;
  std::erase(runnable_, &ring);
}

SimRing& SimSchedule::take_runnable() {
  SENTINEL_ASSERT(!runnable_.empty());
  std::size_t index = 0;
  if (!fifo_ && runnable_.size() > 1) index = random_.below(runnable_.size());
  SimRing& ring = *runnable_[index];
  runnable_.erase(runnable_.begin() + static_cast<std::ptrdiff_t>(index));
  ring.listed_ = false;
  return ring;
}

void SimSchedule::mix(std::uint64_t value) {
  trace_hash_ = (trace_hash_ ^ value) * 0x9e3779b97f4a7c15;
  trace_hash_ ^= trace_hash_ >> 29;
}

void SimSchedule::trace(const TraceEntry& entry) {
  mix(static_cast<std::uint64_t>(now_.time_since_epoch().count()));
  mix(std::uint64_t{entry.node} << 32 | std::uint64_t{entry.shard} << 16 |
      static_cast<std::uint64_t>(entry.code) << 1 | static_cast<std::uint64_t>(entry.completion));
  mix(static_cast<std::uint64_t>(entry.handle));
  mix(entry.offset);
  mix(entry.length);
  mix(static_cast<std::uint64_t>(entry.result));
  for (const char c : entry.path) mix(static_cast<std::uint8_t>(c));
  if (!readable_) return;
  const auto at = (now_ - core::TimePoint(std::chrono::hours(1))).count();
  fmt::print(stderr, "{:>14} n{}.{} {} {:<15} handle={} offset={} length={} result={} {}\n", at,
             entry.node, entry.shard, entry.completion ? "<-" : "->", to_string(entry.code),
             entry.handle, entry.offset, entry.length, entry.result, entry.path);
}

core::Duration LatencyModel::draw(core::Random& random) const {
  if (mean <= least) return least;
  if (stall_probability > 0 && random.chance(stall_probability)) {
    return core::Duration(
        static_cast<core::Duration::rep>(random.unit() * static_cast<double>(stall_max.count())));
  }
  const double scale = static_cast<double>((mean - least).count());
  // A cap keeps one draw in a million from looking like a stall.
  const double exponential = std::min(-std::log(1.0 - random.unit()), 8.0);
  return least + core::Duration(static_cast<core::Duration::rep>(exponential * scale));
}

}  // namespace sentinel::test
