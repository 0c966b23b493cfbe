#pragma once
/// The decoding visitor of the Kafka dialect. Used through net/kafka/wire.h.

#include <bit>
#include <string_view>
#include <utility>

#include "core/bytes.h"
#include "net/kafka/field_spec.h"

namespace sentinel::net::kafka {

/// The visitor that decodes. Like the reader it stands on, it goes on after a failure and yields
/// nothing; ask failed() at the end.
///
/// Memory: an array is allocated only when its count is at most the bytes that are left (each
/// element takes at least one) and all arrays together stay below kArrayBytesBase +
/// kArrayBytesFactor * body size. Elements are up to seven times larger in memory than on the wire
/// in messages that real clients send, and some forty times in hostile ones.
class BodyDecoder {
 public:
  static constexpr std::size_t kArrayBytesBase = 1 << 20;
  static constexpr std::size_t kArrayBytesFactor = 8;

  BodyDecoder(const core::Bytes& body, std::int16_t body_version, bool flexible)
      : version(body_version),
        body_(body),
        in_(body),
        flexible_(flexible),
        array_bytes_left_(kArrayBytesBase + kArrayBytesFactor * body.size()) {}

  template <typename T>
  void field(std::string_view, T& value, FieldSpec spec = {}) {
    if (spec.covers(version)) get(value, spec.nullable_in(version));
  }
  template <typename T>
  void tagged(std::uint32_t, std::string_view, T&, FieldSpec = {},
              const std::type_identity_t<T>& = {}) {}

  template <typename T>
  void get(T& value, bool nullable = false) {
    if constexpr (std::same_as<T, bool>) {
      value = get_bool();
    } else if constexpr (std::is_enum_v<T>) {
      value = static_cast<T>(in_.number<std::underlying_type_t<T>>());
    } else if constexpr (std::integral<T>) {
      value = in_.number<T>();
    } else if constexpr (std::same_as<T, double>) {
      value = std::bit_cast<double>(in_.u64());
    } else if constexpr (std::same_as<T, core::Uuid>) {
      value = get_uuid();
    } else if constexpr (kIsOptional<T>) {
      get_optional(value, nullable);
    } else if constexpr (WireStruct<T>) {
      get_struct(value);
    } else {
      get_present(value, get_length<T>());
    }
  }

  [[nodiscard]] bool failed() const { return in_.failed(); }

  const std::int16_t version;

 private:
  /// Finds the field that one tag on the wire belongs to.
  struct TagDecoder {
    template <typename T>
    void field(std::string_view, T&, FieldSpec = {}) {}
    template <typename T>
    void tagged(std::uint32_t field_tag, std::string_view, T& value, FieldSpec spec = {},
                const std::type_identity_t<T>& = {}) {
      if (field_tag != tag || !spec.covers(version)) return;
      known = true;
      body.get(value, spec.nullable_in(version));
    }

    BodyDecoder& body;
    const std::int16_t version;
    const std::uint32_t tag;
    bool known = false;
  };

  template <WireStruct T>
  void get_struct(T& value) {
    T::fields(value, *this);
    if (!flexible_) return;
    const std::uint32_t count = in_.varint32();
    std::uint64_t tag_min = 0;
    for (std::uint32_t i = 0; i < count && !failed(); ++i) {
      const std::uint32_t tag = in_.varint32();
      const core::ByteSpan content = in_.take(in_.varint32());
      if (tag < tag_min) in_.fail();
      if (failed()) return;
      tag_min = std::uint64_t{tag} + 1;
      get_tagged(value, tag, content);
    }
  }

  template <WireStruct T>
  void get_tagged(T& value, std::uint32_t tag, core::ByteSpan content) {
    const core::ByteReader after = std::exchange(in_, core::ByteReader(content));
    TagDecoder decoder{.body = *this, .version = version, .tag = tag};
    T::fields(value, decoder);
    const bool malformed = in_.failed() || (decoder.known && in_.remaining() != 0);
    in_ = after;
    if (malformed) in_.fail();
  }

  template <typename T>
  void get_optional(std::optional<T>& value, bool nullable) {
    value.reset();
    if constexpr (WireStruct<T>) {
      const std::int8_t presence = nullable ? in_.i8() : std::int8_t{1};
      if (presence != 1 && presence != -1) in_.fail();
      if (presence == 1 && !failed()) get_struct(value.emplace());
    } else {
      const std::int64_t length = get_length<T>();
      if (length == kNull && !nullable) in_.fail();
      if (length != kNull && !failed()) get_present(value.emplace(), length);
    }
  }

  void get_present(std::string_view& value, std::int64_t length) {
    value = core::as_text(take(length));
  }
  void get_present(core::Bytes& value, std::int64_t length) {
    value = body_.slice_of(take(length));
  }
  void get_present(core::Chain& value, std::int64_t length) {
    value = core::Chain(body_.slice_of(take(length)));
  }
  template <typename T>
  void get_present(std::vector<T>& values, std::int64_t count) {
    values.clear();
    if (!admit_array(count, sizeof(T))) return;
    values.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count && !failed(); ++i) get(values.emplace_back());
  }

  static constexpr std::int64_t kNull = -1;

  template <typename T>
  std::int64_t get_length() {
    return get_length(std::same_as<T, std::string_view>);
  }
  /// A length or count that is not negative, or kNull.
  std::int64_t get_length(bool is_string);
  /// The next bytes; null is a failure.
  core::ByteSpan take(std::int64_t length);
  bool admit_array(std::int64_t count, std::size_t element_bytes);
  bool get_bool();
  core::Uuid get_uuid();

  const core::Bytes& body_;
  core::ByteReader in_;
  const bool flexible_;
  std::size_t array_bytes_left_;
};

}  // namespace sentinel::net::kafka
