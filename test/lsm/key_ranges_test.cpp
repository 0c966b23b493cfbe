#include "lsm/key_ranges.h"

#include <doctest/doctest.h>

#include <array>
#include <string>

#include "core/random.h"

namespace sentinel::lsm {
namespace {

std::string key_of(std::size_t number) { return std::string(1, static_cast<char>(number)); }

}  // namespace

TEST_CASE("ranges hold what was added to them") {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    CAPTURE(seed);
    core::Random random(seed);
    KeyRanges ranges;
    std::array<bool, 256> model{};
    for (int round = 0; round < 12; ++round) {
      // Bytes above 127 too: keys are not text.
      const std::size_t begin = random.below(256);
      const std::size_t end = random.below(256);
      ranges.add(core::as_bytes(key_of(begin)), core::as_bytes(key_of(end)));
      for (std::size_t i = begin; i < end; ++i) model[i] = true;
      std::size_t first = 0;
      for (std::size_t i = 0; i < model.size(); ++i) {
        REQUIRE(ranges.contains(core::as_bytes(key_of(i))) == model[i]);
        if (!model[i]) first = i + 1;
        const std::size_t from = random.below(i + 1);
        const bool covered = ranges.covers(core::as_bytes(key_of(from)), core::as_bytes(key_of(i)));
        REQUIRE(covered == (from >= first));
      }
    }
  }
}

}  // namespace sentinel::lsm
