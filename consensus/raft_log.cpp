#include "consensus/raft_log.h"

#include <algorithm>
#include <utility>

namespace sentinel::consensus {

namespace {
std::size_t size_of(const LogEntry& entry) { return sizeof(LogEntry) + entry.payload.size(); }
}  // namespace

RaftLog::RaftLog(Stored stored)
    : start_(stored.start),
      terms_(stored.terms.begin(), stored.terms.end()),
      base_(stored.base),
      stable_(stored.base.index) {
  for (LogEntry& entry : stored.tail) append(std::move(entry));
  stable_ = last().index;
}

std::optional<Term> RaftLog::term_at(LogIndex index) const {
  if (index < start_.index || index > last().index) return std::nullopt;
  const auto behind = std::ranges::upper_bound(terms_, index, {}, &TermBegin::first);
  return behind == terms_.begin() ? start_.term : std::prev(behind)->term;
}

LogPosition RaftLog::last_not_above(LogIndex index, Term term) const {
  index = std::min(index, last().index);
  for (auto begin = terms_.rbegin(); begin != terms_.rend(); ++begin) {
    if (begin->first() > index) continue;
    if (begin->term <= term) return {index, begin->term};
    index = begin->before.index;
  }
  return position_of(start_);
}

void RaftLog::append(LogEntry entry) {
  const EntryKey& before = last();
  SENTINEL_ASSERT(entry.key.index == before.index.next() && entry.key.term >= before.term,
                  "entry {} of term {} behind {} of term {}", entry.key.index, entry.key.term,
                  before.index, before.term);
  if (entry.key.term != before.term) {
    terms_.push_back({.term = entry.key.term, .before = before});
    ++terms_version_;
  }
  tail_bytes_ += size_of(entry);
  tail_.push_back(std::move(entry));
}

void RaftLog::truncate_from(LogIndex index) {
  SENTINEL_ASSERT(index > base_.index, "entry {} is no longer in memory", index);
  while (!tail_.empty() && tail_.back().key.index >= index) {
    tail_bytes_ -= size_of(tail_.back());
    tail_.pop_back();
  }
  for (; !terms_.empty() && terms_.back().first() >= index; ++terms_version_) terms_.pop_back();
  stable_ = std::min(stable_, last().index);
}

void RaftLog::reset(const EntryKey& start) {
  start_ = base_ = start;
  terms_.clear();
  ++terms_version_;
  tail_.clear();
  tail_bytes_ = 0;
  // Durable together with the snapshot; until then nobody is told that it is there.
  stable_ = start.index;
}

void RaftLog::trim(const EntryKey& start) {
  SENTINEL_ASSERT(start.index <= stable_);
  if (start.index <= start_.index) return;
  // What follows in the term of `start` is known by that.
  for (; !terms_.empty() && terms_.front().first() <= start.index; ++terms_version_)
    terms_.pop_front();
  start_ = start;
  while (!tail_.empty() && tail_.front().key.index <= start.index) drop_front();
  if (base_.index < start.index) base_ = start;
}

void RaftLog::persisted(const LogPosition& up_to) {
  if (matches(up_to)) stable_ = std::max(stable_, up_to.index);
}

void RaftLog::forget(LogIndex index, std::size_t bytes_max) {
  index = std::min(index, stable_);
  while (tail_bytes_ > bytes_max && !tail_.empty() && tail_.front().key.index <= index)
    drop_front();
}

void RaftLog::drop_front() {
  tail_bytes_ -= size_of(tail_.front());
  base_ = tail_.front().key;
  tail_.pop_front();
}

const EntryKey* RaftLog::key_at(LogIndex index) const {
  if (index == base_.index) return &base_;
  if (index < base_.index || index > last().index) return nullptr;
  return &tail_[index - base_.index - 1].key;
}

std::optional<std::vector<LogEntry>> RaftLog::entries_behind(LogIndex index,
                                                             std::size_t bytes_max) const {
  if (index < base_.index || index > last().index) return std::nullopt;
  std::vector<LogEntry> entries;
  std::size_t bytes = 0;
  for (std::size_t at = index - base_.index; at < tail_.size(); ++at) {
    bytes += size_of(tail_[at]);
    if (!entries.empty() && bytes > bytes_max) break;
    entries.push_back(tail_[at]);
  }
  return entries;
}

}  // namespace sentinel::consensus
