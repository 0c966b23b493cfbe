#include "core/bytes.h"

#include <limits>
#include <new>

namespace sentinel::core {

Buffer Buffer::allocate(std::size_t capacity) {
  void* memory = ::operator new(sizeof(Block) + capacity);
  auto* block = new (memory) Block;
  block->capacity = capacity;
  return Buffer(block);
}

std::byte* Buffer::data() const {
  return block_ == nullptr ? nullptr : reinterpret_cast<std::byte*>(block_ + 1);
}

void Buffer::release() {
  if (block_ == nullptr) return;
  if (block_->references.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    if (block_->reclaim != nullptr) return block_->reclaim(block_);
    block_->~Block();
    ::operator delete(block_);
  }
}

Bytes Buffer::slice(std::size_t offset, std::size_t length) const {
  SENTINEL_ASSERT(offset <= capacity() && length <= capacity() - offset);
  return Bytes(*this, data() + offset, length);
}

Bytes Bytes::copy(ByteSpan source) {
  if (source.empty()) return {};
  Buffer buffer = Buffer::allocate(source.size());
  std::memcpy(buffer.data(), source.data(), source.size());
  return buffer.slice(0, source.size());
}

Bytes Chain::joined() const {
  if (parts_.empty()) return {};
  if (parts_.size() == 1) return parts_.front();
  Buffer buffer = Buffer::allocate(size_);
  std::size_t offset = 0;
  for (const Bytes& part : parts_) {
    std::memcpy(buffer.data() + offset, part.data(), part.size());
    offset += part.size();
  }
  return buffer.slice(0, size_);
}

std::byte* store_varint(std::byte* to, std::uint64_t value) {
  while (value >= 0x80) {
    *to++ = static_cast<std::byte>(value | 0x80);
    value >>= 7;
  }
  *to++ = static_cast<std::byte>(value);
  return to;
}

std::uint64_t ByteReader::varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    const std::uint8_t byte = u8();
    if (failed_) return 0;
    // The tenth byte holds only the top bit of a 64-bit number.
    if (shift == 63 && byte > 1) break;
    value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return value;
  }
  fail();
  return 0;
}

std::uint32_t ByteReader::varint32() {
  const std::uint64_t value = varint();
  if (value > std::numeric_limits<std::uint32_t>::max()) {
    fail();
    return 0;
  }
  return static_cast<std::uint32_t>(value);
}

std::int32_t ByteReader::zigzag32() {
  const std::int64_t value = zigzag64();
  if (!std::in_range<std::int32_t>(value)) {
    fail();
    return 0;
  }
  return static_cast<std::int32_t>(value);
}

void ByteWriter::varint(std::uint64_t value) {
  const std::size_t old_size = bytes_.size();
  bytes_.resize(old_size + kVarintBytesMax);
  const std::byte* end = store_varint(bytes_.data() + old_size, value);
  bytes_.resize(static_cast<std::size_t>(end - bytes_.data()));
}

}  // namespace sentinel::core
