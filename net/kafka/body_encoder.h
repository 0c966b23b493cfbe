#pragma once
/// The encoding visitor of the Kafka dialect and its two sinks: one counts, one writes. Used
/// through net/kafka/wire.h.

#include <bit>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "core/assert.h"
#include "core/bytes.h"
#include "net/kafka/field_spec.h"

namespace sentinel::net::kafka {

/// Adds up what StoringSink will write.
class CountingSink {
 public:
  template <std::integral T>
  void number(T) {
    inline_bytes_ += sizeof(T);
  }
  void varint(std::size_t value) { inline_bytes_ += core::varint_size(value); }
  void bytes(core::ByteSpan source) { inline_bytes_ += source.size(); }
  void splice(const core::Chain& chain) { spliced_bytes_ += chain.size(); }
  void string(std::string_view source) {
    string_too_long_ |= source.size() > kStringBytesMax;
    bytes(core::as_bytes(source));
  }

  [[nodiscard]] std::size_t inline_bytes() const { return inline_bytes_; }
  [[nodiscard]] std::size_t total_bytes() const { return inline_bytes_ + spliced_bytes_; }
  /// True for a string above kStringBytesMax, and for more than a frame can hold.
  [[nodiscard]] bool too_large() const {
    return string_too_long_ ||
           total_bytes() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max());
  }

 private:
  std::size_t inline_bytes_ = 0;
  std::size_t spliced_bytes_ = 0;
  bool string_too_long_ = false;
};

/// Writes into one buffer of exactly the size that a CountingSink found. Unchecked, but for
/// finish().
class StoringSink {
 public:
  explicit StoringSink(std::size_t inline_bytes)
      : buffer_(core::Buffer::allocate(inline_bytes)), at_(buffer_.data()) {}

  template <std::integral T>
  void number(T value) {
    core::store_be(at_, value);
    at_ += sizeof value;
  }
  void varint(std::size_t value) { at_ = core::store_varint(at_, value); }
  void bytes(core::ByteSpan source) {
    if (source.empty()) return;
    std::memcpy(at_, source.data(), source.size());
    at_ += source.size();
  }
  void splice(const core::Chain& chain) {
    if (!chain.empty()) splices_.push_back({at_, &chain});
  }
  void string(std::string_view source) { bytes(core::as_bytes(source)); }

  /// What was written, with the spliced chains in their places.
  [[nodiscard]] core::Chain finish() const;

 private:
  struct Splice {
    const std::byte* before;
    const core::Chain* chain;
  };

  core::Buffer buffer_;
  std::byte* at_;
  std::vector<Splice> splices_;
};

/// The visitor that encodes, into either sink.
template <typename Sink>
class BodyEncoder {
 public:
  BodyEncoder(Sink& sink, std::int16_t body_version, bool flexible)
      : version(body_version), sink_(sink), flexible_(flexible) {}

  template <typename T>
  void field(std::string_view, const T& value, FieldSpec spec = {}) {
    if (spec.covers(version)) put(value, spec.nullable_in(version));
  }
  template <typename T>
  void tagged(std::uint32_t, std::string_view, const T&, FieldSpec = {},
              const std::type_identity_t<T>& = {}) {}

  template <typename T>
  void put(const T& value, bool nullable = false) {
    if constexpr (std::same_as<T, bool>) {
      sink_.number(static_cast<std::uint8_t>(value));
    } else if constexpr (std::is_enum_v<T>) {
      sink_.number(std::to_underlying(value));
    } else if constexpr (std::integral<T>) {
      sink_.number(value);
    } else if constexpr (std::same_as<T, double>) {
      sink_.number(std::bit_cast<std::uint64_t>(value));
    } else if constexpr (std::same_as<T, core::Uuid>) {
      sink_.bytes(std::as_bytes(std::span(value.bytes)));
    } else if constexpr (std::same_as<T, std::string_view>) {
      put_string_length(value.size());
      sink_.string(value);
    } else if constexpr (std::same_as<T, core::Bytes>) {
      put_length(value.size());
      sink_.bytes(value);
    } else if constexpr (std::same_as<T, core::Chain>) {
      put_length(value.size());
      sink_.splice(value);
    } else if constexpr (kIsArray<T>) {
      put_length(value.size());
      for (const auto& element : value) put(element);
    } else if constexpr (kIsOptional<T>) {
      put_optional(value, nullable);
    } else {
      static_assert(WireStruct<T>, "not a type of the Kafka protocol");
      put_struct(value);
    }
  }

  const std::int16_t version;

 private:
  /// Counts the tagged fields that will be sent.
  struct TagCounter {
    template <typename T>
    void field(std::string_view, const T&, FieldSpec = {}) {}
    template <typename T>
    void tagged(std::uint32_t tag, std::string_view, const T& value, FieldSpec spec = {},
                const std::type_identity_t<T>& default_value = {}) {
      SENTINEL_DEBUG_ASSERT(next_tag_min <= tag, "tag {} is out of order", tag);
      next_tag_min = tag + 1;
      if (spec.covers(version) && !is_default(value, default_value)) ++count;
    }

    const std::int16_t version;
    std::uint32_t count = 0;
    std::uint32_t next_tag_min = 0;
  };

  /// Sends them.
  struct TagEncoder {
    template <typename T>
    void field(std::string_view, const T&, FieldSpec = {}) {}
    template <typename T>
    void tagged(std::uint32_t tag, std::string_view, const T& value, FieldSpec spec = {},
                const std::type_identity_t<T>& default_value = {}) {
      if (!spec.covers(version) || is_default(value, default_value)) return;
      CountingSink size;
      BodyEncoder<CountingSink>(size, version, true).put(value, spec.nullable_in(version));
      body.sink_.varint(tag);
      body.sink_.varint(size.total_bytes());
      body.put(value, spec.nullable_in(version));
    }

    BodyEncoder& body;
    const std::int16_t version;
  };

  template <WireStruct T>
  void put_struct(const T& value) {
    T::fields(value, *this);
    if (!flexible_) return;
    TagCounter tags{.version = version};
    T::fields(value, tags);
    sink_.varint(tags.count);
    if (tags.count == 0) return;
    TagEncoder encoder{.body = *this, .version = version};
    T::fields(value, encoder);
  }

  template <typename T>
  void put_optional(const std::optional<T>& value, bool nullable) {
    // Only a struct marks its presence in a byte of its own; everything else has a length that can
    // say null.
    if constexpr (WireStruct<T>) {
      if (nullable) sink_.number(static_cast<std::int8_t>(value ? 1 : -1));
    }
    if (value) {
      put(*value);
    } else if (!nullable) {
      put(T{});
    } else if constexpr (!WireStruct<T>) {
      put_null(std::same_as<T, std::string_view>);
    }
  }

  void put_null(bool is_string) {
    if (flexible_) {
      sink_.varint(0);
    } else if (is_string) {
      sink_.number(std::int16_t{-1});
    } else {
      sink_.number(std::int32_t{-1});
    }
  }
  void put_string_length(std::size_t length) {
    if (flexible_) {
      sink_.varint(length + 1);
    } else {
      sink_.number(static_cast<std::int16_t>(length));
    }
  }
  void put_length(std::size_t length) {
    if (flexible_) {
      sink_.varint(length + 1);
    } else {
      sink_.number(static_cast<std::int32_t>(length));
    }
  }

  Sink& sink_;
  const bool flexible_;
};

}  // namespace sentinel::net::kafka
