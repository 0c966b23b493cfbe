#include "core/uuid.h"

#include "core/random.h"

namespace sentinel::core {
namespace {

constexpr std::string_view kAlphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
constexpr std::size_t kTextLength = 22;
constexpr std::uint8_t kDash = 62;

}  // namespace

Uuid Uuid::from_random(std::array<std::uint8_t, 16> random) {
  Uuid uuid{random};
  uuid.bytes[6] = static_cast<std::uint8_t>((uuid.bytes[6] & 0x0f) | 0x40);
  uuid.bytes[8] = static_cast<std::uint8_t>((uuid.bytes[8] & 0x3f) | 0x80);
  if (uuid.bytes[0] >> 2 == kDash) uuid.bytes[0] &= 0x7f;
  return uuid;
}

std::string Uuid::to_string() const {
  std::string text;
  text.reserve(kTextLength);
  std::uint32_t bits = 0;
  unsigned count = 0;
  for (const std::uint8_t byte : bytes) {
    bits = bits << 8 | byte;
    for (count += 8; count >= 6; count -= 6) text += kAlphabet[bits >> (count - 6) & 0x3f];
  }
  // 128 bits are 21 groups of six and two bits more.
  text += kAlphabet[bits << (6 - count) & 0x3f];
  return text;
}

Uuid Uuid::make(Random& random) {
  std::array<std::uint8_t, 16> bytes;
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next() >> 56);
  return from_random(bytes);
}

std::optional<Uuid> Uuid::parse(std::string_view text) {
  if (text.size() != kTextLength) return std::nullopt;
  Uuid uuid;
  std::uint32_t bits = 0;
  unsigned count = 0;
  std::size_t filled = 0;
  for (const char character : text) {
    const std::size_t value = kAlphabet.find(character);
    if (value == std::string_view::npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(value);
    count += 6;
    if (count >= 8 && filled < uuid.bytes.size()) {
      count -= 8;
      uuid.bytes[filled++] = static_cast<std::uint8_t>(bits >> count);
    }
  }
  if ((bits & 0x0f) != 0) return std::nullopt;
  return uuid;
}

}  // namespace sentinel::core
