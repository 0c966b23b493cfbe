#include "core/crc32c.h"

#include <doctest/doctest.h>

#include <vector>

#include "core/random.h"

namespace sentinel::core {

namespace {

std::vector<std::byte> sequence(std::size_t length, int first, int step) {
  std::vector<std::byte> bytes(length);
  int value = first;
  for (std::byte& byte : bytes) {
    byte = static_cast<std::byte>(value);
    value += step;
  }
  return bytes;
}

std::vector<std::byte> random_bytes(std::size_t length) {
  Random random(7);
  std::vector<std::byte> bytes(length);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random.next());
  return bytes;
}

/// Every variant that this machine can run, against the table.
void check_variants(std::uint32_t crc, ByteSpan data) {
  const std::uint32_t expected = crc32c_variants::table(crc, data);
  REQUIRE(crc32c_extend(crc, data) == expected);
  if (!crc32c_variants::supported()) return;
  REQUIRE(crc32c_variants::simple(crc, data) == expected);
  REQUIRE(crc32c_variants::interleaved(crc, data) == expected);
}

}  // namespace

TEST_CASE("CRC-32C gives the values of RFC 3720, appendix B.4") {
  CHECK(crc32c(sequence(32, 0x00, 0)) == 0x8a9136aa);
  CHECK(crc32c(sequence(32, 0xff, 0)) == 0x62a8ab43);
  CHECK(crc32c(sequence(32, 0, 1)) == 0x46dd794e);
  CHECK(crc32c(sequence(32, 31, -1)) == 0x113fdb5c);
  CHECK(crc32c(as_bytes("123456789")) == 0xe3069283);
  CHECK(crc32c({}) == 0);
  CHECK(crc32c_variants::table(0, as_bytes("123456789")) == 0xe3069283);
}

TEST_CASE("all variants agree at every alignment and every short length") {
  const std::vector<std::byte> bytes = random_bytes(1100);
  for (std::size_t offset = 0; offset < 16; ++offset) {
    for (std::size_t length = 0; length <= 1024; ++length) {
      check_variants(0, ByteSpan(bytes).subspan(offset, length));
    }
  }
}

TEST_CASE("all variants agree around the strides of the interleaved one") {
  const std::vector<std::byte> bytes = random_bytes(70'000);
  for (const std::size_t around : {768u, 1536u, 12'288u, 13'056u, 24'576u, 65'536u}) {
    for (std::size_t length = around - 17; length <= around + 17; ++length) {
      for (std::size_t offset = 0; offset < 9; ++offset) {
        check_variants(0x12345678, ByteSpan(bytes).subspan(offset, length));
      }
    }
  }
}

TEST_CASE("a checksum extended piece by piece is the checksum of the whole") {
  const std::vector<std::byte> bytes = random_bytes(20'000);
  const std::uint32_t whole = crc32c(bytes);
  for (std::size_t cut = 0; cut <= bytes.size(); cut += 97) {
    const ByteSpan span(bytes);
    CHECK(crc32c_extend(crc32c(span.first(cut)), span.subspan(cut)) == whole);
  }
}

TEST_CASE("every flipped bit changes the checksum") {
  std::vector<std::byte> bytes = random_bytes(900);
  const std::uint32_t before = crc32c(bytes);
  for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    REQUIRE(crc32c(bytes) != before);
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
  }
}

}  // namespace sentinel::core
