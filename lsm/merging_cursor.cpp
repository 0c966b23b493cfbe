#include "lsm/merging_cursor.h"

namespace sentinel::lsm {

namespace {

template <typename Child>
bool is_valid(const Child& child) {
  return std::visit([](const auto& cursor) { return cursor.valid(); }, child);
}
template <typename Child>
core::ByteSpan key_of(const Child& child) {
  return std::visit([](const auto& cursor) { return cursor.key(); }, child);
}
template <typename Child>
EntryTag tag_of(const Child& child) {
  return std::visit([](const auto& cursor) { return cursor.tag(); }, child);
}

}  // namespace

MergingCursor::MergingCursor(std::vector<std::shared_ptr<const Memtable>> memtables,
                             const std::vector<std::shared_ptr<SSTableReader>>& tables,
                             SequenceNumber snapshot, core::Bytes end)
    : memtables_(std::move(memtables)), snapshot_(snapshot), end_(std::move(end)) {
  for (const auto& memtable : memtables_) {
    if (!memtable->empty()) children_.emplace_back(Memtable::Cursor(*memtable));
  }
  for (const auto& table : tables) {
    if (!beyond_end(core::as_bytes(table->info().smallest_key)))
      children_.emplace_back(SSTableCursor(table));
  }
}

core::Task<core::Status> MergingCursor::seek(const SeekTarget& target) {
  SENTINEL_CO_CHECK(co_await position(target));
  co_return co_await settle(nullptr);
}

core::Task<core::Status> MergingCursor::position(const SeekTarget& target) {
  current_ = nullptr;
  passed_any_ = false;
  for (Child& child : children_) {
    if (auto* memtable = std::get_if<Memtable::Cursor>(&child)) {
      memtable->seek(target);
    } else {
      SENTINEL_CO_CHECK(co_await std::get<SSTableCursor>(child).seek(target));
    }
  }
  co_return core::Status();
}

core::Task<core::Status> MergingCursor::next() {
  SENTINEL_ASSERT(valid());
  passed_.clear();
  passed_.bytes(key());
  passed_any_ = true;
  co_return co_await settle(nullptr);
}

/// From wherever the children stand, moves to the next entry that may be shown. With `only_key` it
/// stops where that key ends.
core::Task<core::Status> MergingCursor::settle(const core::ByteSpan* only_key) {
  current_ = nullptr;
  for (;;) {
    Child* child = smallest();
    if (child == nullptr || beyond_end(key_of(*child))) co_return core::Status();
    if (only_key != nullptr && !core::equal(key_of(*child), *only_key)) co_return core::Status();
    const EntryTag tag = tag_of(*child);
    const bool shadowed = passed_any_ && core::equal(key_of(*child), passed_.view());
    if (tag.sequence <= snapshot_ && !shadowed) {
      if (tag.kind == EntryKind::value) {
        current_ = child;
        co_return core::Status();
      }
      // Deleted: what is older for this key is not to be seen.
      passed_.clear();
      passed_.bytes(key_of(*child));
      passed_any_ = true;
    }
    SENTINEL_CO_CHECK(co_await advance(*child));
  }
}

core::Task<core::Status> MergingCursor::advance(Child& child) {
  if (auto* memtable = std::get_if<Memtable::Cursor>(&child)) {
    memtable->next();
    co_return core::Status();
  }
  auto& table = std::get<SSTableCursor>(child);
  if (table.try_next()) co_return core::Status();
  co_return co_await table.next_block();
}

MergingCursor::Child* MergingCursor::smallest() {
  Child* best = nullptr;
  for (Child& child : children_) {
    if (!is_valid(child)) continue;
    if (best != nullptr) {
      const int order = compare_keys(key_of(child), key_of(*best));
      if (order > 0 || (order == 0 && tag_of(child).packed() < tag_of(*best).packed())) continue;
    }
    best = &child;
  }
  return best;
}

core::Task<core::Status> MergingCursor::seek_to_last_before(const SeekTarget& target) {
  SENTINEL_CO_TRY(last, co_await last_key_before(target));
  while (last.has_value()) {
    const KeyTarget at(*last);
    const core::ByteSpan only_key = *last;
    SENTINEL_CO_CHECK(co_await position(at));
    SENTINEL_CO_CHECK(co_await settle(&only_key));
    if (valid()) co_return core::Status();
    // Deleted, or newer than the snapshot: the one before it, then.
    SENTINEL_CO_TRY(before, co_await last_key_before(at));
    last = std::move(before);
  }
  current_ = nullptr;
  co_return core::Status();
}

/// The last key before the target that any source has, visible or not.
core::Task<core::Result<std::optional<core::Bytes>>> MergingCursor::last_key_before(
    const SeekTarget& target) {
  const Child* last = nullptr;
  for (Child& child : children_) {
    if (auto* memtable = std::get_if<Memtable::Cursor>(&child)) {
      memtable->seek_to_last_before(target);
    } else {
      SENTINEL_CO_CHECK(co_await std::get<SSTableCursor>(child).seek_to_last_before(target));
    }
    if (is_valid(child) && (last == nullptr || compare_keys(key_of(child), key_of(*last)) > 0))
      last = &child;
  }
  if (last == nullptr) co_return std::nullopt;
  co_return core::Bytes::copy(key_of(*last));
}

core::ByteSpan MergingCursor::key() const { return key_of(*current_); }

core::ByteSpan MergingCursor::value() const {
  return std::visit([](const auto& cursor) { return cursor.value(); }, *current_);
}

core::Bytes MergingCursor::value_bytes() const {
  return std::visit([](const auto& cursor) { return cursor.value_bytes(); }, *current_);
}

}  // namespace sentinel::lsm
