#pragma once
/// A group of operations that becomes durable and visible as a whole.
///
///   body      = first sequence (8) | operation*
///   operation = kind (1) | key length varint | key | [value length varint | value]      (value
///   only for puts)
///
/// Large values are held by reference and copied once, into the write-ahead log's buffer.

#include <vector>

#include "core/bytes.h"
#include "core/result.h"
#include "lsm/format.h"

namespace sentinel::lsm {

class WriteBatch {
 public:
  WriteBatch();

  /// `key` is copied, `value` shared. At most kKeyBytesMax and kValueBytesMax; the batch as a whole
  /// must fit a log record (fits()).
  void put(core::ByteSpan key, core::Bytes value);
  void remove(core::ByteSpan key);

  /// Makes it an empty batch that keeps its memory.
  void clear();

  [[nodiscard]] std::size_t count() const { return operations_.size(); }
  [[nodiscard]] bool empty() const { return operations_.empty(); }
  /// Size of the encoded body in bytes.
  [[nodiscard]] std::size_t body_bytes() const { return body_bytes_; }
  /// Whether the batch is within the limits of the log; a caller checks before it writes.
  [[nodiscard]] bool fits() const;

  void set_first_sequence(SequenceNumber sequence);
  [[nodiscard]] SequenceNumber first_sequence() const { return first_sequence_; }

  [[nodiscard]] SequenceNumber last_sequence() const { return first_sequence_ + (count() - 1); }

  /// The encoded body in pieces, valid while the batch lives and is not changed.
  [[nodiscard]] std::vector<core::ByteSpan> pieces() const;
  void for_each_piece(auto&& use) const {
    std::size_t begin = 0;
    const core::ByteSpan head = head_.view();
    for (const Operation& operation : operations_) {
      if (operation.value.empty()) continue;
      use(head.subspan(begin, operation.head_end - begin));
      use(operation.value.view());
      begin = operation.head_end;
    }
    if (begin < head.size()) use(head.subspan(begin));
  }

  struct Operation {
    EntryKind kind = EntryKind::value;
    std::uint32_t key_offset = 0;  // In head_.
    std::uint32_t key_length = 0;
    std::uint32_t head_end = 0;  // Where the bytes in head_ that precede the value end.
    core::Bytes value;
  };
  [[nodiscard]] const std::vector<Operation>& operations() const { return operations_; }
  [[nodiscard]] core::ByteSpan key(const Operation& operation) const {
    return head_.view().subspan(operation.key_offset, operation.key_length);
  }

  /// Decodes a body; values are slices of it. Errc::corruption when it is malformed.
  static core::Result<WriteBatch> decode(const core::Bytes& body);

 private:
  Operation& add(EntryKind kind, core::ByteSpan key, std::size_t more_bytes);

  core::ByteWriter head_;  // Everything but the values.
  std::vector<Operation> operations_;
  std::size_t body_bytes_ = 0;
  SequenceNumber first_sequence_;
};

}  // namespace sentinel::lsm
