#pragma once
/// What the visitors of the Kafka dialect (net/kafka/wire.h) know about fields and their types.

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <type_traits>
#include <vector>

#include "core/uuid.h"
#include "net/kafka/api.h"

namespace sentinel::net::kafka {

/// The longest string, in every version: clients refuse longer ones also where the length would not
/// need to fit 16 bits.
inline constexpr std::size_t kStringBytesMax = std::numeric_limits<std::int16_t>::max();

/// The versions of a message in which a field is there. Bounds are inclusive.
struct FieldSpec {
  std::int16_t since = 0;
  std::int16_t until = std::numeric_limits<std::int16_t>::max();
  /// For optional types: in a version below, null is refused when decoded, and encoded as empty.
  std::int16_t nullable_since = 0;

  [[nodiscard]] constexpr bool covers(std::int16_t version) const {
    return version >= since && version <= until;
  }
  [[nodiscard]] constexpr bool nullable_in(std::int16_t version) const {
    return version >= nullable_since;
  }
};

template <typename T>
inline constexpr bool kIsOptional = false;
template <typename T>
inline constexpr bool kIsOptional<std::optional<T>> = true;
template <typename T>
inline constexpr bool kIsArray = false;
template <typename T>
inline constexpr bool kIsArray<std::vector<T>> = true;

template <typename T>
concept WireNumber = std::integral<T> || std::is_enum_v<T>;

template <typename T>
concept WireStruct = std::is_class_v<T> && !std::same_as<T, core::Uuid> &&
                     requires(T& value, struct AnyVisitor& wire) { T::fields(value, wire); };

/// A whole request or response, as opposed to a struct inside one.
template <typename T>
concept Message = WireStruct<T> && requires {
  { T::kKey } -> std::convertible_to<ApiKey>;
  { T::kKind } -> std::convertible_to<MessageKind>;
};
template <typename T>
concept Request = Message<T> && T::kKind == MessageKind::request;
template <typename T>
concept Response = Message<T> && T::kKind == MessageKind::response;

/// Whether a tagged field need not be sent. The default of every tagged array in Kafka's schemas is
/// the empty one.
template <typename T>
bool is_default(const T& value, const T& default_value) {
  if constexpr (kIsArray<T>) {
    return value.empty();
  } else {
    return value == default_value;
  }
}

}  // namespace sentinel::net::kafka
