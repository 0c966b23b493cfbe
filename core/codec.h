#pragma once
/// Our own structures on disk and between nodes: one `fields` function a struct describes it, and
/// encoding and decoding both derive from that description.
///
///   struct WalAdded {
///     FileNumber number;
///     std::uint64_t size_bytes = 0;
///     static void fields(auto& self, auto& visit) { visit(self.number); visit(self.size_bytes); }
///   };
///
/// Numbers are fixed-width big-endian, counts and lengths are varints. A layout never changes; a
/// new one gets a new record type or format version from its container. (The Kafka protocol has its
/// own dialect in net/kafka/wire.h.)

#include <array>
#include <concepts>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "core/tagged.h"

namespace sentinel::core {

class FieldWriter;
class FieldReader;

template <typename T>
concept Described = requires(T& value, FieldWriter& writer) { T::fields(value, writer); };

class FieldWriter {
 public:
  explicit FieldWriter(ByteWriter& out) : out_(out) {}

  template <typename T>
    requires std::integral<T>
  void operator()(const T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      out_.u8(value ? 1 : 0);
    } else {
      out_.number(value);
    }
  }
  template <typename T>
    requires std::is_enum_v<T>
  void operator()(const T& value) {
    out_.number(static_cast<std::underlying_type_t<T>>(value));
  }
  template <typename T, typename Tag>
  void operator()(const Tagged<T, Tag>& value) {
    out_.number(value.value());
  }
  void operator()(const std::string& value) {
    out_.varint(value.size());
    out_.text(value);
  }
  template <std::size_t N>
  void operator()(const std::array<std::uint8_t, N>& value) {
    out_.bytes(std::as_bytes(std::span(value)));
  }
  template <typename T>
  void operator()(const std::vector<T>& values) {
    out_.varint(values.size());
    for (const T& value : values) (*this)(value);
  }
  template <Described T>
  void operator()(const T& value) {
    T::fields(value, *this);
  }

 private:
  ByteWriter& out_;
};

/// Decodes; after a failure the reader's failed() is set and fields keep what they had.
class FieldReader {
 public:
  explicit FieldReader(ByteReader& in) : in_(in) {}

  template <typename T>
    requires std::integral<T>
  void operator()(T& value) {
    if constexpr (std::is_same_v<T, bool>) {
      const std::uint8_t raw = in_.u8();
      if (raw > 1) in_.fail();
      value = raw == 1;
    } else {
      value = in_.number<T>();
    }
  }
  /// The caller checks the range of an enum: what is known differs by version.
  template <typename T>
    requires std::is_enum_v<T>
  void operator()(T& value) {
    value = static_cast<T>(in_.number<std::underlying_type_t<T>>());
  }
  template <typename T, typename Tag>
  void operator()(Tagged<T, Tag>& value) {
    value = Tagged<T, Tag>(in_.number<T>());
  }
  void operator()(std::string& value) {
    const std::uint64_t length = in_.varint();
    if (length > in_.remaining()) return in_.fail();
    value = in_.text(length);
  }
  template <std::size_t N>
  void operator()(std::array<std::uint8_t, N>& value) {
    const ByteSpan raw = in_.take(N);
    if (!raw.empty()) std::memcpy(value.data(), raw.data(), N);
  }
  template <typename T>
  void operator()(std::vector<T>& values) {
    const std::uint64_t count = in_.varint();
    // Every element takes at least a byte, so a count beyond that is a lie; memory grows only as
    // elements are really read.
    if (count > in_.remaining()) return in_.fail();
    values.clear();
    for (std::uint64_t i = 0; i < count && !in_.failed(); ++i) {
      values.emplace_back();
      (*this)(values.back());
    }
  }
  template <Described T>
  void operator()(T& value) {
    T::fields(value, *this);
  }

 private:
  ByteReader& in_;
};

template <Described T>
void encode_fields(ByteWriter& out, const T& value) {
  FieldWriter writer(out);
  writer(value);
}

template <Described T>
Bytes encode_fields(const T& value) {
  ByteWriter out;
  encode_fields(out, value);
  return out.to_bytes();
}

/// The whole of `in` must be one T.
template <Described T>
Result<T> decode_fields(ByteSpan in) {
  ByteReader reader(in);
  FieldReader fields(reader);
  T value;
  fields(value);
  if (reader.failed() || reader.remaining() != 0) return fail(Errc::corruption, "malformed record");
  return value;
}

}  // namespace sentinel::core
