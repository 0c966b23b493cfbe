#include "consensus/compacted_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "consensus/partition_command.h"

namespace sentinel::consensus {

namespace {

// What is read, and what is written, before others have their turn.
constexpr std::size_t kChunkBytes = std::size_t{1} << 20;
constexpr std::size_t kReadAheadBytes = std::size_t{256} << 10;
constexpr std::size_t kRecordsPerYield = 512;
// Points in time at which tombstones are told apart, within the time that they are kept.
constexpr std::int64_t kHorizons = 8;

std::unexpected<core::Error> damaged(const EntryKey& key) {
  return core::fail(
      core::Errc::corruption,
      fmt::format("group {}, index {}: no record batch that can be read", key.group, key.index));
}

core::Bytes encode_offset(Offset offset) {
  core::ByteWriter out;
  out.i64(offset.value());
  return out.to_bytes();
}

/// The records of one entry, and the inflated bytes that they are views into.
struct Opened {
  RecordBatchView batch;
  RecordReader reader;
  std::vector<Record> records;
};

/// `value` outlives what is returned.
core::Result<Opened> open_entry(const EntryKey& key, core::ByteSpan value) {
  const auto batch = RecordBatchView::parse(value);
  if (!batch || key.type != EntryType::records) return damaged(key);
  auto reader = RecordReader::open(*batch);
  if (!reader) return damaged(key);
  Opened opened{.batch = *batch, .reader = std::move(*reader), .records = {}};
  for (;;) {
    auto record = opened.reader.next();
    if (!record) return damaged(key);
    if (!record->has_value()) return opened;
    opened.records.push_back(std::move(**record));
  }
}

KeyedRecord copy_of(const Record& record) {
  KeyedRecord copy{.offset = record.offset,
                   .timestamp_ms = record.timestamp_ms,
                   .value = std::nullopt,
                   .headers = {}};
  if (record.value.has_value()) copy.value = core::Bytes::copy(*record.value);
  for (const RecordHeader& header : record.headers) {
    std::optional<core::Bytes> value;
    if (header.value.has_value()) value = core::Bytes::copy(*header.value);
    copy.headers.emplace_back(std::string(header.key), std::move(value));
  }
  return copy;
}

void ask_by(CompactedLog::Plan& plan, std::int64_t at_ms) {
  plan.again_ms = std::min(plan.again_ms.value_or(at_ms), at_ms);
}

/// `time` + `wait`, both not negative, wherever that ends.
std::int64_t later(std::int64_t time, std::int64_t wait) {
  return wait > INT64_MAX - time ? INT64_MAX : time + wait;
}

}  // namespace

/// What one chunk of a pass has read, and what it changes.
struct CompactedLog::Chunk {
  std::uint64_t generation = 0;  // Of the log that the pass began with.
  LogIndex next;                 // Where it goes on.
  std::uint64_t tombstones = 0;  // Kept since the pass began.
  lsm::WriteBatch changes;
  std::int64_t removed_bytes = 0;
  std::size_t records = 0;  // Since others could run.
};

/// Gives the turn back at the end of a scope.
class CompactedLog::Turn {
 public:
  explicit Turn(core::Semaphore& turn) : turn_(turn) {}
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { turn_.release(1); }

