#pragma once
/// Which batches a partition has refused a moment ago, to be sent again: what their producers have
/// sent behind these arrives first, and must neither be taken nor be called out of order.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "consensus/record_batch.h"
#include "core/clock.h"

namespace sentinel::consensus {

class RefusedBatches {
 public:
  void note(const RecordBatchView& batch, core::TimePoint now) {
    if (!batch.is_idempotent()) return;
    const Refused refused{batch.producer_id(), batch.producer_epoch(), batch.base_sequence(), now};
    std::erase_if(latest_, [&](const Refused& each) { return each.is_same(refused); });
    if (latest_.size() == kMax) latest_.erase(latest_.begin());
    latest_.push_back(refused);
  }
  /// Whether one that comes before `batch` was refused at or behind `since`.
  [[nodiscard]] bool has_before(const RecordBatchView& batch, core::TimePoint since) const {
    return std::ranges::any_of(latest_, [&](const Refused& each) {
      return each.at >= since && each.producer == batch.producer_id() &&
             each.epoch == batch.producer_epoch() &&
             is_before(each.sequence, batch.base_sequence());
    });
  }

 private:
  // Of more than these, in an overload, the oldest are forgotten. Were all batches held back then,
  // those would hold back each other for ever.
  static constexpr std::size_t kMax = 512;
  struct Refused {
    std::int64_t producer;
    std::int16_t epoch;
    std::int32_t sequence;
    core::TimePoint at;
    [[nodiscard]] bool is_same(const Refused& other) const {
      return producer == other.producer && epoch == other.epoch && sequence == other.sequence;
    }
  };
  /// Sequences go from 2^31 - 1 to 0.
  static bool is_before(std::int32_t a, std::int32_t b) {
    const std::uint32_t ahead =
        (static_cast<std::uint32_t>(b) - static_cast<std::uint32_t>(a)) & 0x7fffffffu;
    return ahead != 0 && ahead < 1u << 30;
  }

  std::vector<Refused> latest_;  // Ascending by time.
};

}  // namespace sentinel::consensus
