#include "core/random.h"

#include <doctest/doctest.h>

#include <array>

namespace sentinel::core {

TEST_CASE("a seed gives the sequence of xoshiro256** seeded by splitmix64") {
  // Computed with an independent implementation that reproduces the authors' test vector.
  Random zero(0);
  CHECK(zero.next() == 11091344671253066420u);
  CHECK(zero.next() == 13793997310169335082u);
  CHECK(zero.next() == 1900383378846508768u);
  CHECK(zero.next() == 7684712102626143532u);
  Random other(42);
  CHECK(other.next() == 1546998764402558742u);
  CHECK(other.next() == 6990951692964543102u);
}

TEST_CASE("numbers below a bound reach every value about equally often") {
  Random random(1);
  std::array<int, 7> seen{};
  for (int i = 0; i < 70'000; ++i) ++seen[random.below(7)];
  for (const int count : seen) {
    CHECK(count > 9'500);
    CHECK(count < 10'500);
  }
}

TEST_CASE("a bound that is not a power of two does not favour small numbers") {
  // Taking a 64-bit number modulo this bound would put every second result into the lowest third.
  constexpr std::uint64_t kBound = (std::uint64_t{3} << 62);
  Random random(2);
  int low = 0;
  for (int i = 0; i < 30'000; ++i) {
    const std::uint64_t value = random.below(kBound);
    REQUIRE(value < kBound);
    if (value < (std::uint64_t{1} << 62)) ++low;
  }
  CHECK(low > 9'500);
  CHECK(low < 10'500);
}

TEST_CASE("a bound of one leaves only zero, and a range may be all of 64 bits") {
  Random random(3);
  for (int i = 0; i < 100; ++i) CHECK(random.below(1) == 0);
  CHECK(random.between(9, 9) == 9);
  bool high = false;
  for (int i = 0; i < 100; ++i) high = high || random.between(0, UINT64_MAX) > UINT64_MAX / 2;
  CHECK(high);
}

TEST_CASE("both ends of a range are reached") {
  Random random(4);
  std::array<int, 4> seen{};
  for (int i = 0; i < 1'000; ++i) {
    const std::uint64_t value = random.between(10, 13);
    REQUIRE(value >= 10);
    REQUIRE(value <= 13);
    ++seen[value - 10];
  }
  for (const int count : seen) CHECK(count > 150);
}

TEST_CASE("a chance is taken as often as its probability says") {
  Random random(5);
  int taken = 0;
  for (int i = 0; i < 100'000; ++i) taken += random.chance(0.3) ? 1 : 0;
  CHECK(taken > 29'000);
  CHECK(taken < 31'000);
  for (int i = 0; i < 1'000; ++i) {
    CHECK_FALSE(random.chance(0));
    CHECK(random.chance(1));
  }
}

TEST_CASE("a fork depends on seed and name only, and takes nothing from its parent") {
  Random parent(6);
  Random untouched(6);
  Random disk = parent.fork("disk");
  Random network = parent.fork("network");
  Random disk_again = parent.fork("disk");
  CHECK(disk.next() != network.next());
  disk_again.next();
  CHECK(disk.next() == disk_again.next());
  CHECK(parent.next() == untouched.next());
  CHECK(Random(6).fork("disk").next() != Random(7).fork("disk").next());
}

}  // namespace sentinel::core
