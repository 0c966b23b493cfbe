#pragma once
/// A walk over a group's log in its store, past what is dead there.
///
/// An entry that gave way to another leader's stays in the store, and may come back: another leader
/// may have kept it. What tells the log from the rest is where each term begins (LogRanges, stored
/// as StateKind::terms): of the keys of a term those belong to the log that lie before the next
/// term's first index, and of other terms none.

#include <memory>
#include <vector>

#include "consensus/entry_key.h"
#include "consensus/raft_log.h"
#include "lsm/db.h"

namespace sentinel::consensus {

/// The stretches of keys, one a term, that the entries of a log are. Immutable.
struct LogRanges {
  EntryKey start;                ///< The last entry that was given up.
  std::vector<TermBegin> terms;  ///< Those behind the term of `start`, ascending.

  [[nodiscard]] Term term_of(std::size_t range) const {
    return range == 0 ? start.term : terms[range - 1].term;
  }
  [[nodiscard]] bool is_last(std::size_t range) const { return range == terms.size(); }
  /// Whether an entry of a range's term belongs to the log.
  [[nodiscard]] bool has(std::size_t range, LogIndex index) const {
    return is_last(range) || index <= terms[range].before.index;
  }
  /// The range in which the first entry lies that is not before the target; the last one when none
  /// is.
  [[nodiscard]] std::size_t find(const EntryTarget& target) const;
  /// Where a range's keys begin.
  [[nodiscard]] core::Bytes begin_of(std::size_t range) const;
};

class LogCursor {
 public:
  /// Keeps what it reads alive, so it should not outlive a request. `db` outlives it.
  LogCursor(const lsm::Db& db, std::shared_ptr<const LogRanges> ranges, lsm::ReadOptions read = {});

  /// The first entry that is not before the target.
  core::Task<core::Status> seek(EntryTarget target);
  /// The last entry that is before the target.
  core::Task<core::Status> seek_to_last_before(EntryTarget target);
  core::Task<core::Status> next();
  /// Steps on without waiting; false when it has to, and then load_next() completes the step.
  bool try_next();
  core::Task<core::Status> load_next();

  [[nodiscard]] bool valid() const { return !ended_ && cursor_.valid(); }
  /// Valid until the cursor moves.
  [[nodiscard]] core::ByteSpan key() const { return cursor_.key(); }
  [[nodiscard]] core::ByteSpan value() const { return cursor_.value(); }
  /// Valid as long as it is held.
  [[nodiscard]] core::Bytes value_bytes() const { return cursor_.value_bytes(); }

 private:
  [[nodiscard]] bool is_alive() const;
  core::Task<core::Status> skip_dead();

  const std::shared_ptr<const LogRanges> ranges_;
  lsm::Cursor cursor_;
  std::size_t range_ = 0;
  bool ended_ = false;
  bool stands_on_dead_ = false;
};

}  // namespace sentinel::consensus
