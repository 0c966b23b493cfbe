#pragma once
/// The log of one group as Raft sees it. No I/O.
///
/// In memory are the tail and the terms. The tail holds at least all entries that are not
/// committed or not on disk yet, and as many before them as are kept for followers. Terms are kept
/// as the index at which each begins, so that the term of every entry of the log is known without
/// reading it.

#include <deque>
#include <optional>
#include <vector>

#include "consensus/entry_key.h"
#include "consensus/types.h"
#include "core/bytes.h"

namespace sentinel::consensus {

struct LogEntry {
  EntryKey key;
  core::Bytes payload;
};

/// Whether a log that ends at `a` may lead one that ends at `b` (Raft, section 5.4.1).
inline bool is_up_to_date(const LogPosition& a, const LogPosition& b) {
  return a.term != b.term ? a.term > b.term : a.index >= b.index;
}

/// Where the entries of a term begin.
struct TermBegin {
  Term term;
  EntryKey before;  ///< The last entry of an earlier term.

  [[nodiscard]] LogIndex first() const { return before.index.next(); }
  static void fields(auto& self, auto& visit) {
    visit(self.term);
    visit(self.before);
  }
};

class RaftLog {
 public:
  /// What is stored: everything up to `start` has been given up, `terms` are those of the entries
  /// behind it up to `base`, and `tail` are the entries behind `base`: all that are not known to be
  /// committed must be among them.
  struct Stored {
    EntryKey start;
    std::vector<TermBegin> terms;
    EntryKey base;
    std::vector<LogEntry> tail;
  };
  explicit RaftLog(Stored stored);

  /// The last entry that was given up; index 0 when none was.
  [[nodiscard]] const EntryKey& start() const { return start_; }
  [[nodiscard]] const EntryKey& last() const { return tail_.empty() ? base_ : tail_.back().key; }
  [[nodiscard]] LogPosition last_position() const { return position_of(last()); }
  /// Entries up to here are on disk.
  [[nodiscard]] LogIndex stable() const { return stable_; }

  /// The term at an index from start() to last(); nothing outside.
  [[nodiscard]] std::optional<Term> term_at(LogIndex index) const;
  [[nodiscard]] bool matches(const LogPosition& position) const {
    return term_at(position.index) == position.term;
  }
  /// The last place at or before `index` whose term is at most `term`: where a log that differs
  /// may agree at the latest.
  [[nodiscard]] LogPosition last_not_above(LogIndex index, Term term) const;

  /// Adds an entry behind the last.
  void append(LogEntry entry);
  /// Drops the entries from `index` on; none of them is committed.
  void truncate_from(LogIndex index);
  /// Begins anew behind `start`, as a snapshot says.
  void reset(const EntryKey& start);
  /// Gives up the entries up to `start`, which is committed.
  void trim(const EntryKey& start);
  /// What was appended up to here has reached the disk. Without effect when it was dropped
  /// meanwhile.
  void persisted(const LogPosition& up_to);
  /// Drops entries of the tail that are on disk, up to `index`, as far as they exceed `bytes_max`.
  void forget(LogIndex index, std::size_t bytes_max);

  /// Entries behind `index`, about `bytes_max` but one at least; nothing when they are not in
  /// memory.
  [[nodiscard]] std::optional<std::vector<LogEntry>> entries_behind(LogIndex index,
                                                                    std::size_t bytes_max) const;
  /// The entry at an index of the tail, or just before it; null when it is not in memory.
  [[nodiscard]] const EntryKey* key_at(LogIndex index) const;
  [[nodiscard]] std::size_t tail_bytes() const { return tail_bytes_; }

  /// The terms behind the one of start(), ascending.
  [[nodiscard]] const std::deque<TermBegin>& terms() const { return terms_; }
  /// Another number after each change of terms().
  [[nodiscard]] std::uint64_t terms_version() const { return terms_version_; }

 private:
  void drop_front();

  EntryKey start_;
  std::deque<TermBegin> terms_;
  std::uint64_t terms_version_ = 0;
  EntryKey base_;  // The entry before the tail.
  std::deque<LogEntry> tail_;
  std::size_t tail_bytes_ = 0;
  LogIndex stable_;
};

}  // namespace sentinel::consensus
