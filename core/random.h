#pragma once
/// Seeded random numbers. Every source of chance is handed in as a Random, so that one seed replays
/// a whole run.
///
/// The generator is xoshiro256** (Blackman and Vigna, "Scrambled linear pseudorandom number
/// generators"), seeded by splitmix64. Not for secrets.

#include <array>
#include <bit>
#include <cstdint>
#include <string_view>

#include "core/assert.h"

namespace sentinel::core {

class Random {
 public:
  explicit Random(std::uint64_t seed) {
    for (std::uint64_t& word : state_) word = splitmix(seed);
  }

  /// 64 random bits.
  std::uint64_t next() {
    const std::uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const std::uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }
  /// Uniform in [0, bound); `bound` is not zero.
  std::uint64_t below(std::uint64_t bound) {
    SENTINEL_ASSERT(bound > 0);
    // Values above the last whole multiple of the bound would favour small results.
    const std::uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
    for (;;) {
      const std::uint64_t value = next();
      if (value < limit) return value % bound;
    }
  }
  /// Uniform in [least, most].
  std::uint64_t between(std::uint64_t least, std::uint64_t most) {
    const std::uint64_t width = most - least;
    return width == UINT64_MAX ? next() : least + below(width + 1);
  }
  /// Uniform in [0, 1).
  double unit() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }
  bool chance(double probability) { return unit() < probability; }

  /// An independent stream for one concern: drawing from it does not shift any other. Does not
  /// change this generator.
  [[nodiscard]] Random fork(std::string_view name) const {
    std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a.
    for (const char c : name) hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x100000001b3;
    return Random(hash ^ state_[0] ^ std::rotl(state_[3], 31));
  }

 private:
  static std::uint64_t splitmix(std::uint64_t& state) {
    std::uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  std::array<std::uint64_t, 4> state_;
};

}  // namespace sentinel::core
