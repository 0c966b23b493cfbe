#pragma once
/// Where a group's log entries stand in the store.
///
///   entry key = group (8) | term (4) | index (8) | end offset (8) | max timestamp (8) |
///               end bytes (8) | type (1)
///   index key = ff ff ff ff ff ff ff fe | group (8) | a record's key, or its begin and its hash
///   state key = ff ff ff ff ff ff ff ff | kind (1) | group (8)
///
/// A group's entries are a stretch of keys that only grows at its end, so that what was flushed of
/// it is never written again (lsm/run_planner.h). What is overwritten, the small states of all
/// groups and the indexes of compacted ones (consensus/compacted_log.h), stands apart from them.
///
/// Every number of an entry key ascends along the log: the index strictly, the others at least
/// weakly (`end offset` is the Kafka offset behind the entry's last record, `max timestamp` is the
/// largest of all records up to here; `end bytes` counts the bytes of all record batches up to
/// here). So one ordered search finds an entry by index, by Kafka offset, by timestamp or by size,
/// without any index beside the log (lsm::SeekTarget). The value of an entry is exactly its
/// payload: a record batch as it is sent, or a command.
///
/// The term stands first because of what other leaders' entries leave behind: an entry that gave
/// way to another stays in the store, and is dead from then on. With terms first, the entries of
/// the log are one stretch of keys for each term, and dead ones lie outside of them
/// (consensus/log_cursor.h). Nothing is ever erased, which a search for anything but a key could
/// not cope with.

#include <cstdint>
#include <optional>
#include <string>

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

/// The first bytes of a key that say what belongs together.
inline constexpr std::size_t kGroupPrefixBytes = 8;

enum class StateKind : std::uint8_t {
  snapshot = 2,    ///< State of the group's state machine up to some index.
  log_start = 3,   ///< Where the group's log begins; see Replica.
  cleaning = 4,    ///< How far a compacted log is indexed and cleaned; see CompactedLog.
  hard_state = 5,  ///< What the group's Raft has promised: HardState.
  members = 6,     ///< The group's configurations since its log's start.
  terms = 7,       ///< Where terms begin in the log; see LogRanges.
  left = 8,        ///< What an earlier stay of the group here had; see LeftLog.
};

struct EntryKey {
  GroupId group;
  LogIndex index;
  Offset end_offset;
  Term term;
  std::int64_t max_timestamp = -1;
  std::uint64_t end_bytes = 0;
  EntryType type = EntryType::internal;

  [[nodiscard]] core::Bytes encode() const;
  /// Errc::corruption when `key` is no entry key.
  static core::Result<EntryKey> decode(core::ByteSpan key);
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.index);
    visit(self.end_offset);
    visit(self.term);
    visit(self.max_timestamp);
    visit(self.end_bytes);
    visit(self.type);
  }
};

/// An entry's place; two entries with the same one are the same entry (Raft, section 5.3).
struct LogPosition {
  LogIndex index;
  Term term;

  friend bool operator==(const LogPosition&, const LogPosition&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.index);
    visit(self.term);
  }
};
inline LogPosition position_of(const EntryKey& key) { return {key.index, key.term}; }
/// Of an encoded entry key.
LogPosition position_of(core::ByteSpan key);

struct StateKey {
  StateKind kind = StateKind::snapshot;
  GroupId group;

  /// Errc::corruption when `key` is no state key.
  static core::Result<StateKey> decode(core::ByteSpan key);
};
core::Bytes state_key(GroupId group, StateKind kind);
/// All state keys stand behind this one, and nothing else does.
core::Bytes states_begin();
/// Longer record keys are told apart by their begin and a hash of 128 bits.
inline constexpr std::size_t kIndexedKeyBytesMax = 1024;
core::Bytes index_key(GroupId group, core::ByteSpan record_key);
/// The index of a group has keys in [index_begin(group), index_begin(group + 1)).
core::Bytes index_begin(GroupId group);
/// The entries of a group have keys in [entries_begin, entries_end).
core::Bytes entries_begin(GroupId group);
core::Bytes entries_end(GroupId group);
/// Entries that come behind `before` in a log have keys from here on; dead ones may, too.
core::Bytes entries_behind(GroupId group, const EntryKey& before);

bool is_index_key(core::ByteSpan key);

/// What a key means, for people.
std::string describe_key(core::ByteSpan key);

/// Searches the entries of one group; see lsm::SeekTarget. Keys of other groups sort before or
/// behind all of them. Only within one term do the numbers ascend along the keys; LogCursor sees to
/// that.
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
  /// The first entry that ends behind so many bytes of payload.
  static EntryTarget bytes(GroupId group, std::uint64_t end_bytes);
  /// The end of the group's entries.
  static EntryTarget end(GroupId group);

  EntryTarget(const EntryTarget& other)
      : SeekTarget(other),
        group_(other.group_),
        value_(other.value_),
        field_(other.field_),
        term_(other.term_) {
    context = this;
  }
  EntryTarget& operator=(const EntryTarget&) = delete;

  /// The same among the entries of one term: those of others are before, or not, by their term.
  [[nodiscard]] EntryTarget within(Term term) const;
  /// Whether the entry, which is of the group, lies before the target.
  [[nodiscard]] bool is_before(const EntryKey& entry) const;

 private:
  EntryTarget(GroupId group, std::uint64_t value, std::size_t field);
  static bool is_entry_before(const void* target, core::ByteSpan key);

  GroupId group_;
  std::uint64_t value_;  // In the order of the stored field.
  std::size_t field_;    // Offset of the field in the key; past the key for end().
  std::optional<Term> term_;
};

}  // namespace sentinel::consensus
