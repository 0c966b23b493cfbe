#include "consensus/refused_producers.h"

#include <doctest/doctest.h>

namespace sentinel {

using consensus::RefusedProducers;
using namespace std::chrono_literals;

namespace {
constexpr core::TimePoint kStart{1h};
}  // namespace

TEST_CASE("a producer is in doubt since its last refusal, and no other one") {
  RefusedProducers refused;
  CHECK_FALSE(refused.has(1, kStart));
  refused.note(1, kStart);
  refused.note(2, kStart + 1s);
  CHECK(refused.has(1, kStart));
  CHECK_FALSE(refused.has(1, kStart + 1ns));
  CHECK(refused.has(2, kStart + 1s));
  CHECK_FALSE(refused.has(3, kStart));
  refused.note(1, kStart + 2s);
  CHECK(refused.has(1, kStart + 2s));
}

TEST_CASE("when there are too many, all are in doubt, but not for longer") {
  RefusedProducers refused;
  for (int i = 0; i < 1000; ++i) refused.note(i, kStart + std::chrono::seconds(i));
  CHECK(refused.has(5000, kStart));
  CHECK(refused.has(999, kStart + 999s));
  CHECK(refused.has(800, kStart + 800s));
  CHECK_FALSE(refused.has(5000, kStart + 800s));
}

}  // namespace sentinel
