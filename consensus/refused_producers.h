#pragma once
/// Whose batches a partition has refused a moment ago, to be sent again: what they have sent behind
/// these arrives first, and must neither be taken nor be called out of order.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/clock.h"

namespace sentinel::consensus {

class RefusedProducers {
 public:
  void note(std::int64_t producer, core::TimePoint now) {
    std::erase_if(latest_, [&](const Refusal& each) { return each.producer == producer; });
    if (latest_.size() == kMax) {
      any_ = latest_.front().at;
      latest_.erase(latest_.begin());
    }
    latest_.push_back({producer, now});
  }
  /// Whether it is one whose last refusal is at or behind `since`; of very many, whether it may be.
  [[nodiscard]] bool has(std::int64_t producer, core::TimePoint since) const {
    return any_ >= since || std::ranges::any_of(latest_, [&](const Refusal& each) {
             return each.producer == producer && each.at >= since;
           });
  }

 private:
  static constexpr std::size_t kMax = 256;
  struct Refusal {
    std::int64_t producer;
    core::TimePoint at;
  };
  std::vector<Refusal> latest_;                   // Of each producer, ascending by time.
  core::TimePoint any_ = core::TimePoint::min();  // Of those that there was no room for.
};

}  // namespace sentinel::consensus
