#include "consensus/progress.h"

#include <algorithm>

namespace sentinel::consensus {

void Progress::note_sent(LogIndex last) {
  if (mode_ == Mode::probe) {
    waiting_ = true;
    return;  // sent_ stays: the entries of a probe are sent again until it is answered.
  }
  if (last > sent_) in_flight_.push_back(last);
  sent_ = last;
}

void Progress::note_snapshot(LogIndex last) {
  mode_ = Mode::snapshot;
  snapshot_ = last;
  snapshot_is_old_ = false;
  in_flight_.clear();
}

bool Progress::note_accepted(LogIndex last) {
  while (!in_flight_.empty() && in_flight_.front() <= last) in_flight_.pop_front();
  const bool news = last > match_;
  match_ = std::max(match_, last);
  const bool was_probing = mode_ == Mode::probe && last >= sent_;
  const bool has_snapshot = mode_ == Mode::snapshot && match_ >= snapshot_;
  sent_ = std::max(sent_, match_);
  if (!was_probing && !has_snapshot) return news;
  mode_ = Mode::replicate;
  waiting_ = false;
  sent_ = match_;
  return true;
}

bool Progress::note_refused(LogIndex refused, LogIndex hint) {
  if (mode_ == Mode::snapshot) return false;
  // An answer to a message before those that were accepted or refused since. Or it has lost what it
  // had: then there is nothing that could be sent, and it is asked again with the next heartbeat.
  const bool stale = refused <= match_ || (mode_ == Mode::probe && refused != sent_);
  if (stale) return false;
  const LogIndex before = mode_ == Mode::probe ? LogIndex(refused.value() - 1) : match_;
  probe_behind(std::max(match_, std::min(before, hint)));
  return true;
}

void Progress::probe_behind(LogIndex last) {
  mode_ = Mode::probe;
  sent_ = last;
  waiting_ = false;
  in_flight_.clear();
}

void Progress::note_check() {
  if (mode_ != Mode::snapshot) return;
  if (snapshot_is_old_) begin_again();
  snapshot_is_old_ = true;
}

void Progress::note_alive() {
  heard = true;
  if (mode_ == Mode::probe) waiting_ = false;
}

}  // namespace sentinel::consensus
