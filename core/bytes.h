#pragma once
/// Byte buffers and the readers and writers for everything that is stored or sent.
///
/// Buffer   counted, writable storage; the party that fills it holds one.
/// Bytes    a counted, immutable slice of a Buffer. Copying shares, slicing shares. The counter is
/// atomic, so that a slice may
///          cross shards; it is the only atomic outside the mailbox.
/// Chain    a list of slices that together are one value: what a scattered read found, what one
/// vectored write sends.
///
/// All numbers are big-endian: the order of the Kafka protocol and of keys that must sort.

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/assert.h"

namespace sentinel::core {

using ByteSpan = std::span<const std::byte>;

inline ByteSpan as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }
inline std::string_view as_text(ByteSpan bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}
inline bool equal(ByteSpan a, ByteSpan b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

class Bytes;

/// Writable storage of fixed capacity. Copies share the storage. What was handed out as Bytes must
/// not be written again.
class Buffer {
 public:
  Buffer() = default;
  static Buffer allocate(std::size_t capacity);

  Buffer(const Buffer& other) noexcept : block_(other.block_) { retain(); }
  Buffer(Buffer&& other) noexcept : block_(std::exchange(other.block_, nullptr)) {}
  Buffer& operator=(Buffer other) noexcept {
    std::swap(block_, other.block_);
    return *this;
  }
  ~Buffer() { release(); }

  [[nodiscard]] std::byte* data() const;
  [[nodiscard]] std::size_t capacity() const { return block_ == nullptr ? 0 : block_->capacity; }
  [[nodiscard]] Bytes slice(std::size_t offset, std::size_t length) const;
  /// True when no slice and no other Buffer shares this storage, so that all of it may be written
  /// again.
  [[nodiscard]] bool unique() const {
    return block_ != nullptr && block_->references.load(std::memory_order_acquire) == 1;
  }
  explicit operator bool() const { return block_ != nullptr; }

 private:
  friend class Bytes;
  friend class BufferPool;
  /// Stands right before the storage.
  struct Block {
    std::atomic<std::uint32_t> references{1};
    std::size_t capacity = 0;
    void (*reclaim)(Block*) = nullptr;  // Takes what nobody refers to any more; null: it is freed.
  };

  explicit Buffer(Block* block) : block_(block) {}
  void retain() const {
    if (block_ != nullptr) block_->references.fetch_add(1, std::memory_order_relaxed);
  }
  void release();

  Block* block_ = nullptr;
};

/// An immutable slice that keeps its storage alive.
class Bytes {
 public:
  Bytes() = default;
  static Bytes copy(ByteSpan source);
  static Bytes copy(std::string_view source) { return copy(as_bytes(source)); }

  [[nodiscard]] const std::byte* data() const { return data_; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] ByteSpan view() const { return {data_, size_}; }
  [[nodiscard]] std::string_view text() const { return as_text(view()); }
  operator ByteSpan() const { return view(); }  // NOLINT(google-explicit-constructor)

  [[nodiscard]] Bytes slice(std::size_t offset, std::size_t length) const {
    SENTINEL_ASSERT(offset <= size_ && length <= size_ - offset);
    return Bytes(storage_, data_ + offset, length);
  }
  /// The slice of this storage that `part`, a view into it, covers.
  [[nodiscard]] Bytes slice_of(ByteSpan part) const {
    if (part.empty()) return {};
    SENTINEL_ASSERT(part.data() >= data_ && part.data() + part.size() <= data_ + size_);
    return Bytes(storage_, part.data(), part.size());
  }
  /// Write access, for the one party that stamps fields into bytes nobody else has read yet.
  [[nodiscard]] std::byte* stamp() const { return const_cast<std::byte*>(data_); }
  /// Bytes of storage that this slice keeps alive.
  [[nodiscard]] std::size_t storage_bytes() const { return storage_.capacity(); }

 private:
  friend class Buffer;
  Bytes(Buffer storage, const std::byte* data, std::size_t size)
      : storage_(std::move(storage)), data_(data), size_(size) {}

  Buffer storage_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Several slices that together are one value.
class Chain {
 public:
  Chain() = default;
  explicit Chain(Bytes only) { append(std::move(only)); }

  void append(Bytes part) {
    size_ += part.size();
    if (!part.empty()) parts_.push_back(std::move(part));
  }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] const std::vector<Bytes>& parts() const { return parts_; }
  /// One contiguous slice; copies only when there are several parts.
  [[nodiscard]] Bytes joined() const;

 private:
  std::vector<Bytes> parts_;
  std::size_t size_ = 0;
};

template <typename T>
  requires std::is_integral_v<T>
inline T load_be(const std::byte* from) {
  std::make_unsigned_t<T> value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (sizeof(T) > 1) value = std::byteswap(value);
  return static_cast<T>(value);
}

template <typename T>
  requires std::is_integral_v<T>
inline void store_be(std::byte* to, T value) {
  auto raw = static_cast<std::make_unsigned_t<T>>(value);
  if constexpr (sizeof(T) > 1) raw = std::byteswap(raw);
  std::memcpy(to, &raw, sizeof raw);
}

inline constexpr std::size_t kVarintBytesMax = 10;

/// Bytes of `value` as an unsigned varint: 7 bits a byte, low group first.
inline std::size_t varint_size(std::uint64_t value) {
  return static_cast<std::size_t>(std::bit_width(value | 1) + 6) / 7;
}
/// Writes `value` and returns the end of what was written. The caller has checked the room.
std::byte* store_varint(std::byte* to, std::uint64_t value);

/// Zigzag maps small negative numbers to small unsigned ones: 0, -1, 1, -2 become 0, 1, 2, 3.
inline std::uint64_t zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}
inline std::int64_t unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}