 private:
  core::Semaphore& turn_;
};

CompactedLog::CompactedLog(core::Shard& shard, lsm::Db& db, Replica& replica, const bool& stop)
    : shard_(shard), db_(db), replica_(replica), stop_(stop), turn_(shard, 1) {}

core::Task<core::Result<bool>> CompactedLog::open() {
  SENTINEL_CO_TRY(stored, co_await db_.get(state_key(replica_.group(), StateKind::cleaning)));
  if (!stored.has_value()) co_return false;
  SENTINEL_CO_TRY(state, core::decode_fields<State>(*stored));
  state_ = std::move(state);
  co_return true;
}

void CompactedLog::put_state(lsm::WriteBatch& batch) const {
  batch.put(state_key(replica_.group(), StateKind::cleaning), core::encode_fields(state_));
}

core::Task<core::Status> CompactedLog::index_all() {
  const LogIndex end = replica_.commit_index();  // What comes meanwhile is for the next time.
  while (!stop_) {
    SENTINEL_CO_TRY(more, co_await index_chunk(end));
    if (!more) break;
    co_await core::yield(shard_);
  }
  co_return core::Status();
}

/// Indexes the records of the next entries up to `end`, which is committed; false once there.
core::Task<core::Result<bool>> CompactedLog::index_chunk(LogIndex end) {
  co_await turn_.acquire(1);
  const Turn turn(turn_);
  const std::uint64_t generation = generation_;
  State state = state_;
  const EntryKey start = replica_.start().before;
  if (start.index > state.indexed) {
    state.indexed = start.index;
    state.indexed_bytes = start.end_bytes;
  }
  if (state.indexed >= end) co_return false;
  LogCursor cursor = replica_.entries({.read_ahead_bytes = kReadAheadBytes});
  SENTINEL_CO_CHECK(
      co_await cursor.seek(EntryTarget::index(replica_.group(), state.indexed.next())));
  lsm::WriteBatch changes;
  std::size_t bytes_read = 0;
  while (cursor.valid() && bytes_read < kChunkBytes) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index > end) break;
    if (key.index != state.indexed.next()) co_return damaged(key);
    bytes_read += cursor.key().size() + cursor.value().size();
    SENTINEL_CO_CHECK(co_await index_entry(key, cursor.value_bytes(), state, changes));
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  if (generation != generation_ || bytes_read == 0) co_return false;
  state_ = std::move(state);
  put_state(changes);
  co_await db_.write(std::move(changes));
  co_return true;
}

core::Task<core::Status> CompactedLog::index_entry(const EntryKey& key, core::Bytes value,
                                                   State& state, lsm::WriteBatch& changes) {
  std::size_t stored = 0;
  if (key.type == EntryType::records && !value.empty()) {
    stored = value.size();
    SENTINEL_CO_TRY(entry, open_entry(key, value));
    for (const Record& record : entry.records) {
      if (!record.key.has_value()) continue;
      changes.put(index_key(replica_.group(), *record.key), encode_offset(record.offset));
      if (changes.body_bytes() < kChunkBytes) continue;
      co_await db_.write(std::exchange(changes, {}));
    }
  } else if (key.type == EntryType::command) {
    SENTINEL_CO_TRY(command, PartitionCommand::decode(value));
    state.released = std::max(state.released, command.released);
  }
  state.indexed = key.index;
  const std::uint64_t appended = key.end_bytes - std::exchange(state.indexed_bytes, key.end_bytes);
  state.removed_bytes += static_cast<std::int64_t>(appended) - static_cast<std::int64_t>(stored);
  co_return core::Status();
}

core::Task<core::Result<std::optional<EntryKey>>> CompactedLog::last_before(EntryTarget target) {
  LogCursor cursor = replica_.entries();
  SENTINEL_CO_CHECK(co_await cursor.seek_to_last_before(target));
  if (!cursor.valid()) co_return std::nullopt;
  SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
  co_return key;
}

/// The last entry that a pass may reach: committed, indexed, and before the last batch. That stays
/// whole: who reads up to the end of the log gets there by what it reads.
core::Task<core::Result<std::optional<EntryKey>>> CompactedLog::last_cleanable() {
  const GroupId group = replica_.group();
  // An earlier life may have indexed what this one does not know to be committed.
  const LogIndex end = std::min(state_.indexed, replica_.commit_index()).next();
  SENTINEL_CO_TRY(last, co_await last_before(EntryTarget::index(group, end)));
  if (!last.has_value()) co_return std::nullopt;
  const Offset last_record(last->end_offset.value() - 1);
  co_return co_await last_before(EntryTarget::offset(group, last_record));
}

/// The last entry up to `last` that is old enough.
core::Task<core::Result<std::optional<EntryKey>>> CompactedLog::last_of_age(
    std::optional<EntryKey> last, std::int64_t lag_ms, std::optional<std::int64_t> now_ms) {
  if (lag_ms == 0 || !last.has_value()) co_return last;
  if (!now_ms.has_value()) co_return std::nullopt;
  SENTINEL_CO_TRY(
      old, co_await last_before(EntryTarget::timestamp(replica_.group(), *now_ms - lag_ms + 1)));
  co_return old.has_value() && old->index > last->index ? last : old;
}

