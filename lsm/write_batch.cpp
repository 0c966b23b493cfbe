#include "lsm/write_batch.h"

#include "lsm/block_log.h"

namespace sentinel::lsm {

namespace {
constexpr std::size_t kSequenceBytes = 8;
}  // namespace

WriteBatch::WriteBatch() { clear(); }

void WriteBatch::clear() {
  head_.clear();
  head_.u64(0);
  operations_.clear();
  body_bytes_ = kSequenceBytes;
  first_sequence_ = {};
}

void WriteBatch::put(core::ByteSpan key, core::Bytes value) {
  SENTINEL_ASSERT(value.size() <= kValueBytesMax);
  const std::size_t length_bytes = core::varint_size(value.size());
  Operation& operation = add(EntryKind::value, key, length_bytes);
  core::store_varint(head_.data() + head_.size() - length_bytes, value.size());
  body_bytes_ += value.size();
  operation.value = std::move(value);
}

void WriteBatch::remove(core::ByteSpan key) { add(EntryKind::tombstone, key, 0); }

/// Appends an operation and `more_bytes` behind its key, for the caller to fill. All of it at once:
/// a small batch costs as much as the growing of its buffer.
WriteBatch::Operation& WriteBatch::add(EntryKind kind, core::ByteSpan key, std::size_t more_bytes) {
  SENTINEL_ASSERT(key.size() <= kKeyBytesMax);
  const std::size_t begin = head_.size();
  const std::size_t length = 1 + core::varint_size(key.size()) + key.size() + more_bytes;
  std::byte* at = head_.extend(length);
  *at = static_cast<std::byte>(kind);
  at = core::store_varint(at + 1, key.size());
  if (!key.empty()) std::memcpy(at, key.data(), key.size());
  body_bytes_ += length;
  Operation& operation = operations_.emplace_back();
  operation.kind = kind;
  operation.key_offset = static_cast<std::uint32_t>(at - head_.data());
  operation.key_length = static_cast<std::uint32_t>(key.size());
  operation.head_end = static_cast<std::uint32_t>(begin + length);
  return operation;
}

bool WriteBatch::fits() const { return body_bytes_ <= kLogRecordBytesMax; }

void WriteBatch::set_first_sequence(SequenceNumber sequence) {
  first_sequence_ = sequence;
  core::store_be(head_.data(), sequence.value());
}

std::vector<core::ByteSpan> WriteBatch::pieces() const {
  std::vector<core::ByteSpan> pieces;
  for_each_piece([&pieces](core::ByteSpan piece) { pieces.push_back(piece); });
  return pieces;
}

core::Result<WriteBatch> WriteBatch::decode(const core::Bytes& body) {
  WriteBatch batch;
  core::ByteReader reader(body);
  const SequenceNumber first(reader.u64());
  while (reader.remaining() > 0) {
    const std::uint8_t kind = reader.u8();
    const std::uint64_t key_length = reader.varint();
    if (kind > 1 || key_length > kKeyBytesMax) reader.fail();
    const core::ByteSpan key = reader.take(key_length);
    if (kind == 0) {
      if (!reader.failed()) batch.remove(key);
      continue;
    }
    const std::uint64_t value_length = reader.varint();
    if (value_length > kValueBytesMax) reader.fail();
    const core::ByteSpan value = reader.take(value_length);
    if (!reader.failed()) batch.put(key, body.slice_of(value));
  }
  // There is one encoding of a batch: what it takes is what was read.
  if (reader.failed() || batch.empty() || batch.body_bytes() != body.size() ||
      first < kFirstSequence || first.value() + batch.count() > kSequenceMax.value()) {
    return core::fail(core::Errc::corruption, "malformed write batch");
  }
  batch.set_first_sequence(first);
  return batch;
}

}  // namespace sentinel::lsm
