#include "lsm/db.h"

#include <fmt/format.h>

#include <set>
#include <utility>

#include "lsm/bloom.h"
#include "lsm/compaction.h"
#include "lsm/log_replay.h"
#include "lsm/look_ahead.h"
#include "lsm/sorted_replay.h"

namespace sentinel::lsm {

namespace {
// With more log segments than that a start flushes: a store that is started again and again and
// written little must not keep a segment of each life.
constexpr std::size_t kSealedAtStartMax = 4;
// With more tables on level 0 than that, flushes wait for compaction: a reader looks at each of
// them.
constexpr std::size_t kLevel0TablesMax = 24;
// After a compaction that failed, for want of space or over a damaged table.
constexpr core::Duration kCompactionRetry = std::chrono::seconds(10);
// While the disk is full it is looked at so often.
constexpr core::Duration kSpaceRetry = std::chrono::seconds(1);

/// Whether a filter that is in memory says that the run lacks the key.
bool is_denied(const Run& run, core::ByteSpan key) {
  if (run.info->filter.length == 0) return false;
  const auto filter = run.file->cached_block(run.info->filter);
  return filter.has_value() && !bloom_may_have(*filter, bloom_hash(key));
}
}  // namespace

Db::Db(core::Shard& shard, DbOptions options)
    : shard_(shard),
      options_(std::move(options)),
      reserve_(std::make_shared<ArenaReserve>(options_.memtable_bytes)),
      picker_(options_.base_level_bytes),
      flush_wanted_(shard),
      flushed_(shard),
      version_changed_(shard),
      compacted_(shard),
      space_check_wanted_(shard),
      scope_(shard) {
  memtable_ = new_memtable();
}

Db::~Db() = default;

core::Task<core::Result<std::unique_ptr<Db>>> Db::open(core::Shard& shard, DbOptions options,
                                                       bool create) {
  options.wal.directory = options.directory;
  options.wal.store_id = options.store_id;
  std::unique_ptr<Db> db(new Db(shard, std::move(options)));
  auto manifest = co_await Manifest::open(
      shard, {.directory = db->options_.directory, .store_id = db->options_.store_id}, create);
  if (!manifest) co_return std::unexpected(std::move(manifest).error());
  db->manifest_ = std::move(*manifest);
  core::Status recovered = co_await db->recover();
  if (!recovered) {
    co_await db->close();
    co_return std::unexpected(std::move(recovered).error());
  }
  db->versions_->start();
  db->scope_.spawn(db->flush_loop());
  db->scope_.spawn(db->compaction_loop());
  db->scope_.spawn(db->space_loop());
  if (db->wal_->sealed_count() > kSealedAtStartMax) db->rotate();
  co_return db;
}

core::Task<core::Status> Db::recover() {
  versions_ = std::make_unique<VersionSet>(shard_,
                                           TableFile::Options{.directory = options_.directory,
                                                              .store_id = options_.store_id,
                                                              .cache = options_.cache,
                                                              .read_ahead = options_.read_ahead,
                                                              .on_damage = &options_.on_damage},
                                           *manifest_);
  SENTINEL_CO_CHECK(co_await versions_->open());
  visible_ = manifest_->files().flushed_sequence;
  LogReplay replay(shard_, options_.directory, options_.store_id, manifest_->files());
  SortedReplay sorted(*memtable_, options_.memtable_bytes);
  SENTINEL_CO_CHECK(
      co_await replay.run([&sorted](WriteBatch batch) { sorted.add(std::move(batch)); }));
  sorted.finish();
  next_sequence_ = replay.next_sequence();
  if (next_sequence_ > kFirstSequence) visible_ = SequenceNumber(next_sequence_.value() - 1);
  recovery_.batches = replay.batches();
  recovery_.torn_bytes = replay.torn_bytes();
  // Only now: a store that is found damaged is left as it was found.
  SENTINEL_CO_CHECK(co_await manifest_->start());
  auto wal = co_await Wal::start(shard_, options_.wal, *manifest_, replay.segments(),
                                 manifest_->files().flushed_sequence);
  if (!wal) co_return std::unexpected(std::move(wal).error());
  wal_ = std::move(*wal);
  recovery_.direct_io = wal_->direct();
  SENTINEL_CO_TRY(free, co_await core::free_space(shard_, options_.directory));
  free_bytes_ = free;
  co_return core::Status();
}

core::Task<void> Db::write(WriteBatch batch, Durability durability) {
  if (durability == Durability::queued && try_write(batch)) co_return;
  SENTINEL_ASSERT(!closing_ && !batch.empty());
  batch.set_first_sequence(next_sequence_);
  note_given(batch);
  co_await wal_->append(batch, durability);
  apply(batch);
  rotate_if_full();
}

bool Db::try_write(WriteBatch& batch) {
  SENTINEL_ASSERT(!closing_ && !batch.empty());
  // Batches take effect in order, so none may be on its way.
  if (visible_.next() != next_sequence_) return false;
  batch.set_first_sequence(next_sequence_);
  if (!wal_->try_append(batch)) return false;
  note_given(batch);
  apply(batch);
  rotate_if_full();
  return true;
}

void Db::note_given(const WriteBatch& batch) {
  next_sequence_ = batch.last_sequence().next();
  counters_.user_bytes += batch.body_bytes();
}

void Db::apply(const WriteBatch& batch) {
  SequenceNumber sequence = batch.first_sequence();
  SENTINEL_ASSERT(sequence == visible_.next(), "batches are applied in order");
  for (const WriteBatch::Operation& operation : batch.operations()) {
    memtable_->add({.sequence = sequence, .kind = operation.kind}, batch.key(operation),
                   operation.value);
    visible_ = sequence;
    sequence = sequence.next();
  }
}

void Db::rotate_if_full() {
  if (memtable_->memory_bytes() >= options_.memtable_bytes) rotate();
}

void Db::rotate() {
  immutables_.push_back(std::exchange(memtable_, new_memtable()));
  // Memory is bounded by not taking new writes, rather than by failing them.
  if (immutables_.size() >= options_.immutable_max) wal_->pause();
  flush_wanted_.notify_all();
}

core::Task<void> Db::flush_loop() {
  for (;;) {
    while (immutables_.empty() && !closing_) co_await flush_wanted_.wait();
    while (level0_is_full() && !closing_) co_await version_changed_.wait();
    if (closing_) co_return;  // What is not flushed is replayed.
    core::Status flushed = co_await flush_one();
    flush_lacks_space_ = !flushed && flushed.error().code == core::Errc::no_space;
    space_check_wanted_.notify_all();
    if (flush_lacks_space_) {
      // Nothing is lost by waiting: the log has it all. What is discarded may make room; what
      // others free on the disk is no event.
      co_await version_changed_.wait(shard_.deadline_in(kSpaceRetry));
      continue;
    }
    if (!flushed) {
      shard_.fail(core::ExitCode::io_failed, flushed.error().message);
      co_return;
    }
    flushed_.notify_all();
  }
}

bool Db::has_space() {
  const bool low =
      space_is_low_ || flush_lacks_space_ || wal_->lacks_space() || free_bytes_ < space_needed();
  if (low) space_check_wanted_.notify_all();
  return !low;
}

/// What the disk has to have so that all that is in memory can be flushed.
std::uint64_t Db::space_needed() const { return memory_bytes() + options_.disk_reserve_bytes; }

/// Looks at the disk after each flush, and again and again while there is too little room.
core::Task<void> Db::space_loop() {
  while (!closing_) {
    const auto free = co_await core::free_space(shard_, options_.directory);
    if (free) free_bytes_ = *free;
    // Some more than needed ends it, so that the answer does not change all the time.
    const std::uint64_t wanted =
        space_needed() + (space_is_low_ ? options_.disk_reserve_bytes / 4 : 0);
    const bool low = free_bytes_ < wanted || flush_lacks_space_ || wal_->lacks_space();
    if (low != space_is_low_ && options_.log != nullptr) {
      options_.log->write(
          core::LogLevel::warn, "{} has {} MiB of free space left: {}", options_.directory,
          free_bytes_ >> 20,
          low ? "records are refused until there is more" : "records are taken again");
    }
    space_is_low_ = low;
    if (low) {
      co_await core::sleep_for(shard_, kSpaceRetry, scope_.token());
    } else if (!closing_) {
      co_await space_check_wanted_.wait();
    }
  }
}

bool Db::level0_is_full() const {
  if (compaction_fails_ || versions_->current()->level(0).size() < kLevel0TablesMax) return false;
  return picker_.level0_depth(*versions_->current()) >= kLevel0TablesMax;
}

/// Writes the oldest immutable memtable to a table; one manifest edit then replaces its log
/// segments by the table.
core::Task<core::Status> Db::flush_one() {
  const std::shared_ptr<const Memtable> memtable = immutables_.front();
  VersionEdit edit;
  edit.flushed_sequence = memtable->largest_sequence();
  SENTINEL_CO_TRY(table, co_await write_table(*memtable, manifest_->new_file_number()));
  for (RunInfo& run : table.runs) {
    run.level = CompactionPicker::level_for_flush(*versions_->current(), run);
    edit.runs_added.push_back(std::move(run));
  }
  if (!edit.runs_added.empty()) edit.tables_added.push_back(table.info);
  edit.wals_removed = wal_->obsolete(edit.flushed_sequence);
  const std::vector<FileNumber> obsolete = edit.wals_removed;
  const std::vector<RunInfo> added = edit.runs_added;
  SENTINEL_CO_CHECK(co_await versions_->apply(std::move(edit)));
  note_discarded(added);
  counters_.flushed_bytes += table.info.size_bytes;
  immutables_.pop_front();
  wal_->recycle(obsolete);
  if (immutables_.size() < options_.immutable_max) wal_->resume();
  version_changed_.notify_all();
  co_return core::Status();
}

/// A table of the memtable's entries, without those that nobody reads any more; if none is left, no
/// table.
core::Task<core::Result<NewTable>> Db::write_table(const Memtable& memtable, FileNumber number) {
  std::unique_ptr<SSTableWriter> writer;
  Memtable::Cursor cursor(memtable);
  core::Status added;
  for (cursor.seek_to_first(); cursor.valid() && added; cursor.next()) {
    if (discarded_.contains(cursor.key())) continue;
    if (writer == nullptr) {
      auto created = co_await SSTableWriter::create(shard_, table_options(), number);
      if (!created) co_return std::unexpected(std::move(created).error());
      writer = std::move(*created);
    }
    added = co_await writer->add(cursor.key(), cursor.tag(), cursor.value());
  }
  if (writer == nullptr) co_return NewTable();
  if (!added) {
    co_await writer->abandon();
    co_return std::unexpected(std::move(added).error());
  }
  co_return co_await writer->finish();
}

SSTableWriter::Options Db::table_options() const {
  return {.directory = options_.directory, .store_id = options_.store_id, .runs = options_.runs};
}

core::Task<void> Db::compaction_loop() {
  core::Deadline retry(core::TimePoint::min());
  while (!closing_) {
    const core::Status dropped = co_await drop_discarded();
    if (!dropped) co_return;  // Has ended the process.
    // After a failure only merging rests; dropping goes on, and may be what makes room for it.
    const bool rests = !retry.passed(shard_.now());
    std::optional<CompactionPlan> plan;
    if (!rests) plan = picker_.pick(versions_->current());
    if (!plan.has_value()) {
      compacting_ = false;
      compacted_.notify_all();
      // Both may have changed while the last edit was written.
      if (discards_.empty() && !closing_)
        co_await version_changed_.wait(rests ? retry : core::Deadline());
      continue;
    }
    compacting_ = true;
    core::Status done = co_await compact(*plan);
    plan.reset();
    const bool failed_before = std::exchange(compaction_fails_, !done && !closing_);
    version_changed_.notify_all();
    if (!compaction_fails_) continue;
    if (options_.log != nullptr && !failed_before) {
      options_.log->write(core::LogLevel::error, "compaction of {} failed, will be tried again: {}",
                          options_.directory, done.error().message);
    }
    retry = shard_.deadline_in(kCompactionRetry);
  }
}

core::Task<core::Status> Db::compact(const CompactionPlan& plan) {
  VersionEdit edit;
  if (plan.moves) {
    for (const Run* run : plan.inputs) {
      RunInfo moved = *run->info;
      moved.level = plan.output_level;
      edit.runs_removed.push_back(moved.id);
      edit.runs_added.push_back(std::move(moved));
    }
    counters_.runs_moved += plan.inputs.size();
  } else {
    SENTINEL_CO_CHECK(co_await check_room_for(plan));
    Compaction compaction(shard_, table_options(), *manifest_, plan, discarded_);
    SENTINEL_CO_TRY(merged, co_await compaction.run(closing_));
    edit = std::move(merged);
  }
  for (const TableInfo& table : edit.tables_added) counters_.compacted_bytes += table.size_bytes;
  const std::vector<RunInfo> added = edit.runs_added;
  SENTINEL_CO_CHECK(co_await versions_->apply(std::move(edit)));
  note_discarded(added);
  co_return core::Status();
}

/// A merge needs as much space as its inputs have, which stay until it is done; it must not take
/// what flushes need.
core::Task<core::Status> Db::check_room_for(const CompactionPlan& plan) {
  std::uint64_t bytes = 0;
  for (const Run* run : plan.inputs) bytes += run->info->size_bytes();
  SENTINEL_CO_TRY(free, co_await core::free_space(shard_, options_.directory));
  free_bytes_ = free;
  if (free >= bytes + space_needed()) co_return core::Status();
  co_return core::fail(core::Errc::no_space,
                       fmt::format("{} MiB more of free space are needed",
                                   ((bytes + space_needed() - free) >> 20) + 1));
}

core::Task<void> Db::until_compacted() {
  while (!closing_ &&
         (compacting_ || !discards_.empty() || picker_.pick(versions_->current()).has_value())) {
    co_await compacted_.wait();
  }
}

core::Task<void> Db::flush() {
  if (!memtable_->empty()) rotate();
  while (!immutables_.empty()) co_await flushed_.wait();
}

core::Task<core::Result<std::optional<core::Bytes>>> Db::get(core::Bytes key) const {
  if (auto found = try_get(key)) co_return std::move(*found);
  const std::shared_ptr<const Version> version = versions_->current();
  const std::uint64_t hash = bloom_hash(key);
  for (std::uint8_t level = 0; level < kLevels; ++level) {
    for (const Run* run : version->candidates(level, key, key)) {
      if (!run->info->overlaps(key, key)) continue;
      SENTINEL_CO_TRY(possible, co_await may_have(run, hash));
      if (!possible) continue;
      RunCursor cursor(*run);
      SENTINEL_CO_CHECK(co_await cursor.seek(KeyTarget(key)));
      if (!cursor.valid() || compare_keys(cursor.key(), key) != 0) continue;
      if (cursor.tag().kind == EntryKind::tombstone) co_return std::nullopt;
      co_return cursor.value_bytes();
    }
  }
  co_return std::nullopt;
}

core::Task<core::Result<bool>> Db::may_have(const Run* run, std::uint64_t hash) const {
  if (run->info->filter.length == 0) co_return true;
  SENTINEL_CO_TRY(filter, co_await run->file->read_block(run->info->filter));
  co_return bloom_may_have(filter, hash);
}

std::optional<std::optional<core::Bytes>> Db::try_get(core::ByteSpan key) const {
  if (auto found = get_from_memory(key)) return found;
  const KeyTarget target(key);
  const Version& version = *versions_->current();
  for (std::uint8_t level = 0; level < kLevels; ++level) {
    for (const Run* run : version.candidates(level, key, key)) {
      if (!run->info->overlaps(key, key)) continue;
      // Most keys are on the bottom: there the filter is asked only if that saves reading a block.
      if (level < kBottomLevel && is_denied(*run, key)) continue;
      RunCursor cursor(*run);
      if (!cursor.try_seek(target)) {
        if (is_denied(*run, key)) continue;
        return std::nullopt;
      }
      if (!cursor.valid() || compare_keys(cursor.key(), key) != 0) continue;
      if (cursor.tag().kind == EntryKind::tombstone) return std::optional<core::Bytes>();
      return cursor.value_bytes();
    }
  }
  return std::optional<core::Bytes>();
}

/// Nothing when no memtable has the key; no value when the newest one says that it is deleted.
std::optional<std::optional<core::Bytes>> Db::get_from_memory(core::ByteSpan key) const {
  const auto look = [key](const Memtable& memtable) -> std::optional<std::optional<core::Bytes>> {
    Memtable::Cursor cursor(memtable);
    cursor.seek(key, kSequenceMax);
    if (!cursor.valid() || compare_keys(cursor.key(), key) != 0) return std::nullopt;
    if (cursor.tag().kind == EntryKind::tombstone) return std::optional<core::Bytes>();
    return cursor.value_bytes();
  };
  if (auto found = look(*memtable_)) return found;
  for (auto memtable = immutables_.rbegin(); memtable != immutables_.rend(); ++memtable) {
    if (auto found = look(**memtable)) return found;
  }
  return std::nullopt;
}

Cursor Db::cursor(core::Bytes begin, core::Bytes end, ReadOptions read) const {
  Cursor::Sources sources;
  sources.memtables.push_back(memtable_);
  for (auto memtable = immutables_.rbegin(); memtable != immutables_.rend(); ++memtable)
    sources.memtables.push_back(*memtable);
  sources.version = versions_->current();
  return Cursor(
      shard_, std::move(sources),
      {.snapshot = visible_, .begin = std::move(begin), .end = std::move(end), .read = read});
}

core::Task<void> Db::look_ahead(const SeekTarget& target, core::Bytes begin, core::Bytes end,
                                std::uint64_t bytes_max) const {
  if (options_.read_ahead == nullptr) co_return;
  co_await lsm::look_ahead(versions_->current(), target, std::move(begin), std::move(end),
                           bytes_max);
}

bool Db::may_look_ahead(std::size_t windows) const {
  return options_.read_ahead != nullptr && options_.read_ahead->has_room(windows);
}

void Db::discard(core::Bytes begin, core::Bytes end) {
  discarded_.add(begin, end);
  discards_.emplace_back(std::move(begin), std::move(end));
  version_changed_.notify_all();
}

/// What was discarded while a run was being written is looked at again.
void Db::note_discarded(const std::vector<RunInfo>& runs) {
  for (const RunInfo& run : runs) {
    if (!discarded_.covers(core::as_bytes(run.smallest_key), core::as_bytes(run.largest_key)))
      continue;
    discards_.emplace_back(core::Bytes::copy(run.smallest_key), core::Bytes::copy(run.largest_key));
  }
}

/// Drops the runs that lie in discarded ranges as a whole. By the compaction's loop, so that nobody
/// merges them meanwhile.
core::Task<core::Status> Db::drop_discarded() {
  VersionEdit edit;
  std::set<RunId> dead;
  const std::shared_ptr<const Version> version = versions_->current();
  for (const auto& [begin, end] : std::exchange(discards_, {})) {
    for (std::uint8_t level = 0; level < kLevels; ++level) {
      for (const Run* run : version->candidates(level, begin, end)) {
        const bool covered = discarded_.covers(core::as_bytes(run->info->smallest_key),
                                               core::as_bytes(run->info->largest_key));
        if (covered && dead.insert(run->info->id).second)
          edit.runs_removed.push_back(run->info->id);
      }
    }
  }
  if (edit.runs_removed.empty()) co_return core::Status();
  counters_.runs_dropped += edit.runs_removed.size();
  SENTINEL_CO_CHECK(co_await versions_->apply(std::move(edit)));
  version_changed_.notify_all();  // A flush may wait for a shallower level 0.
  co_return core::Status();
}

DbCounters Db::counters() const {
  DbCounters counters = counters_;
  counters.wal_bytes = wal_->written_bytes();
  return counters;
}

std::size_t Db::memory_bytes() const {
  std::size_t total = memtable_->memory_bytes();
  for (const auto& memtable : immutables_) total += memtable->memory_bytes();
  return total;
}

std::shared_ptr<Memtable> Db::new_memtable() {
  return std::make_shared<Memtable>(shard_.random().next(), reserve_);
}

void Db::prepare_close() {
  if (wal_ != nullptr) wal_->stop_pausing();
}

core::Task<void> Db::close() {
  closing_ = true;
  flush_wanted_.notify_all();
  version_changed_.notify_all();
  space_check_wanted_.notify_all();
  co_await scope_.close();
  if (wal_ != nullptr) co_await wal_->close();
  if (versions_ != nullptr) co_await versions_->close();
  if (manifest_ != nullptr) co_await manifest_->close();
}

}  // namespace sentinel::lsm
