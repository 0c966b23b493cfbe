#include "consensus/trusted_clock.h"

#include <chrono>

namespace sentinel::consensus {

namespace {

using namespace std::chrono_literals;

// How long the wall clock has to agree with the steady one.
constexpr core::Duration kHoldAfterStart = 10s;
constexpr core::Duration kHoldAfterJump = 10min;
constexpr std::chrono::milliseconds kJump = 30s;

}  // namespace

TrustedClock::TrustedClock(core::TimePoint start, core::WallTime wall)
    : trusted_from_(start + kHoldAfterStart), last_(start, wall) {}

std::optional<std::int64_t> TrustedClock::read(core::TimePoint now, core::WallTime wall) {
  const auto passed = std::chrono::duration_cast<std::chrono::milliseconds>(now - last_.first);
  const auto by_wall = wall - last_.second;
  if (std::chrono::abs(by_wall - passed) > kJump) trusted_from_ = now + kHoldAfterJump;
  last_ = {now, wall};
  if (now < trusted_from_) return std::nullopt;
  return wall.time_since_epoch().count();
}

}  // namespace sentinel::consensus
