#include "core/histogram.h"

#include <cmath>

#include "core/assert.h"

namespace sentinel::core {

void Histogram::merge(const Histogram& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
  count_ += other.count_;
  sum_ += other.sum_;
  min_ = std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
}

void Histogram::clear() {
  std::ranges::fill(counts_, 0);
  count_ = 0;
  min_ = UINT64_MAX;
  max_ = 0;
  sum_ = 0;
}

std::uint64_t Histogram::percentile(double percent) const {
  SENTINEL_ASSERT(percent >= 0 && percent <= 100);
  if (count_ == 0) return 0;
  // The division comes last: 99.9 % of 1000 must not become 999.0000000000001.
  const double rank = std::ceil(percent * static_cast<double>(count_) / 100.0);
  const std::uint64_t wanted =
      std::clamp<std::uint64_t>(static_cast<std::uint64_t>(rank), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += counts_[i];
    if (seen >= wanted) return std::min(bucket_at(i).last, max_);
  }
  SENTINEL_ASSERT(false, "the buckets hold {} of {} values", seen, count_);
  return max_;
}

Histogram::Bucket Histogram::bucket_at(std::size_t index) const {
  const std::uint64_t shift = index < 2 * kSplit ? 0 : index / kSplit - 1;
  const std::uint64_t first = (index - shift * kSplit) << shift;
  const std::uint64_t width = std::uint64_t{1} << shift;
  return {.first = first, .last = first + (width - 1), .count = counts_[index]};
}

}  // namespace sentinel::core
