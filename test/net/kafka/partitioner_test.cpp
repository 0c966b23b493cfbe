#include "net/kafka/partitioner.h"

#include <doctest/doctest.h>

#include <set>
#include <string>
#include <string_view>

namespace sentinel::net::kafka {

namespace {

struct Known {
  std::string_view key;
  std::uint32_t hash;
};

std::int32_t as_signed(std::uint32_t hash) { return static_cast<std::int32_t>(hash); }

}  // namespace

TEST_CASE("murmur2 gives what the Java client's own test expects") {
  CHECK(as_signed(murmur2(core::as_bytes("21"))) == -973932308);
  CHECK(as_signed(murmur2(core::as_bytes("foobar"))) == -790332482);
  CHECK(as_signed(murmur2(core::as_bytes("a-little-bit-long-string"))) == -985981536);
  CHECK(as_signed(murmur2(core::as_bytes("a-little-bit-longer-string"))) == -1486304829);
  CHECK(as_signed(murmur2(core::as_bytes("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8"))) ==
        -58897971);
  CHECK(as_signed(murmur2(core::as_bytes("abc"))) == 479470107);
}

TEST_CASE("murmur2 gives what librdkafka's own test expects, for every length of tail") {
  const Known table[] = {
      {"kafka", 0xd067cf64}, {"giberish123456789", 0x8f552b0c},
      {"1234", 0x9fc97b14},  {"234", 0xe7c009ca},
      {"34", 0x873930da},    {"4", 0x5a4b5ca1},
      {"", 0x106e08d9},      {"PreAmbleWillBeRemoved,ThePrePartThatIs", 0x78424f1c},
  };
  for (const Known& known : table) {
    CAPTURE(known.key);
    CHECK(murmur2(core::as_bytes(known.key)) == known.hash);
  }
}

TEST_CASE("murmur2 does not depend on where the key lies in memory") {
  const std::string padded = "xPreAmbleWillBeRemoved,ThePrePartThatIs";
  const core::ByteSpan all = core::as_bytes(padded);
  CHECK(murmur2(all.subspan(2)) == 0x4a62b377);
  CHECK(murmur2(all.subspan(3)) == 0xe0e4e09e);
  CHECK(murmur2(all.subspan(4)) == 0x62b8b43f);
}

TEST_CASE("the partition of a key is the hash without its sign bit modulo the partitions") {
  CHECK(partition_of_key(core::as_bytes("abc"), 12) == 479470107 % 12);
  CHECK(partition_of_key(core::as_bytes("21"), 7) == (0xc5f2f8ec & 0x7fffffff) % 7);
  CHECK(partition_of_key(core::as_bytes("kafka"), 10) == 0x5067cf64 % 10);
  CHECK(partition_of_key(core::as_bytes(""), 1) == 0);
}

TEST_CASE("keys reach all partitions") {
  std::set<std::int32_t> seen;
  for (int i = 0; i < 500; ++i) {
    const std::string key = std::to_string(i);
    const std::int32_t partition = partition_of_key(core::as_bytes(key), 16);
    REQUIRE(partition >= 0);
    REQUIRE(partition < 16);
    seen.insert(partition);
  }
  CHECK(seen.size() == 16);
}

}  // namespace sentinel::net::kafka
