#include "lsm/write_batch.h"

#include "lsm/block_log.h"

namespace sentinel::lsm {

namespace {
constexpr std::size_t kSequenceBytes = 8;
}  // namespace

WriteBatch::WriteBatch() {
  head_.u64(0);
  body_bytes_ = kSequenceBytes;
}

void WriteBatch::put(core::ByteSpan key, core::Bytes value) {
  SENTINEL_ASSERT(key.size() <= kKeyBytesMax && value.size() <= kValueBytesMax);
  Operation& operation = operations_.emplace_back();
  operation.kind = EntryKind::value;
  head_.u8(static_cast<std::uint8_t>(EntryKind::value));
  head_.varint(key.size());
  operation.key_offset = static_cast<std::uint32_t>(head_.size());
  operation.key_length = static_cast<std::uint32_t>(key.size());
  head_.bytes(key);
  head_.varint(value.size());
  operation.head_end = static_cast<std::uint32_t>(head_.size());
  body_bytes_ += 1 + core::varint_size(key.size()) + key.size() + core::varint_size(value.size()) +
                 value.size();
  operation.value = std::move(value);
}

void WriteBatch::remove(core::ByteSpan key) {
  SENTINEL_ASSERT(key.size() <= kKeyBytesMax);
  Operation& operation = operations_.emplace_back();
  operation.kind = EntryKind::tombstone;
  head_.u8(static_cast<std::uint8_t>(EntryKind::tombstone));
  head_.varint(key.size());
  operation.key_offset = static_cast<std::uint32_t>(head_.size());
  operation.key_length = static_cast<std::uint32_t>(key.size());
  head_.bytes(key);
  operation.head_end = static_cast<std::uint32_t>(head_.size());
  body_bytes_ += 1 + core::varint_size(key.size()) + key.size();
}

bool WriteBatch::fits() const { return body_bytes_ <= kLogRecordBytesMax; }

void WriteBatch::set_first_sequence(SequenceNumber sequence) {
  first_sequence_ = sequence;
  core::store_be(head_.data(), sequence.value());
}

std::vector<core::ByteSpan> WriteBatch::pieces() const {
  std::vector<core::ByteSpan> pieces;
  std::size_t begin = 0;
  const core::ByteSpan head = head_.view();
  for (const Operation& operation : operations_) {
    if (operation.value.empty()) continue;
    pieces.push_back(head.subspan(begin, operation.head_end - begin));
    pieces.push_back(operation.value.view());
    begin = operation.head_end;
  }
  if (begin < head.size()) pieces.push_back(head.subspan(begin));
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
  if (reader.failed() || first < kFirstSequence ||
      first.value() + batch.count() > kSequenceMax.value()) {
    return core::fail(core::Errc::corruption, "malformed write batch");
  }
  batch.set_first_sequence(first);
  return batch;
}

}  // namespace sentinel::lsm
