#pragma once
/// Where a group's log entries stand in the store.
///
///   entry key = group (8) | 1 | index (8) | end offset (8) | term (8) | max timestamp (8) | type
///   (1) other     = group (8) | kind > 1
///
/// Every number of an entry key ascends along the log: the index strictly, the others at least
/// weakly (`end offset` is the Kafka offset behind the entry's last record, `max timestamp` is the
/// largest of all records up to here). So one ordered search finds an entry by index, by Kafka
/// offset, by leader epoch or by timestamp, without any index beside the log (lsm::SeekTarget). The
/// value of an entry is exactly its payload: a record batch as it is sent, or a command.

#include <cstdint>

#include "consensus/types.h"
#include "core/bytes.h"
#include "core/result.h"
#include "lsm/format.h"

namespace sentinel::consensus {

enum class EntryType : std::uint8_t {
  internal = 0,  ///< Consumes no Kafka offset: a new term, a membership change.
  records = 1,   ///< One record batch, v2.
  command = 2,   ///< A state machine command, as of the controller.
};

enum class KeyKind : std::uint8_t {
  entry = 1,
  snapshot = 2,  ///< State of the group's state machine up to some index.
};

struct EntryKey {
  GroupId group;
  LogIndex index;
  Offset end_offset;
  Term term;
  std::int64_t max_timestamp = -1;
  EntryType type = EntryType::internal;

  [[nodiscard]] core::Bytes encode() const;
  /// Errc::corruption when `key` is no entry key.
  static core::Result<EntryKey> decode(core::ByteSpan key);
};

/// The key of a group's only record of this kind, which is its last byte.
inline constexpr std::size_t kGroupKeyBytes = 9;
core::Bytes group_key(GroupId group, KeyKind kind);

/// Searches the entries of one group; see lsm::SeekTarget. Keys of other groups sort before or
/// behind all of them.
class EntryTarget : public lsm::SeekTarget {
 public:
  /// The first entry with index >= `index`.
  static EntryTarget index(GroupId group, LogIndex index);
  /// The first entry whose records end behind `offset`: the batch that holds it, or the next one.
  static EntryTarget offset(GroupId group, Offset offset);
  /// The first entry of a term above `term`.
  static EntryTarget after_term(GroupId group, Term term);
  /// The first entry at which the largest timestamp so far reaches `timestamp`.
  static EntryTarget timestamp(GroupId group, std::int64_t timestamp);
  /// The end of the group's entries.
  static EntryTarget end(GroupId group);

  EntryTarget(const EntryTarget& other)
      : SeekTarget(other), group_(other.group_), value_(other.value_), field_(other.field_) {
    context = this;
  }
  EntryTarget& operator=(const EntryTarget&) = delete;

 private:
  EntryTarget(GroupId group, std::uint64_t value, std::size_t field);
  static bool is_entry_before(const void* target, core::ByteSpan key);

  GroupId group_;
  std::uint64_t value_;  // In the order of the stored field.
  std::size_t field_;    // Offset of the field in the key; past the key for end().
};

}  // namespace sentinel::consensus
