#pragma once
/// Entries that are in the log but not in a table yet, in order.

#include <cstdint>
#include <memory>
#include <vector>

#include "core/bytes.h"
#include "lsm/arena.h"
#include "lsm/format.h"
#include "lsm/skiplist.h"

namespace sentinel::lsm {

class Memtable {
 public:
  /// `seed` decides the shape of the skip list; `reserve` gives memory and gets it back, null for
  /// none.
  explicit Memtable(std::uint64_t seed, std::shared_ptr<ArenaReserve> reserve = nullptr);

  /// Adds an entry that is not there yet. Small values are copied, large ones shared: the
  /// payload of a large batch is not copied again on its way from the network to the disk.
  void add(EntryTag tag, core::ByteSpan key, const core::Bytes& value);

  [[nodiscard]] bool empty() const { return entry_count_ == 0; }
  [[nodiscard]] std::size_t entry_count() const { return entry_count_; }
  /// Arena and shared storage.
  [[nodiscard]] std::size_t memory_bytes() const { return arena_.bytes() + shared_bytes_; }
  [[nodiscard]] SequenceNumber largest_sequence() const { return largest_sequence_; }

  /// A walk in key order; of one key the newest entry comes first. Stays valid while entries are
  /// added. The memtable outlives it.
  class Cursor {
   public:
    explicit Cursor(const Memtable& memtable) : memtable_(&memtable) {}
    void seek_to_first() { node_ = memtable_->list_.first(); }
    /// The first entry whose key is not before the target.
    void seek(const SeekTarget& target) { node_ = memtable_->list_.find(target); }
    /// The newest entry for `key` that is not newer than `sequence`, or the first one behind the
    /// key.
    void seek(core::ByteSpan key, SequenceNumber sequence) {
      node_ = memtable_->list_.find(key, {.sequence = sequence, .kind = EntryKind::value});
    }
    /// The last entry whose key is before the target.
    void seek_to_last_before(const SeekTarget& target) {
      node_ = memtable_->list_.find_last_before(target);
    }
    void next() { node_ = node_->next(); }

    [[nodiscard]] bool valid() const { return node_ != nullptr; }
    [[nodiscard]] core::ByteSpan key() const { return node_->key(); }
    [[nodiscard]] EntryTag tag() const { return node_->entry_tag(); }
    [[nodiscard]] core::ByteSpan value() const { return {node_->value, node_->value_bytes}; }
    /// Shares a large value, copies a small one: valid beyond the memtable.
    [[nodiscard]] core::Bytes value_bytes() const;

   private:
    const Memtable* memtable_;
    const SkipList::Node* node_ = nullptr;
  };

 private:
  Arena arena_;
  SkipList list_;
  std::vector<core::Bytes> shared_;
  std::size_t shared_bytes_ = 0;
  std::size_t entry_count_ = 0;
  SequenceNumber largest_sequence_;
};

}  // namespace sentinel::lsm
