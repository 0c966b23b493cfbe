#pragma once
/// A 16-byte universally unique identifier: topic ids, the cluster id, directory ids. All zero
/// means "none".

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace sentinel::core {

class Random;

struct Uuid {
  std::array<std::uint8_t, 16> bytes{};

  /// A version 4 UUID (RFC 9562, section 5.4) from 16 random bytes. Its text never starts with '-',
  /// so that command lines do not take it for an option.
  static Uuid from_random(std::array<std::uint8_t, 16> random);
  /// The same, with bytes drawn from `random`.
  static Uuid make(Random& random);
  /// The inverse of to_string(); nothing when `text` is not the 22 characters of one UUID.
  static std::optional<Uuid> parse(std::string_view text);

  /// URL-safe base64 without padding, 22 characters: the form that Kafka's tools print and accept.
  [[nodiscard]] std::string to_string() const;
  [[nodiscard]] bool is_zero() const { return *this == Uuid{}; }

  friend auto operator<=>(const Uuid&, const Uuid&) = default;

  static void fields(auto& self, auto& visit) { visit(self.bytes); }
};

}  // namespace sentinel::core

template <>
struct std::hash<sentinel::core::Uuid> {
  std::size_t operator()(const sentinel::core::Uuid& uuid) const noexcept {
    std::size_t prefix;
    std::memcpy(&prefix, uuid.bytes.data(),
                sizeof prefix);  // Random bits: any eight of them will do.
    return prefix;
  }
};
