#pragma once
/// Messages as JSON text under the names of Kafka's schemas: for debug logs, and for tests against
/// golden values.

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/bytes.h"
#include "core/uuid.h"
#include "net/kafka/field_spec.h"

namespace sentinel::net::kafka {

enum class JsonStyle : std::uint8_t {
  exact,  ///< UUIDs and bytes in hex: two messages are equal when their texts are.
  log,  ///< UUIDs as people know them; bytes and records by size only, they may be large or secret.
};

/// The visitor that prints the fields that `version` has; tagged fields only when they would be
/// sent.
class JsonPrinter {
 public:
  JsonPrinter(std::int16_t body_version, JsonStyle style) : version(body_version), style_(style) {}

  template <typename T>
  void field(std::string_view name, const T& value, FieldSpec spec = {}) {
    if (!spec.covers(version)) return;
    put_name(name);
    put(value);
  }
  template <typename T>
  void tagged(std::uint32_t, std::string_view name, const T& value, FieldSpec spec = {},
              const std::type_identity_t<T>& default_value = {}) {
    if (!is_default(value, default_value)) field(name, value, spec);
  }

  template <typename T>
  void put(const T& value) {
    if constexpr (kIsOptional<T>) {
      if (value) return put(*value);
      text_ += "null";
    } else if constexpr (kIsArray<T>) {
      put_array(value);
    } else if constexpr (std::is_enum_v<T>) {
      put(std::to_underlying(value));
    } else if constexpr (std::same_as<T, bool>) {
      text_ += value ? "true" : "false";
    } else if constexpr (std::integral<T>) {
      static_assert(std::signed_integral<T> || sizeof(T) < sizeof(std::int64_t));
      put_leaf(std::int64_t{value});
    } else if constexpr (WireStruct<T>) {
      put_struct(value);
    } else {
      put_leaf(value);
    }
  }

  const std::int16_t version;

  [[nodiscard]] std::string take() && { return std::move(text_); }

 private:
  template <WireStruct T>
  void put_struct(const T& value) {
    text_ += '{';
    T::fields(value, *this);
    text_ += '}';
  }
  template <typename T>
  void put_array(const std::vector<T>& values) {
    text_ += '[';
    for (const T& value : values) {
      put_comma();
      put(value);
    }
    text_ += ']';
  }

  void put_comma();
  void put_name(std::string_view name);
  void put_leaf(std::int64_t value);
  void put_leaf(double value);
  void put_leaf(std::string_view value);
  void put_leaf(const core::Uuid& value);
  void put_leaf(const core::Bytes& value);
  void put_leaf(const core::Chain& value);
  void put_hex(core::ByteSpan bytes);

  const JsonStyle style_;
  std::string text_;
};

template <WireStruct T>
std::string to_json(const T& message, std::int16_t version, JsonStyle style = JsonStyle::log) {
  JsonPrinter printer(version, style);
  printer.put(message);
  return std::move(printer).take();
}

}  // namespace sentinel::net::kafka