/// Whether the first entry that no pass has seen is as old as may be.
core::Task<core::Result<bool>> CompactedLog::is_overdue(std::int64_t lag_ms, std::int64_t now_ms,
                                                        Plan& plan) {
  LogCursor cursor = replica_.entries();
  SENTINEL_CO_CHECK(
      co_await cursor.seek(EntryTarget::index(replica_.group(), state_.cleaned.next())));
  if (!cursor.valid()) co_return false;
  SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
  const std::int64_t due_ms = later(std::max<std::int64_t>(key.max_timestamp, 0), lag_ms);
  if (due_ms <= now_ms) co_return true;
  ask_by(plan, due_ms);
  co_return false;
}

/// Tombstones below what is returned have been kept for so long. Whether all replicas have them is
/// for the leader to say.
Offset CompactedLog::note_expired(std::int64_t tombstone_ms, std::int64_t now_ms, Plan& plan) {
  std::vector<Horizon>& horizons = state_.horizons;
  const auto young = std::ranges::find_if(
      horizons, [&](const Horizon& horizon) { return now_ms - horizon.since_ms < tombstone_ms; });
  if (young != horizons.end()) ask_by(plan, later(young->since_ms, tombstone_ms));
  if (young == horizons.begin()) return Offset(0);
  horizons.erase(horizons.begin(), std::prev(young));
  const Offset end = horizons.front().end;
  if (end > state_.released && replica_.is_leader()) {
    plan.expired = Expired{.before = end, .last = state_.cleaned};
    ask_by(plan, later(now_ms, tombstone_ms / kHorizons));  // If that can't be now.
  }
  return end;
}

/// Whether tombstones that are released may go now: they are in what a pass has cleaned. A replica
/// that is new may have been sent from here what they delete, and not them.
bool CompactedLog::may_let_go() const {
  return !replica_.is_leader() ||
         replica_.raft().all_have().value_or(LogIndex(0)) >= state_.cleaned;
}

/// From now on the tombstones that the last pass left are kept for so long.
core::Task<void> CompactedLog::note_horizon(std::int64_t tombstone_ms, std::int64_t now_ms,
                                            Plan& plan) {
  std::vector<Horizon>& horizons = state_.horizons;
  const bool noted = !horizons.empty() && horizons.back().end >= state_.cleaned_offset;
  const std::int64_t next_ms =
      horizons.empty() ? now_ms : later(horizons.back().since_ms, tombstone_ms / kHorizons);
  if (!noted && next_ms <= now_ms) {
    horizons.push_back({.end = state_.cleaned_offset, .since_ms = now_ms});
    lsm::WriteBatch changes;
    put_state(changes);
    co_await db_.write(std::move(changes));
  } else if (!noted) {
    ask_by(plan, next_ms);
  }
}

