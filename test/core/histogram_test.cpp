#include "core/histogram.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/random.h"

namespace sentinel::core {

namespace {

/// Values of every magnitude.
std::vector<std::uint64_t> random_values(std::uint64_t seed, std::size_t count) {
  Random random(seed);
  std::vector<std::uint64_t> values;
  for (std::size_t i = 0; i < count; ++i) values.push_back(random.next() >> random.below(64));
  return values;
}

/// The value that `percent` of the sorted `values` do not exceed.
std::uint64_t exact_percentile(const std::vector<std::uint64_t>& values, double percent) {
  const double rank = std::ceil(percent * static_cast<double>(values.size()) / 100);
  return values[std::max<std::size_t>(static_cast<std::size_t>(rank), 1) - 1];
}

void check_equal(const Histogram& a, const Histogram& b) {
  CHECK(a.count() == b.count());
  CHECK(a.min() == b.min());
  CHECK(a.max() == b.max());
  CHECK(a.mean() == doctest::Approx(b.mean()));
  for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
    CHECK(a.percentile(percent) == b.percentile(percent));
  }
}

}  // namespace

TEST_CASE("an empty histogram answers zero") {
  const Histogram histogram;
  CHECK(histogram.count() == 0);
  CHECK(histogram.min() == 0);
  CHECK(histogram.max() == 0);
  CHECK(histogram.mean() == 0);
  CHECK(histogram.percentile(99) == 0);
  histogram.for_each_bucket([](const Histogram::Bucket&) { FAIL("no bucket has a value"); });
}

TEST_CASE("small values are kept exactly") {
  Histogram histogram;
  for (std::uint64_t value = 0; value <= 200; ++value) histogram.record(value);
  CHECK(histogram.percentile(0) == 0);
  CHECK(histogram.percentile(50) == 100);
  CHECK(histogram.percentile(100) == 200);
  CHECK(histogram.mean() == doctest::Approx(100));
}

TEST_CASE("a percentile is at or above the exact one, by one percent at most") {
  std::vector<std::uint64_t> values = random_values(3, 20'000);
  Histogram histogram;
  for (const std::uint64_t value : values) histogram.record(value);
  std::ranges::sort(values);
  for (const double percent : {0.1, 5.0, 33.3, 50.0, 75.0, 95.0, 99.0, 99.9, 99.99, 100.0}) {
    const std::uint64_t exact = exact_percentile(values, percent);
    const std::uint64_t found = histogram.percentile(percent);
    CAPTURE(percent);
    CHECK(found >= exact);
    CHECK(static_cast<double>(found - exact) <= static_cast<double>(exact) * 0.01);
  }
}

TEST_CASE("the extremes of 64 bits have buckets") {
  Histogram histogram;
  histogram.record(0);
  histogram.record(UINT64_MAX);
  CHECK(histogram.min() == 0);
  CHECK(histogram.max() == UINT64_MAX);
  CHECK(histogram.percentile(50) == 0);
  CHECK(histogram.percentile(51) == UINT64_MAX);
}

TEST_CASE("a percentile is never beyond the largest value") {
  Histogram histogram;
  histogram.record(1'000'003);
  CHECK(histogram.percentile(50) == 1'000'003);
  CHECK(histogram.percentile(100) == 1'000'003);
}

TEST_CASE("buckets follow each other without gap or overlap and hold what was recorded") {
  // Each power of two, and the values beside it, falls where a width changes.
  for (unsigned bit = 1; bit < 64; ++bit) {
    for (const std::uint64_t value :
         {(std::uint64_t{1} << bit) - 1, std::uint64_t{1} << bit, (std::uint64_t{1} << bit) + 1}) {
      Histogram histogram;
      histogram.record(value);
      histogram.for_each_bucket([value](const Histogram::Bucket& bucket) {
        CHECK(bucket.first <= value);
        CHECK(bucket.last >= value);
        CHECK(bucket.last - bucket.first <= value / 128);
        CHECK(bucket.count == 1);
      });
    }
  }
  Histogram dense;
  for (std::uint64_t value = 0; value < 100'000; ++value) dense.record(value);
  std::uint64_t expected_first = 0;
  dense.for_each_bucket([&expected_first](const Histogram::Bucket& bucket) {
    CHECK(bucket.first == expected_first);
    if (bucket.last < 100'000) CHECK(bucket.count == bucket.last - bucket.first + 1);
    expected_first = bucket.last + 1;
  });
  CHECK(expected_first >= 100'000);
}

TEST_CASE("merged histograms equal one that saw all values") {
  Histogram first;
  Histogram second;
  Histogram all;
  for (const std::uint64_t value : random_values(4, 3'000)) {
    first.record(value);
    all.record(value);
  }
  for (const std::uint64_t value : random_values(5, 2'000)) {
    second.record(value);
    all.record(value);
  }
  first.merge(second);
  check_equal(first, all);
  first.merge(Histogram());
  check_equal(first, all);
}

TEST_CASE("a value recorded several times counts as often, and not at all for zero times") {
  Histogram at_once;
  Histogram one_by_one;
  at_once.record(5'000, 300);
  at_once.record(9, 0);
  for (int i = 0; i < 300; ++i) one_by_one.record(5'000);
  check_equal(at_once, one_by_one);
}

TEST_CASE("a cleared histogram is like new") {
  Histogram histogram;
  histogram.record(77);
  histogram.clear();
  check_equal(histogram, Histogram());
  histogram.record(5);
  CHECK(histogram.min() == 5);
  CHECK(histogram.max() == 5);
}

}  // namespace sentinel::core
