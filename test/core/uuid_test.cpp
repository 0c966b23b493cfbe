#include "core/uuid.h"

#include <doctest/doctest.h>

namespace sentinel::core {

TEST_CASE("a UUID prints as 22 characters of URL-safe base64, and parses back") {
  CHECK(Uuid{}.to_string() == "AAAAAAAAAAAAAAAAAAAAAA");
  Uuid uuid;
  uuid.bytes.fill(0xff);
  CHECK(uuid.to_string() == "_____________________w");
  for (std::size_t i = 0; i < uuid.bytes.size(); ++i) {
    uuid.bytes[i] = static_cast<std::uint8_t>(i * 17);
  }
  CHECK(uuid.to_string() == "ABEiM0RVZneImaq7zN3u_w");
  CHECK(Uuid::parse(uuid.to_string()) == uuid);
}

TEST_CASE("a text that is not a UUID does not parse") {
  CHECK_FALSE(Uuid::parse(""));
  CHECK_FALSE(Uuid::parse("AAAAAAAAAAAAAAAAAAAAA"));
  CHECK_FALSE(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAAA"));
  CHECK_FALSE(Uuid::parse("AAAAAAAAAAAAAAAAAAAA+A"));
  CHECK_FALSE(Uuid::parse("AAAAAAAAAAAAAAAAAAAAAB"));  // Bits beyond the 128th.
}

TEST_CASE("a random UUID is marked as version 4 and never starts with a dash") {
  std::array<std::uint8_t, 16> random{};
  for (unsigned first = 0; first < 256; ++first) {
    random.fill(static_cast<std::uint8_t>(first));
    const Uuid uuid = Uuid::from_random(random);
    CHECK((uuid.bytes[6] & 0xf0) == 0x40);
    CHECK((uuid.bytes[8] & 0xc0) == 0x80);
    CHECK(uuid.to_string().front() != '-');
    CHECK_FALSE(uuid.is_zero());
  }
}

}  // namespace sentinel::core