core::Task<core::Result<CompactedLog::Plan>> CompactedLog::plan(
    CleaningRules rules, std::optional<std::int64_t> now_ms) {
  SENTINEL_CO_CHECK(co_await index_all());
  co_await turn_.acquire(1);
  const Turn turn(turn_);
  Plan plan;
  SENTINEL_CO_TRY(end, co_await last_cleanable());
  SENTINEL_CO_TRY(last, co_await last_of_age(end, rules.lag_ms_min, now_ms));
  Pass pass{.last = state_.cleaned,
            .end_offset = state_.cleaned_offset,
            .end_bytes = state_.cleaned_bytes,
            .released = Offset(0),
            .remembered = {}};
  bool due = false;
  if (last.has_value() && last->index > state_.cleaned) {
    pass.last = last->index;
    pass.end_offset = last->end_offset;
    pass.end_bytes = last->end_bytes;
    const std::uint64_t begin = replica_.start().before.end_bytes;
    const auto dirty = static_cast<double>(last->end_bytes - std::max(state_.cleaned_bytes, begin));
    const auto all =
        static_cast<double>(last->end_bytes - begin) - static_cast<double>(state_.removed_bytes);
    due = dirty >= rules.dirty_share_min * all;
  }
  if (now_ms.has_value() && state_.tombstones > 0) {
    co_await note_horizon(rules.tombstone_ms, *now_ms, plan);
    const Offset expired = note_expired(rules.tombstone_ms, *now_ms, plan);
    const Offset released = std::min(expired, state_.released);
    if (may_let_go()) {
      pass.released = released;
    } else if (released > state_.gone) {
      ask_by(plan, later(*now_ms, rules.tombstone_ms / kHorizons));
    }
  }
  // What is released here must have been through a pass before it goes.
  due |= pass.released > state_.gone ||
         std::min(state_.released, pass.end_offset) > state_.cleaned_offset;
  if (now_ms.has_value() && rules.lag_ms_max >= 0 && pass.last > state_.cleaned && !due) {
    SENTINEL_CO_TRY(overdue, co_await is_overdue(rules.lag_ms_max, *now_ms, plan));
    due = overdue;
  }
  const bool some_too_young = end.has_value() && end->index > pass.last;
  if (some_too_young && now_ms.has_value()) ask_by(plan, later(*now_ms, rules.lag_ms_min));
  if (due) plan.pass = pass;
  co_return plan;
}

core::Task<core::Status> CompactedLog::clean(Pass pass) {
  Chunk chunk;
  chunk.generation = generation_;
  for (bool more = true; more;) {
    if (stop_ || generation_ != chunk.generation) co_return core::Status();
    SENTINEL_CO_TRY(goes_on, co_await clean_chunk(pass, chunk));
    more = goes_on;
    co_await core::yield(shard_);
  }
  SENTINEL_CO_CHECK(co_await forget_given_up());
  co_await turn_.acquire(1);
  const Turn turn(turn_);
  if (stop_ || generation_ != chunk.generation) co_return core::Status();
  state_.cleaned = pass.last;
  state_.cleaned_offset = pass.end_offset;
  state_.cleaned_bytes = pass.end_bytes;
  state_.tombstones = chunk.tombstones;
  state_.gone = std::max(state_.gone, pass.released);
  std::erase_if(state_.horizons,
                [&](const Horizon& horizon) { return horizon.end <= state_.gone; });
  lsm::WriteBatch changes;
  put_state(changes);
  co_await db_.write(std::move(changes));
  co_return core::Status();
}

/// Cleans some entries from `chunk.next` on; false behind the last one of the pass.
core::Task<core::Result<bool>> CompactedLog::clean_chunk(const Pass& pass, Chunk& chunk) {
  co_await turn_.acquire(1);
  const Turn turn(turn_);
  LogCursor cursor = replica_.entries({.read_ahead_bytes = kReadAheadBytes});
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(replica_.group(), chunk.next)));
  std::size_t bytes_read = 0;
  bool more = false;
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index > pass.last) break;
    more = bytes_read >= kChunkBytes || chunk.changes.body_bytes() >= kChunkBytes;
    if (more) break;
    bytes_read += cursor.key().size() + cursor.value().size();
    if (key.type == EntryType::records && !cursor.value().empty()) {
      SENTINEL_CO_CHECK(co_await clean_entry(pass, key, cursor.value_bytes(), chunk));
    }
    chunk.next = key.index.next();
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  if (!chunk.changes.empty()) co_await write(chunk);
  co_return more;
}

core::Task<void> CompactedLog::write(Chunk& chunk) {
  if (generation_ != chunk.generation) {
    chunk.changes.clear();
    co_return;
  }
  state_.removed_bytes += std::exchange(chunk.removed_bytes, 0);
  put_state(chunk.changes);
  co_await db_.write(std::exchange(chunk.changes, {}));
}

