#include "lsm/bloom.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace sentinel::lsm {

namespace {
constexpr std::size_t kLineBytes = 64;
constexpr std::size_t kLineBits = kLineBytes * 8;
constexpr std::size_t kBitsPerKey = 10;
// Of four to eight the number that denies most, measured: within one line bits meet sooner than the
// textbook, which has seven for ten bits a key, takes for granted.
constexpr int kProbes = 6;
// 2^32 by the golden ratio: consecutive multiples are spread over the upper bits.
constexpr std::uint32_t kStep = 0x9e3779b9;

/// Where the line of a key begins.
std::size_t line_of(std::uint64_t hash, std::size_t lines) {
  return static_cast<std::size_t>(((hash >> 32) * lines) >> 32) * kLineBytes;
}

/// The next bit of a key, within its line.
std::uint32_t next_bit(std::uint32_t& state) {
  state *= kStep;
  return state >> (32 - 9);
}
static_assert(kLineBits == 1u << 9);
}  // namespace

std::uint64_t bloom_hash(core::ByteSpan key) { return XXH3_64bits(key.data(), key.size()); }

std::vector<std::byte> build_bloom(const std::vector<std::uint64_t>& hashes) {
  const std::size_t lines = (hashes.size() * kBitsPerKey + kLineBits - 1) / kLineBits;
  std::vector<std::byte> filter(lines * kLineBytes);
  for (const std::uint64_t hash : hashes) {
    std::byte* line = filter.data() + line_of(hash, lines);
    auto state = static_cast<std::uint32_t>(hash) | 1;
    for (int i = 0; i < kProbes; ++i) {
      const std::uint32_t bit = next_bit(state);
      line[bit / 8] |= static_cast<std::byte>(1u << (bit % 8));
    }
  }
  return filter;
}

bool bloom_may_have(core::ByteSpan filter, std::uint64_t hash) {
  const std::size_t lines = filter.size() / kLineBytes;
  if (lines == 0 || filter.size() % kLineBytes != 0) return true;
  const std::byte* line = filter.data() + line_of(hash, lines);
  auto state = static_cast<std::uint32_t>(hash) | 1;
  for (int i = 0; i < kProbes; ++i) {
    const std::uint32_t bit = next_bit(state);
    if ((line[bit / 8] & static_cast<std::byte>(1u << (bit % 8))) == std::byte{0}) return false;
  }
  return true;
}

}  // namespace sentinel::lsm
