#pragma once
/// How far a leader believes a follower to be, and what it may send to it. Pure.
///
///   probe      what the follower has is not known: one message, then its answer
///   replicate  messages follow each other without waiting, up to a window
///   snapshot   it lacks entries that are gone: nothing until it has the snapshot

#include <deque>

#include "consensus/types.h"

namespace sentinel::consensus {

class Progress {
 public:
  enum class Mode : std::uint8_t { probe, replicate, snapshot };

  /// A follower that is taken to have nothing beyond `sent` that was not sent.
  explicit Progress(LogIndex sent) : sent_(sent) {}

  [[nodiscard]] Mode mode() const { return mode_; }
  /// What it is known to have on disk.
  [[nodiscard]] LogIndex match() const { return match_; }
  /// The next message begins behind this entry.
  [[nodiscard]] LogIndex sent() const { return sent_; }
  /// Whether a message may leave now, with `window` messages without an answer at the most.
  [[nodiscard]] bool may_send(std::size_t window) const {
    if (loading || mode_ == Mode::snapshot) return false;
    return mode_ == Mode::probe ? !waiting_ : in_flight_.size() < window;
  }

  /// A message with entries up to `last` has left; an empty one has `last` = sent().
  void note_sent(LogIndex last);
  void note_snapshot(LogIndex last);
  /// It has everything up to `last`. Returns whether that was news.
  bool note_accepted(LogIndex last);
  /// It lacks the entry at `refused`, and agrees up to `hint` at the most. Returns whether that was
  /// news.
  bool note_refused(LogIndex refused, LogIndex hint);
  /// Something was heard from it: what was waited for may have been lost.
  void note_alive();
  /// Forgets what was sent and not answered.
  void begin_again() { probe_behind(match_); }
  /// Time has passed. A snapshot that was under way the last time too is given up.
  void note_check();

  bool heard = true;        ///< Since the last check of the quorum.
  bool loading = false;     ///< Entries for it are being read.
  std::uint64_t round = 0;  ///< The last heartbeat that it has answered.

 private:
  void probe_behind(LogIndex last);

  Mode mode_ = Mode::probe;
  LogIndex match_{0};
  LogIndex sent_;
  bool waiting_ = false;  // For the answer to a probe.
  LogIndex snapshot_;     // Its last entry.
  bool snapshot_is_old_ = false;
  std::deque<LogIndex> in_flight_;  // The last entries of messages without an answer.
};

}  // namespace sentinel::consensus
