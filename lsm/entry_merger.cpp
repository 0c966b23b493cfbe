#include "lsm/entry_merger.h"

#include <algorithm>

namespace sentinel::lsm {

/// Notes where a source stands; false when it is at its end.
bool EntryMerger::look(Source& source) {
  return std::visit(
      [&](const auto& cursor) {
        if (!cursor.valid()) return false;
        source.key = cursor.key();
        source.tag = cursor.tag();
        return true;
      },
      source.cursor);
}

bool EntryMerger::is_before(const Source& a, const Source& b) {
  const int order = compare_keys(a.key, b.key);
  return order != 0 ? order < 0 : a.tag.packed() > b.tag.packed();
}

core::Task<core::Status> EntryMerger::seek(const SeekTarget& target) {
  order_.clear();
  for (Source& source : sources_) {
    if (auto* memtable = std::get_if<Memtable::Cursor>(&source.cursor)) {
      memtable->seek(target);
    } else if (auto* run = std::get_if<RunCursor>(&source.cursor)) {
      SENTINEL_CO_CHECK(co_await run->seek(target));
    } else {
      SENTINEL_CO_CHECK(co_await std::get<LevelCursor>(source.cursor).seek(target));
    }
  }
  for (Source& source : sources_) {
    if (look(source)) order_.push_back(&source);
  }
  std::ranges::sort(order_, [](const Source* a, const Source* b) { return is_before(*a, *b); });
  co_return core::Status();
}

core::Task<core::Result<std::optional<core::Bytes>>> EntryMerger::last_key_before(
    const SeekTarget& target) {
  order_.clear();
  std::optional<core::Bytes> last;
  for (Source& source : sources_) {
    if (auto* memtable = std::get_if<Memtable::Cursor>(&source.cursor)) {
      memtable->seek_to_last_before(target);
    } else if (auto* run = std::get_if<RunCursor>(&source.cursor)) {
      SENTINEL_CO_CHECK(co_await run->seek_to_last_before(target));
    } else {
      SENTINEL_CO_CHECK(co_await std::get<LevelCursor>(source.cursor).seek_to_last_before(target));
    }
    if (look(source) && (!last.has_value() || compare_keys(source.key, *last) > 0))
      last = core::Bytes::copy(source.key);
  }
  co_return last;
}

bool EntryMerger::try_next() {
  Source& first = *order_.front();
  if (auto* memtable = std::get_if<Memtable::Cursor>(&first.cursor)) {
    memtable->next();
  } else if (auto* run = std::get_if<RunCursor>(&first.cursor)) {
    if (!run->try_next()) return false;
  } else {
    if (!std::get<LevelCursor>(first.cursor).try_next()) return false;
  }
  settle_first();
  return true;
}

core::Task<core::Status> EntryMerger::load_next() {
  Source& first = *order_.front();
  core::Status loaded;
  if (auto* run = std::get_if<RunCursor>(&first.cursor)) {
    loaded = co_await run->next_block();
  } else {
    loaded = co_await std::get<LevelCursor>(first.cursor).next_block();
  }
  if (loaded) {
    settle_first();
  } else {
    order_.clear();
  }
  co_return loaded;
}

/// The first source has moved: finds its new place among the others.
void EntryMerger::settle_first() {
  if (!look(*order_.front())) {
    order_.erase(order_.begin());
    return;
  }
  for (std::size_t i = 1; i < order_.size() && is_before(*order_[i], *order_[i - 1]); ++i) {
    std::swap(order_[i], order_[i - 1]);
  }
}

core::ByteSpan EntryMerger::value() const {
  return std::visit([](const auto& cursor) { return cursor.value(); }, order_.front()->cursor);
}

core::Bytes EntryMerger::value_bytes() const {
  return std::visit([](const auto& cursor) { return cursor.value_bytes(); },
                    order_.front()->cursor);
}

}  // namespace sentinel::lsm
