#pragma once
/// A histogram of latencies in fixed memory: any 64-bit value, exact below 256, within 0.8 % above.
///
/// Each power of two is cut into 128 buckets of equal width, as in HdrHistogram. Recording is an
/// index computation and an increment. Values have no unit of their own; callers record
/// nanoseconds.

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace sentinel::core {

class Histogram {
 public:
  /// Values in [first, last].
  struct Bucket {
    std::uint64_t first = 0;
    std::uint64_t last = 0;
    std::uint64_t count = 0;
  };

  /// Takes 58 KiB, here and never again.
  Histogram() : counts_(kBuckets, 0) {}

  void record(std::uint64_t value, std::uint64_t times = 1) {
    if (times == 0) return;
    counts_[index_of(value)] += times;
    count_ += times;
    sum_ += static_cast<double>(value) * static_cast<double>(times);
    min_ = std::min(min_, value);
    max_ = std::max(max_, value);
  }
  void merge(const Histogram& other);
  void clear();

  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// Exact. 0 without values, like all figures.
  [[nodiscard]] std::uint64_t min() const { return count_ == 0 ? 0 : min_; }
  [[nodiscard]] std::uint64_t max() const { return max_; }
  [[nodiscard]] double mean() const { return count_ == 0 ? 0 : sum_ / static_cast<double>(count_); }
  /// The least bucket that at least `percent` of the values do not exceed: its last value, so that
  /// the figure is never better than the truth, but not beyond max(). `percent` is in [0, 100].
  [[nodiscard]] std::uint64_t percentile(double percent) const;

  /// Calls `each` with the non-empty buckets, ascending.
  template <typename Each>
  void for_each_bucket(Each each) const {
    for (std::size_t i = 0; i < kBuckets; ++i) {
      if (counts_[i] != 0) each(bucket_at(i));
    }
  }

 private:
  static constexpr unsigned kSplitBits = 7;
  static constexpr std::size_t kSplit = std::size_t{1} << kSplitBits;
  // Buckets of width 1 up to 2 * kSplit, then kSplit for each further bit.
  static constexpr std::size_t kBuckets = (64 - kSplitBits + 1) * kSplit;

  /// How many low bits of `value` its bucket ignores.
  static unsigned shift_of(std::uint64_t value) {
    const auto bits = static_cast<unsigned>(std::bit_width(value));
    return bits > kSplitBits + 1 ? bits - kSplitBits - 1 : 0;
  }
  static std::size_t index_of(std::uint64_t value) {
    const unsigned shift = shift_of(value);
    return shift * kSplit + (value >> shift);
  }
  [[nodiscard]] Bucket bucket_at(std::size_t index) const;

  std::vector<std::uint64_t> counts_;
  std::uint64_t count_ = 0;
  std::uint64_t min_ = UINT64_MAX;
  std::uint64_t max_ = 0;
  double sum_ = 0;
};

}  // namespace sentinel::core