core::Task<core::Status> CompactedLog::clean_entry(const Pass& pass, const EntryKey& key,
                                                   core::Bytes batch, Chunk& chunk) {
  SENTINEL_CO_TRY(entry, open_entry(key, batch));
  std::vector<Record>& records = entry.records;
  const std::size_t count = records.size();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    SENTINEL_CO_TRY(keep, co_await is_kept(pass, records[i], chunk));
    if (!keep) continue;
    if (kept != i) records[kept] = std::move(records[i]);
    ++kept;
  }
  if (kept == count && count > 0) co_return core::Status();
  records.resize(kept);
  const bool stays =
      kept > 0 || std::ranges::binary_search(pass.remembered, entry.batch.base_offset());
  if (stays && count == 0) co_return core::Status();
  const core::Bytes rebuilt = stays ? rebuild_batch(entry.batch, records) : core::Bytes();
  // One large batch at most in a write: it has to fit a record of the log.
  if (chunk.changes.body_bytes() + rebuilt.size() > kChunkBytes && !chunk.changes.empty())
    co_await write(chunk);
  chunk.removed_bytes +=
      static_cast<std::int64_t>(batch.size()) - static_cast<std::int64_t>(rebuilt.size());
  // With nothing left its place stays, under the same key: a log has no gaps, so that what gave way
  // to another leader's entries is told from what was cleaned.
  chunk.changes.put(key.encode(), rebuilt);
  co_return core::Status();
}

core::Task<core::Result<bool>> CompactedLog::is_kept(const Pass& pass, const Record& record,
                                                     Chunk& chunk) {
  if (++chunk.records % kRecordsPerYield == 0) co_await core::yield(shard_);
  if (!record.key.has_value()) co_return true;
  const core::Bytes place = index_key(replica_.group(), *record.key);
  SENTINEL_CO_TRY(last, co_await latest(place));
  if (last.has_value() && *last > record.offset) co_return false;
  if (record.value.has_value()) co_return true;
  if (record.offset >= pass.released) {
    ++chunk.tombstones;
    co_return true;
  }
  // The index first, and without it a tombstone still goes: so the two need not be one write.
  if (last.has_value()) {
    chunk.changes.remove(place);
    if (chunk.changes.body_bytes() >= kChunkBytes) co_await write(chunk);
  }
  co_return false;
}

/// Takes out of the index what lies before the start of the log.
core::Task<core::Status> CompactedLog::forget_given_up() {
  const Offset start = replica_.start().offset;
  if (start <= state_.index_start) co_return core::Status();
  core::Bytes next = index_begin(replica_.group());
  const core::Bytes end = index_begin(GroupId(replica_.group().value() + 1));
  for (bool more = true; more && !stop_;) {
    co_await turn_.acquire(1);
    const Turn turn(turn_);
    lsm::Cursor cursor = db_.cursor(next, end);
    SENTINEL_CO_CHECK(co_await cursor.seek(lsm::KeyTarget(next)));
    lsm::WriteBatch changes;
    std::size_t looked_at = 0;
    for (; cursor.valid() && looked_at < kChunkBytes; looked_at += cursor.key().size()) {
      core::ByteReader value(cursor.value());
      if (Offset(value.i64()) < start) changes.remove(cursor.key());
      SENTINEL_CO_CHECK(co_await cursor.next());
      if (!cursor.valid()) break;
    }
    more = cursor.valid();
    if (more) next = core::Bytes::copy(cursor.key());
    if (!more) state_.index_start = start;
    put_state(changes);
    co_await db_.write(std::move(changes));
  }
  co_return core::Status();
}

core::Task<core::Result<std::optional<Offset>>> CompactedLog::latest(core::Bytes index_key) {
  SENTINEL_CO_TRY(stored, co_await db_.get(std::move(index_key)));
  if (!stored.has_value()) co_return std::nullopt;
  core::ByteReader value(*stored);
  co_return Offset(value.i64());
}

core::Task<core::Result<std::optional<KeyedRecord>>> CompactedLog::find(core::Bytes key) {
  const core::Bytes place = index_key(replica_.group(), key);
  std::optional<Offset> before;
  for (;;) {
    SENTINEL_CO_CHECK(co_await index_all());
    SENTINEL_CO_TRY(offset, co_await latest(place));
    if (!offset.has_value() || *offset < replica_.start().offset) co_return std::nullopt;
    SENTINEL_CO_TRY(record, co_await record_at(*offset));
    if (record.has_value() && !record->value.has_value()) co_return std::nullopt;
    if (record.has_value()) co_return record;
    // It may have been superseded and cleaned between the two reads; then the index says so.
    if (before == offset) {
      co_return core::fail(core::Errc::corruption,
                           fmt::format("group {}: the index names a record at offset {}, which "
                                       "is not there",
                                       replica_.group(), *offset));
    }
    before = offset;
  }
}

