#include "consensus/log_cursor.h"

#include <algorithm>

namespace sentinel::consensus {

std::size_t LogRanges::find(const EntryTarget& target) const {
  const auto found = std::ranges::partition_point(
      terms, [&](const TermBegin& begin) { return target.is_before(begin.before); });
  return static_cast<std::size_t>(found - terms.begin());
}

core::Bytes LogRanges::begin_of(std::size_t range) const {
  EntryKey before = range == 0 ? start : terms[range - 1].before;
  before.term = term_of(range);
  return entries_behind(start.group, before);
}

LogCursor::LogCursor(const lsm::Db& db, std::shared_ptr<const LogRanges> ranges,
                     lsm::ReadOptions read)
    : ranges_(std::move(ranges)),
      cursor_(db.cursor(entries_behind(ranges_->start.group, ranges_->start),
                        entries_end(ranges_->start.group), read)) {}

/// Whether the entry that the cursor stands on belongs to the log's range that it has come to.
bool LogCursor::is_alive() const {
  const LogPosition place = position_of(cursor_.key());
  return place.term == ranges_->term_of(range_) && ranges_->has(range_, place.index);
}

core::Task<core::Status> LogCursor::skip_dead() {
  stands_on_dead_ = false;
  while (cursor_.valid() && !is_alive()) {
    const Term term = position_of(cursor_.key()).term;
    // A dead entry behind the end of its range, or one of a term that the log has not.
    do {
      if (ranges_->is_last(range_)) {
        ended_ = true;
        co_return core::Status();
      }
      ++range_;
    } while (ranges_->term_of(range_) < term);
    if (is_alive()) break;
    const core::Bytes begin = ranges_->begin_of(range_);
    SENTINEL_CO_CHECK(co_await cursor_.seek(lsm::KeyTarget(begin)));
  }
  co_return core::Status();
}

core::Task<core::Status> LogCursor::seek(EntryTarget target) {
  ended_ = false;
  range_ = ranges_->find(target);
  const EntryTarget within = target.within(ranges_->term_of(range_));
  SENTINEL_CO_CHECK(co_await cursor_.seek(within));
  co_return co_await skip_dead();
}

core::Task<core::Status> LogCursor::seek_to_last_before(EntryTarget target) {
  ended_ = false;
  range_ = ranges_->find(target);
  const EntryTarget within = target.within(ranges_->term_of(range_));
  SENTINEL_CO_CHECK(co_await cursor_.seek_to_last_before(within));
  if (cursor_.valid() && is_alive()) co_return core::Status();
  // No entry of this term is: then it is the last one of the term before.
  const bool any_before =
      range_ > 0 && ranges_->terms[range_ - 1].before.index > ranges_->start.index;
  if (!any_before) {
    ended_ = true;
    co_return core::Status();
  }
  const LogIndex last = ranges_->terms[--range_].before.index;
  co_return co_await seek(EntryTarget::index(ranges_->start.group, last));
}

core::Task<core::Status> LogCursor::next() {
  if (try_next()) co_return core::Status();
  co_return co_await load_next();
}

bool LogCursor::try_next() {
  if (!cursor_.try_next()) return false;
  stands_on_dead_ = cursor_.valid() && !is_alive();
  return !stands_on_dead_;
}

core::Task<core::Status> LogCursor::load_next() {
  if (!stands_on_dead_) {
    SENTINEL_CO_CHECK(co_await cursor_.load_next());
  }
  co_return co_await skip_dead();
}

}  // namespace sentinel::consensus