/// Reads bytes that may be cut or hostile. A read past the end, or an overlong varint, sets
/// failed(), and from then on every read yields zero or nothing: decode a whole structure, then ask
/// once. No allocation ever depends on an unchecked length.
class ByteReader {
 public:
  explicit ByteReader(ByteSpan input)
      : begin_(input.data()), at_(input.data()), end_(at_ + input.size()) {}

  template <typename T>
    requires std::is_integral_v<T>
  T number() {
    if (remaining() < sizeof(T)) {
      fail();
      return T{};
    }
    T value = load_be<T>(at_);
    at_ += sizeof(T);
    return value;
  }
  std::uint8_t u8() { return number<std::uint8_t>(); }
  std::uint16_t u16() { return number<std::uint16_t>(); }
  std::uint32_t u32() { return number<std::uint32_t>(); }
  std::uint64_t u64() { return number<std::uint64_t>(); }
  std::int8_t i8() { return number<std::int8_t>(); }
  std::int16_t i16() { return number<std::int16_t>(); }
  std::int32_t i32() { return number<std::int32_t>(); }
  std::int64_t i64() { return number<std::int64_t>(); }

  /// An unsigned varint of at most 64 bits.
  std::uint64_t varint();
  /// An unsigned varint that must fit 32 bits: lengths and tags of the compact Kafka types.
  std::uint32_t varint32();
  /// Zigzag varints: the numbers inside Kafka records.
  std::int64_t zigzag64() { return unzigzag(varint()); }
  std::int32_t zigzag32();

  /// The next `length` bytes, or nothing and failed().
  ByteSpan take(std::size_t length) {
    if (remaining() < length) {
      fail();
      return {};
    }
    ByteSpan part(at_, length);
    at_ += length;
    return part;
  }
  std::string_view text(std::size_t length) { return as_text(take(length)); }
  void skip(std::size_t length) { take(length); }

  void fail() {
    failed_ = true;
    at_ = end_;
  }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] std::size_t remaining() const { return static_cast<std::size_t>(end_ - at_); }
  [[nodiscard]] std::size_t consumed() const { return static_cast<std::size_t>(at_ - begin_); }
  [[nodiscard]] ByteSpan rest() const { return {at_, remaining()}; }

 private:
  const std::byte* begin_;
  const std::byte* at_;
  const std::byte* end_;
  bool failed_ = false;
};

/// Appends numbers and bytes to a growing buffer. For small structures; bulk data travels as Bytes
/// and is never written through this.
class ByteWriter {
 public:
  template <typename T>
    requires std::is_integral_v<T>
  void number(T value) {
    store_be(extend(sizeof(T)), value);
  }
  void u8(std::uint8_t value) { number(value); }
  void u16(std::uint16_t value) { number(value); }
  void u32(std::uint32_t value) { number(value); }
  void u64(std::uint64_t value) { number(value); }
  void i8(std::int8_t value) { number(value); }
  void i16(std::int16_t value) { number(value); }
  void i32(std::int32_t value) { number(value); }
  void i64(std::int64_t value) { number(value); }
  void varint(std::uint64_t value);
  void zigzag64(std::int64_t value) { varint(zigzag(value)); }
  void bytes(ByteSpan source) {
    if (!source.empty()) std::memcpy(extend(source.size()), source.data(), source.size());
  }
  void text(std::string_view source) { bytes(as_bytes(source)); }

  /// Room for `length` more bytes, to be filled by the caller before the next call.
  std::byte* extend(std::size_t length) {
    std::size_t old_size = bytes_.size();
    bytes_.resize(old_size + length);
    return bytes_.data() + old_size;
  }
  void clear() { bytes_.clear(); }
  /// Cuts everything from `size` on.
  void shrink(std::size_t size) {
    SENTINEL_ASSERT(size <= bytes_.size());
    bytes_.resize(size);
  }
  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::byte* data() { return bytes_.data(); }
  [[nodiscard]] ByteSpan view() const { return bytes_; }
  [[nodiscard]] Bytes to_bytes() const { return Bytes::copy(view()); }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace sentinel::core
