#include "lsm/bloom.h"

#include <doctest/doctest.h>

#include <string>

#include "core/random.h"

namespace sentinel::lsm {
namespace {

std::vector<std::uint64_t> hashes_of(std::string_view prefix, std::size_t count) {
  std::vector<std::uint64_t> hashes;
  for (std::size_t i = 0; i < count; ++i) {
    const std::string key = std::string(prefix) + std::to_string(i);
    hashes.push_back(bloom_hash(core::as_bytes(key)));
  }
  return hashes;
}

TEST_CASE("a filter never denies a key that it was built for") {
  for (const std::size_t count : {1u, 2u, 51u, 52u, 1000u, 30'000u}) {
    CAPTURE(count);
    const auto hashes = hashes_of("key-", count);
    const auto filter = build_bloom(hashes);
    std::size_t found = 0;
    for (const std::uint64_t hash : hashes) found += bloom_may_have(filter, hash) ? 1 : 0;
    CHECK(found == count);
  }
}

TEST_CASE("a filter takes ten bits a key and denies nearly all others") {
  const auto filter = build_bloom(hashes_of("key-", 40'000));
  CHECK(filter.size() * 8 <= 40'000 * 10 + 512);
  std::size_t wrong = 0;
  for (const std::uint64_t hash : hashes_of("other-", 100'000))
    wrong += bloom_may_have(filter, hash) ? 1 : 0;
  CHECK(wrong < 2'000);
}

TEST_CASE("bytes that are no filter deny nothing") {
  CHECK(bloom_may_have({}, 1));
  const std::vector<std::byte> odd(100);
  CHECK(bloom_may_have(odd, 1));
}

TEST_CASE("the hash is the same everywhere: filters are read where they were not written") {
  CHECK(bloom_hash(core::as_bytes("sentinel")) == 0xa47fb63a1c514942);
}

}  // namespace
}  // namespace sentinel::lsm
