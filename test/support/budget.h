#pragma once
/// How much a long test does: the full amount in release builds, less where everything runs many
/// times slower.

#include <cstdint>

namespace sentinel::test {

constexpr std::uint64_t budget([[maybe_unused]] std::uint64_t in_release,
                               [[maybe_unused]] std::uint64_t elsewhere) {
#ifdef NDEBUG
  return in_release;
#else
  return elsewhere;
#endif
}

}  // namespace sentinel::test
