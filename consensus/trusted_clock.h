#pragma once
/// The wall clock, as far as deleting may rely on it: after a start, and after a jump against the
/// steady clock, it counts for nothing for a while.

#include <cstdint>
#include <optional>
#include <utility>

#include "core/clock.h"

namespace sentinel::consensus {

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

}  // namespace sentinel::consensus
