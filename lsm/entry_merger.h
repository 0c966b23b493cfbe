#pragma once
/// The entries of several sources in one order: by key, of one key the newest first. Everything is
/// shown, older versions and tombstones too.

#include <variant>
#include <vector>

#include "lsm/level_cursor.h"
#include "lsm/memtable.h"

namespace sentinel::lsm {

class EntryMerger {
 public:
  using Cursor = std::variant<Memtable::Cursor, RunCursor, LevelCursor>;

  /// Before the first search. What the cursor walks over outlives the merger.
  void add(Cursor source) {
    sources_.push_back({.cursor = std::move(source), .key = {}, .tag = {}});
  }

  /// The first entry whose key is not before the target.
  core::Task<core::Status> seek(const SeekTarget& target);
  /// The last key before the target that any source has; nothing when there is none. Leaves the
  /// merger without a position.
  core::Task<core::Result<std::optional<core::Bytes>>> last_key_before(const SeekTarget& target);
  /// Steps on; false when a block has to be loaded first, with load_next().
  bool try_next();
  core::Task<core::Status> load_next();

  [[nodiscard]] bool valid() const { return !order_.empty(); }
  /// Valid until the merger moves.
  [[nodiscard]] core::ByteSpan key() const { return order_.front()->key; }
  [[nodiscard]] EntryTag tag() const { return order_.front()->tag; }
  [[nodiscard]] core::ByteSpan value() const;
  /// Valid as long as it is held.
  [[nodiscard]] core::Bytes value_bytes() const;

 private:
  struct Source {
    Cursor cursor;
    core::ByteSpan key;
    EntryTag tag;
  };
  static bool look(Source& source);
  static bool is_before(const Source& a, const Source& b);
  void settle_first();

  std::vector<Source> sources_;
  std::vector<Source*> order_;  // Those that stand at an entry, in its order.
};

}  // namespace sentinel::lsm
