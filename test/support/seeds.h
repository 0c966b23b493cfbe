#pragma once
/// Which seeds a random test runs.

#include <cstdint>
#include <cstdlib>

namespace sentinel::test {

struct SeedRange {
  std::uint64_t begin = 1;
  std::uint64_t end = 1;
};

/// `count` seeds from 1 on; or what the environment variable says: "5..9" for 5 to 8.
inline SeedRange seeds(const char* variable, std::uint64_t count) {
  const char* asked = std::getenv(variable);
  if (asked == nullptr) return {1, 1 + count};
  char* rest = nullptr;
  const std::uint64_t begin = std::strtoull(asked, &rest, 10);
  const bool range = rest[0] == '.' && rest[1] == '.';
  return {begin, range ? std::strtoull(rest + 2, nullptr, 10) : begin + 1};
}

}  // namespace sentinel::test
