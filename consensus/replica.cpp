#include "consensus/replica.h"

#include <fmt/format.h>

namespace sentinel::consensus {

namespace {
// Entries removed per write, so that the batch stays small.
constexpr std::size_t kCompactStep = 1024;
}  // namespace

Replica::Replica(lsm::Db& db, GroupId group, StateMachine& machine)
    : db_(db), group_(group), machine_(machine) {
  last_.group = group;
  last_.term = kFirstTerm;
  last_.end_offset = Offset(0);
}

core::Task<core::Status> Replica::open() {
  lsm::Cursor cursor = entries();
  SENTINEL_CO_CHECK(co_await cursor.seek_to_last_before(EntryTarget::end(group_)));
  if (cursor.valid()) {
    auto last = EntryKey::decode(cursor.key());
    if (last && last->group == group_) last_ = *last;
    if (!last && cursor.key().size() > 8) {
      // Another kind of key of a lower group may stand before an empty log; a malformed one of this
      // group may not.
      if (core::load_be<std::uint64_t>(cursor.key().data()) == group_.value()) {
        co_return std::unexpected(std::move(last).error());
      }
    }
  }
  if (last_.index == LogIndex(0)) {
    SENTINEL_CO_TRY(compacted, co_await snapshot());
    last_.index = compacted.index;
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
  lsm::WriteBatch batch;
  if (proposal.snapshot.has_value()) {
    core::ByteWriter value;
    value.u64(last_.index.value());
    value.bytes(*proposal.snapshot);
    batch.put(state_key(group_, StateKind::snapshot), value.to_bytes());
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

core::Task<core::Status> Replica::compact(core::Bytes state) {
  const LogIndex index = commit_index_;
  core::ByteWriter value;
  value.u64(index.value());
  value.bytes(state);
  lsm::WriteBatch batch;
  batch.put(state_key(group_, StateKind::snapshot), value.to_bytes());
  lsm::Cursor cursor = entries();
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(group_, LogIndex(0))));
  while (cursor.valid()) {
    auto entry = EntryKey::decode(cursor.key());
    // The last entry stays: it carries term and end offset.
    if (!entry || entry->group != group_ || entry->index >= index) break;
    batch.remove(cursor.key());
    if (batch.count() >= kCompactStep) {
      co_await db_.write(std::exchange(batch, lsm::WriteBatch()));
    }
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  if (!batch.empty()) co_await db_.write(std::move(batch));
  co_return core::Status();
}

lsm::Cursor Replica::entries(lsm::ReadOptions read) const {
  return db_.cursor(entries_begin(group_), entries_end(group_), read);
}

}  // namespace sentinel::consensus