core::Task<core::Result<std::optional<KeyedRecord>>> CompactedLog::record_at(Offset offset) {
  LogCursor cursor = replica_.entries();
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::offset(replica_.group(), offset)));
  if (!cursor.valid()) co_return std::nullopt;
  SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
  if (key.type != EntryType::records || cursor.value().empty()) co_return std::nullopt;
  SENTINEL_CO_TRY(entry, open_entry(key, cursor.value()));
  const auto found = std::ranges::find(entry.records, offset, &Record::offset);
  if (found == entry.records.end()) co_return std::nullopt;
  co_return copy_of(*found);
}

/// Payload bytes of the entries behind `begin` up to `last`.
core::Task<core::Result<std::uint64_t>> CompactedLog::stored_bytes(LogIndex begin, LogIndex last) {
  std::uint64_t stored = 0;
  LogCursor cursor = replica_.entries({.read_ahead_bytes = kReadAheadBytes});
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(replica_.group(), begin.next())));
  for (std::size_t count = 1; cursor.valid(); ++count) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index > last) break;
    if (key.type == EntryType::records) stored += cursor.value().size();
    if (count % kRecordsPerYield == 0) co_await core::yield(shard_);
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return stored;
}

core::Task<core::Status> CompactedLog::trim(LogStart start, Snapshot snapshot) {
  const std::uint64_t generation = generation_;
  co_await turn_.acquire(1);
  const Turn turn(turn_);
  if (generation != generation_) co_return core::Status();
  const EntryKey begin = replica_.start().before;
  // Behind the end of the index nothing is counted yet.
  const bool indexed = start.before.index <= state_.indexed;
  const LogIndex last = indexed ? start.before.index : state_.indexed;
  const std::uint64_t last_bytes = indexed ? start.before.end_bytes : state_.indexed_bytes;
  const bool is_clean = state_.removed_bytes == 0 && state_.cleaned <= begin.index;
  if (!is_clean && last > begin.index) {
    const auto stored = co_await stored_bytes(begin.index, last);
    if (generation != generation_) co_return core::Status();
    if (stored) {
      const std::uint64_t once = last_bytes - begin.end_bytes;
      state_.removed_bytes -= static_cast<std::int64_t>(once) - static_cast<std::int64_t>(*stored);
    } else {
      // What can't be read goes, too; what is left is indexed, and counted, once more.
      ++generation_;  // A pass that runs must not go on behind the index.
      state_.removed_bytes = 0;
      state_.indexed = start.before.index;
      state_.indexed_bytes = start.before.end_bytes;
    }
  }
  lsm::WriteBatch changes;
  put_state(changes);
  co_await replica_.trim(start, std::move(snapshot), std::move(changes));
  co_return core::Status();
}

core::Task<core::Result<std::optional<EntryKey>>> CompactedLog::surplus(std::uint64_t bytes_kept) {
  SENTINEL_CO_CHECK(co_await index_all());
  co_await turn_.acquire(1);
  const Turn turn(turn_);
  if (stop_) co_return std::nullopt;  // Not all is counted.
  std::optional<EntryKey> last;
  std::int64_t left = static_cast<std::int64_t>(replica_.size_bytes()) - state_.removed_bytes -
                      static_cast<std::int64_t>(bytes_kept);
  LogCursor cursor = replica_.entries({.read_ahead_bytes = kReadAheadBytes});
  SENTINEL_CO_CHECK(co_await cursor.seek(
      EntryTarget::index(replica_.group(), replica_.start().before.index.next())));
  for (std::size_t count = 1; cursor.valid(); ++count) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.type == EntryType::records) left -= static_cast<std::int64_t>(cursor.value().size());
    if (left < 0 || key.index > replica_.commit_index()) break;
    last = key;
    if (count % kRecordsPerYield == 0) co_await core::yield(shard_);
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return last;
}

}  // namespace sentinel::consensus
