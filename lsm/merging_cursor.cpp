#include "lsm/merging_cursor.h"

#include "core/sync.h"

namespace sentinel::lsm {

namespace {
// Entries that are passed over without showing one, before others run.
constexpr std::size_t kSkippedPerYield = 1024;

/// Keys before `begin` count as before the target: two monotone predicates, so this one is too.
class BoundedTarget : public SeekTarget {
 public:
  BoundedTarget(const SeekTarget& target, core::ByteSpan begin) : target_(target), begin_(begin) {
    before = [](const void* self, core::ByteSpan key) {
      const auto& bounded = *static_cast<const BoundedTarget*>(self);
      return compare_keys(key, bounded.begin_) < 0 || bounded.target_.is_before(key);
    };
    context = this;
  }
  BoundedTarget(const BoundedTarget&) = delete;
  BoundedTarget& operator=(const BoundedTarget&) = delete;

 private:
  const SeekTarget& target_;
  const core::ByteSpan begin_;
};
}  // namespace

MergingCursor::MergingCursor(core::Shard& shard, Sources sources, Scope scope)
    : shard_(shard), sources_(std::move(sources)), scope_(std::move(scope)) {
  for (const auto& memtable : sources_.memtables) {
    if (!memtable->empty()) merger_.add(Memtable::Cursor(*memtable));
  }
  if (sources_.version != nullptr) add_runs();
}

/// Only those that have keys in the scope.
void MergingCursor::add_runs() {
  const Version& version = *sources_.version;
  for (const Run* run : version.level(0)) {
    if (run->info->reaches_into(scope_.begin, scope_.end))
      merger_.add(RunCursor(*run, scope_.read));
  }
  for (std::uint8_t level = 1; level < kLevels; ++level) {
    const auto runs = version.between(level, scope_.begin, scope_.end);
    if (!runs.empty()) merger_.add(LevelCursor(runs, scope_.read));
  }
}

core::Task<core::Status> MergingCursor::seek(const SeekTarget& target) {
  only_key_.reset();
  const BoundedTarget bounded(target, scope_.begin);
  SENTINEL_CO_CHECK(co_await position(bounded));
  co_return co_await settle_waiting();
}

core::Task<core::Status> MergingCursor::position(const SeekTarget& target) {
  valid_ = false;
  passed_any_ = false;
  co_return co_await merger_.seek(target);
}

bool MergingCursor::try_next() {
  SENTINEL_ASSERT(valid());
  pass();
  pending_ = skip();
  if (pending_ == Step::done) pending_ = settle();
  return pending_ == Step::done;
}

core::Task<core::Status> MergingCursor::next() {
  if (try_next()) co_return core::Status();
  co_return co_await load_next();
}

core::Task<core::Status> MergingCursor::load_next() {
  while (pending_ != Step::done) {
    if (pending_ == Step::yield) {
      co_await core::yield(shard_);
    } else {
      SENTINEL_CO_CHECK(co_await merger_.load_next());
    }
    pending_ = settle();
  }
  co_return core::Status();
}

core::Task<core::Status> MergingCursor::settle_waiting() {
  pending_ = settle();
  co_return co_await load_next();
}

/// Moves from where the merger stands to the next entry that may be shown.
MergingCursor::Step MergingCursor::settle() {
  valid_ = false;
  while (!at_end()) {
    const EntryTag tag = merger_.tag();
    const bool shadowed = passed_any_ && core::equal(merger_.key(), passed_.view());
    if (tag.sequence <= scope_.snapshot && !shadowed) {
      if (tag.kind == EntryKind::value) {
        valid_ = true;
        skipped_ = 0;
        return Step::done;
      }
      pass();  // Deleted: what is older for this key is not to be seen.
    }
    const Step step = skip();
    if (step != Step::done) return step;
  }
  return Step::done;
}

/// Versions of the key that the merger stands at are not shown any more.
void MergingCursor::pass() {
  passed_.clear();
  passed_.bytes(merger_.key());
  passed_any_ = true;
}

MergingCursor::Step MergingCursor::skip() {
  valid_ = false;
  if (!merger_.try_next()) return Step::load;
  if (++skipped_ < kSkippedPerYield) return Step::done;
  skipped_ = 0;
  return Step::yield;
}

bool MergingCursor::at_end() const {
  if (!merger_.valid()) return true;
  if (!scope_.end.empty() && compare_keys(merger_.key(), scope_.end) >= 0) return true;
  return only_key_.has_value() && !core::equal(merger_.key(), *only_key_);
}

core::Task<core::Status> MergingCursor::seek_to_last_before(const SeekTarget& target) {
  valid_ = false;
  SENTINEL_CO_TRY(last, co_await merger_.last_key_before(target));
  while (last.has_value()) {
    only_key_ = std::move(last);
    if (compare_keys(*only_key_, scope_.begin) < 0) break;
    const KeyTarget at(*only_key_);
    SENTINEL_CO_CHECK(co_await position(at));
    SENTINEL_CO_CHECK(co_await settle_waiting());
    if (valid()) break;
    // Deleted, or newer than the snapshot: the one before it, then.
    SENTINEL_CO_TRY(before, co_await merger_.last_key_before(at));
    last = std::move(before);
  }
  only_key_.reset();
  co_return core::Status();
}

}  // namespace sentinel::lsm
