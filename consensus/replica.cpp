#include "consensus/replica.h"

#include <fmt/format.h>

#include <algorithm>

namespace sentinel::consensus {

namespace {

core::Bytes encode_snapshot(const Snapshot& snapshot) {
  core::ByteWriter value;
  value.u64(snapshot.index.value());
  value.bytes(snapshot.state);
  return value.to_bytes();
}

}  // namespace

core::Bytes LogStart::encode() const {
  core::ByteWriter out;
  out.u64(static_cast<std::uint64_t>(offset.value()));
  out.bytes(before.encode());
  return out.to_bytes();
}

core::Result<LogStart> LogStart::decode(core::ByteSpan bytes) {
  core::ByteReader in(bytes);
  LogStart start;
  start.offset = Offset(static_cast<std::int64_t>(in.u64()));
  SENTINEL_TRY(before, EntryKey::decode(in.rest()));
  start.before = before;
  return start;
}

Replica::Replica(lsm::Db& db, GroupId group, StateMachine& machine)
    : db_(db), group_(group), machine_(machine) {
  last_.group = group;
  last_.term = kFirstTerm;
  last_.end_offset = Offset(0);
  start_.before = last_;
}

core::Task<core::Status> Replica::open() {
  SENTINEL_CO_TRY(stored, co_await db_.get(state_key(group_, StateKind::log_start)));
  if (stored.has_value()) {
    SENTINEL_CO_TRY(start, LogStart::decode(*stored));
    start_ = start;
    last_ = start.before;
  }
  lsm::Cursor cursor = entries();
  SENTINEL_CO_CHECK(co_await cursor.seek_to_last_before(EntryTarget::end(group_)));
  if (cursor.valid()) {
    SENTINEL_CO_TRY(last, EntryKey::decode(cursor.key()));
    last_ = last;
  }
  commit_index_ = last_.index;
  co_return core::Status();
}

core::Task<LogIndex> Replica::propose(Proposal proposal) {
  EntryKey key = last_;
  key.index = last_.index.next();
  key.type = proposal.type;
  key.end_offset = proposal.end_offset;
  key.max_timestamp = proposal.max_timestamp;
  key.end_bytes = last_.end_bytes + proposal.payload.size();
  lsm::WriteBatch batch;
  if (proposal.snapshot.has_value()) {
    batch.put(state_key(group_, StateKind::snapshot),
              encode_snapshot({.index = last_.index, .state = std::move(*proposal.snapshot)}));
  }
  batch.put(key.encode(), proposal.payload);
  last_ = key;
  co_await db_.write(std::move(batch));
  SENTINEL_ASSERT(commit_index_.next() == key.index, "entries are committed in order");
  commit_index_ = key.index;
  machine_.apply(CommittedEntry{key, std::move(proposal.payload)});
  co_return key.index;
}

core::Task<core::Result<Snapshot>> Replica::snapshot() const {
  auto stored = co_await db_.get(state_key(group_, StateKind::snapshot));
  if (!stored) co_return std::unexpected(std::move(stored).error());
  if (!stored->has_value()) co_return Snapshot{LogIndex(0), {}};
  const core::Bytes& value = **stored;
  core::ByteReader reader(value);
  const LogIndex index(reader.u64());
  if (reader.failed()) {
    co_return core::fail(core::Errc::corruption,
                         fmt::format("malformed snapshot of group {}", group_));
  }
  co_return Snapshot{index, value.slice_of(reader.rest())};
}

core::Task<void> Replica::trim(LogStart start, Snapshot snapshot, lsm::WriteBatch with) {
  SENTINEL_ASSERT(start.before.index <= commit_index_);
  if (start.before.index < start_.before.index) start.before = start_.before;
  start.offset = std::max(start.offset, start_.offset);
  // At once, so that whoever trims next goes on from here.
  start_ = start;
  with.put(state_key(group_, StateKind::log_start), start.encode());
  with.put(state_key(group_, StateKind::snapshot), encode_snapshot(snapshot));
  co_await db_.write(std::move(with));
  discard_before(db_, group_, start);
}

core::Task<void> Replica::store_snapshot(Snapshot snapshot) {
  lsm::WriteBatch batch;
  batch.put(state_key(group_, StateKind::snapshot), encode_snapshot(snapshot));
  co_await db_.write(std::move(batch));
}

void Replica::discard_before(lsm::Db& db, GroupId group, const LogStart& start) {
  db.discard(entries_begin(group), entries_begin(group, start.before.index.next()));
}

core::Task<void> Replica::look_ahead(const EntryTarget& target, std::uint64_t bytes_max) const {
  co_await db_.look_ahead(target, entries_begin(group_, start_.before.index.next()),
                          entries_end(group_), bytes_max);
}

lsm::Cursor Replica::entries(lsm::ReadOptions read) const {
  return db_.cursor(entries_begin(group_, start_.before.index.next()), entries_end(group_), read);
}

}  // namespace sentinel::consensus
