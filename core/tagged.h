#pragma once
/// Numbers that can't be mixed up: Tagged<int64_t, struct OffsetTag> is not a LogIndex.

#include <fmt/format.h>

#include <compare>
#include <concepts>
#include <cstdint>
#include <functional>
#include <utility>

#include "core/assert.h"

namespace sentinel::core {

/// An integer with a name. Ordered and hashable; conversion in and out is explicit; `next()` and `+
/// count` move along a sequence.
template <std::integral T, typename Tag>
class Tagged {
 public:
  using Value = T;

  constexpr Tagged() = default;
  constexpr explicit Tagged(T value) : value_(value) {}

  [[nodiscard]] constexpr T value() const { return value_; }
  [[nodiscard]] constexpr Tagged next() const { return Tagged(static_cast<T>(value_ + 1)); }
  friend constexpr auto operator<=>(Tagged, Tagged) = default;
  friend constexpr Tagged operator+(Tagged a, T count) {
    return Tagged(static_cast<T>(a.value_ + count));
  }
  /// How many steps `b` lies before `a`.
  friend constexpr T operator-(Tagged a, Tagged b) { return static_cast<T>(a.value_ - b.value_); }

 private:
  T value_{};
};

/// Converts between integer types and asserts that the value survives.
template <std::integral To, std::integral From>
constexpr To narrow(From value) {
  SENTINEL_ASSERT(std::in_range<To>(value), "{} does not fit", value);
  return static_cast<To>(value);
}

}  // namespace sentinel::core

template <typename T, typename Tag>
struct std::hash<sentinel::core::Tagged<T, Tag>> {
  std::size_t operator()(sentinel::core::Tagged<T, Tag> tagged) const noexcept {
    return std::hash<T>{}(tagged.value());
  }
};

template <typename T, typename Tag>
struct fmt::formatter<sentinel::core::Tagged<T, Tag>> : fmt::formatter<T> {
  auto format(sentinel::core::Tagged<T, Tag> tagged, fmt::format_context& context) const {
    return fmt::formatter<T>::format(tagged.value(), context);
  }
};
