#pragma once
/// A block: sorted entries, prefix-compressed, with restart points for binary search.
///
///   block   = entry* | restart offset (4)* | restart count (4)
///   entry   = shared key bytes varint | other key bytes varint | value bytes varint | key suffix |
///   tag (8) | value
///
/// At a restart nothing is shared. Blocks reach a cursor only after their checksum was verified
/// (lsm/sstable_reader.h), but a cursor does not rely on it: a malformed block makes it invalid,
/// with corrupt() set.

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/bytes.h"
#include "lsm/format.h"

namespace sentinel::lsm {

/// Whether entry (key, tag) stands behind (previous_key, previous_tag) in the order of entries.
[[nodiscard]] bool is_after(core::ByteSpan key, EntryTag tag, core::ByteSpan previous_key,
                            EntryTag previous_tag);

class BlockBuilder {
 public:
  /// Entries come in order, by key and of one key the newest first; anything else asserts.
  void add(core::ByteSpan key, EntryTag tag, core::ByteSpan value);
  [[nodiscard]] bool empty() const { return entries_ == 0; }
  [[nodiscard]] std::size_t size_bytes() const { return out_.size() + 4 * (restarts_.size() + 1); }
  [[nodiscard]] core::ByteSpan last_key() const { return last_key_.view(); }
  [[nodiscard]] EntryTag last_tag() const { return last_tag_; }
  /// The finished block, valid until clear().
  core::ByteSpan finish();
  void clear();

 private:
  core::ByteWriter out_;
  core::ByteWriter last_key_;
  EntryTag last_tag_;
  std::vector<std::uint32_t> restarts_;
  std::uint32_t entries_ = 0;
};

/// The key of the entry that a cursor stands at, put together from what it shares with the one
/// before and what it does not. Short keys need no memory of their own.
class KeyBuffer {
 public:
  [[nodiscard]] core::ByteSpan view() const { return {data(), size_}; }
  [[nodiscard]] std::size_t size() const { return size_; }
  void clear() { size_ = 0; }
  /// Replaces what follows the first `kept` bytes.
  void replace_from(std::size_t kept, core::ByteSpan tail) {
    const std::size_t size = kept + tail.size();
    if (size > kInlineBytes && size > long_.size()) grow(kept, size);
    std::byte* const to = (long_.empty() ? inline_.data() : long_.data()) + kept;
    if (!tail.empty()) std::memcpy(to, tail.data(), tail.size());
    size_ = size;
  }

 private:
  static constexpr std::size_t kInlineBytes = 48;
  [[nodiscard]] const std::byte* data() const {
    return long_.empty() ? inline_.data() : long_.data();
  }
  void grow(std::size_t kept, std::size_t size);

  std::array<std::byte, kInlineBytes> inline_;
  std::vector<std::byte> long_;  // Once a key was longer than inline_.
  std::size_t size_ = 0;
};

class BlockCursor {
 public:
  BlockCursor() = default;
  explicit BlockCursor(core::Bytes block);

  void seek_to_first();
  void seek_to_last();
  /// The first entry whose key is not before the target.
  void seek(const SeekTarget& target);
  /// The last entry whose key is before the target.
  void seek_to_last_before(const SeekTarget& target);
  void next();

  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] bool corrupt() const { return corrupt_; }
  /// Key and tag stay those of the last entry when next() has reached the end.
  [[nodiscard]] core::ByteSpan key() const { return key_.view(); }
  [[nodiscard]] EntryTag tag() const { return tag_; }
  [[nodiscard]] core::ByteSpan value() const { return value_; }
  /// A slice of the block, which it keeps alive.
  [[nodiscard]] core::Bytes value_bytes() const { return block_.slice_of(value_); }

 private:
  /// One entry as it stands in the block.
  struct Entry {
    std::uint64_t shared = 0;
    core::ByteSpan suffix;
    std::uint64_t tag = 0;
    core::ByteSpan value;
    std::size_t end = 0;  // Where the next one begins.
  };

  [[nodiscard]] std::uint32_t restart_offset(std::uint32_t index) const;
  [[nodiscard]] bool parse(std::size_t offset, Entry& entry) const;
  void seek_to_restart(std::uint32_t index);
  std::uint32_t find_run(const SeekTarget& target);
  void prefetch_restarts() const;
  void prefetch_run(std::uint32_t index) const;
  bool read_entry();
  bool fail();

  core::Bytes block_;
  std::size_t entries_end_ = 0;
  std::uint32_t restart_count_ = 0;

  std::size_t next_offset_ = 0;
  KeyBuffer key_;
  EntryTag tag_;
  core::ByteSpan value_;
  bool valid_ = false;
  bool corrupt_ = false;
};

}  // namespace sentinel::lsm
