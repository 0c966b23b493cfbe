#include "net/kafka/partitioner.h"

#include "core/assert.h"

namespace sentinel::net::kafka {

namespace {

constexpr std::uint32_t kSeed = 0x9747b28c;
constexpr std::uint32_t kMultiplier = 0x5bd1e995;

/// Up to four bytes as a little-endian number.
std::uint32_t little_endian(core::ByteSpan bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = bytes.size(); i > 0; --i)
    value = value << 8 | static_cast<std::uint32_t>(bytes[i - 1]);
  return value;
}

}  // namespace

std::uint32_t murmur2(core::ByteSpan data) {
  // The Java client computes with 32-bit lengths.
  std::uint32_t hash = kSeed ^ static_cast<std::uint32_t>(data.size());
  for (; data.size() >= 4; data = data.subspan(4)) {
    std::uint32_t word = little_endian(data.first(4)) * kMultiplier;
    word = (word ^ word >> 24) * kMultiplier;
    hash = hash * kMultiplier ^ word;
  }
  if (!data.empty()) hash = (hash ^ little_endian(data)) * kMultiplier;
  hash = (hash ^ hash >> 13) * kMultiplier;
  return hash ^ hash >> 15;
}

std::int32_t partition_of_key(core::ByteSpan key, std::int32_t partition_count) {
  SENTINEL_ASSERT(partition_count > 0);
  // The Java client drops the sign bit; it does not take the absolute value.
  const std::uint32_t positive = murmur2(key) & 0x7fffffff;
  return static_cast<std::int32_t>(positive % static_cast<std::uint32_t>(partition_count));
}

}  // namespace sentinel::net::kafka
