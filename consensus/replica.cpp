#include "consensus/replica.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "core/codec.h"

namespace sentinel::consensus {

namespace {

// What is read at once for a follower that lacks old entries.
constexpr std::size_t kLoadReadAhead = std::size_t{256} << 10;
// What one batch of the store holds, but for a single larger entry.
constexpr std::size_t kBatchBytes = std::size_t{1} << 20;

constexpr std::size_t kErasedAtOnceBytes = std::size_t{64} << 10;

core::Bytes encode_snapshot(const Snapshot& snapshot) {
  core::ByteWriter value;
  value.u64(snapshot.index.value());
  value.bytes(snapshot.state);
  return value.to_bytes();
}

core::Result<Snapshot> decode_snapshot(const core::Bytes& value, GroupId group) {
  core::ByteReader reader(value);
  const LogIndex index(reader.u64());
  if (reader.failed()) {
    return core::fail(core::Errc::corruption, fmt::format("malformed snapshot of group {}", group));
  }
  return Snapshot{index, value.slice_of(reader.rest())};
}

/// What goes to a follower instead of entries that are gone.
core::Bytes encode_state(const LogStart& start, const Snapshot& snapshot) {
  core::ByteWriter out;
  const core::Bytes head = start.encode();
  out.u32(core::narrow<std::uint32_t>(head.size()));
  out.bytes(head);
  out.bytes(encode_snapshot(snapshot));
  return out.to_bytes();
}

struct InstalledState {
  LogStart start;
  Snapshot snapshot;
};
core::Result<InstalledState> decode_state(const core::Bytes& state, GroupId group) {
  core::ByteReader in(state);
  const core::ByteSpan head = in.take(in.u32());
  if (in.failed())
    return core::fail(core::Errc::corruption, fmt::format("malformed state of group {}", group));
  SENTINEL_TRY(start, LogStart::decode(head));
  SENTINEL_TRY(snapshot, decode_snapshot(state.slice_of(in.rest()), group));
  return InstalledState{start, std::move(snapshot)};
}

struct StoredMembers {
  struct Each {
    LogIndex index;
    Configuration configuration;
    static void fields(auto& self, auto& visit) {
      visit(self.index);
      visit(self.configuration);
    }
  };
  std::vector<Each> all;
  static void fields(auto& self, auto& visit) { visit(self.all); }
};

/// What remains of the log of a replica that was erased: Raft::Stored::had.
struct LeftLog {
  LogPosition last;
  /// Entries of it may still be there. They must be gone before the group is opened again: they
  /// would be taken for its log.
  bool erasing = false;
  static void fields(auto& self, auto& visit) {
    visit(self.last);
    visit(self.erasing);
  }
};

struct StoredTerms {
  std::vector<TermBegin> all;
  static void fields(auto& self, auto& visit) { visit(self.all); }
};

core::Task<core::Result<std::optional<HardState>>> stored_hard_state(const lsm::Db& db,
                                                                     GroupId group) {
  SENTINEL_CO_TRY(stored, co_await db.get(state_key(group, StateKind::hard_state)));
  if (!stored.has_value()) co_return std::nullopt;
  co_return core::decode_fields<HardState>(*stored);
}

core::Task<core::Result<std::optional<LeftLog>>> left_log(const lsm::Db& db, GroupId group) {
  SENTINEL_CO_TRY(stored, co_await db.get(state_key(group, StateKind::left)));
  if (!stored.has_value()) co_return std::nullopt;
  co_return core::decode_fields<LeftLog>(*stored);
}

core::Task<core::Result<LogStart>> stored_start(const lsm::Db& db, GroupId group) {
  LogStart start;
  start.before.group = group;
  start.before.term = kFirstTerm;
  start.before.end_offset = Offset(0);
  SENTINEL_CO_TRY(stored, co_await db.get(state_key(group, StateKind::log_start)));
  if (!stored.has_value()) co_return start;
  co_return LogStart::decode(*stored);
}

core::Task<core::Result<std::shared_ptr<const LogRanges>>> ranges_behind(const lsm::Db& db,
                                                                         EntryKey start) {
  auto ranges = std::make_shared<LogRanges>(LogRanges{.start = start, .terms = {}});
  SENTINEL_CO_TRY(stored, co_await db.get(state_key(start.group, StateKind::terms)));
  if (stored.has_value()) {
    SENTINEL_CO_TRY(terms, core::decode_fields<StoredTerms>(*stored));
    ranges->terms = std::move(terms.all);
    std::erase_if(ranges->terms,
                  [&](const TermBegin& begin) { return begin.first() <= start.index; });
  }
  co_return std::shared_ptr<const LogRanges>(std::move(ranges));
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

/// A proposal that waits; lives in its task's frame.
struct Replica::Pending {
  explicit Pending(core::Shard& shard, LogPosition at) : place(at), finished(shard) {}
  void finish(std::optional<Errc> with) {
    done = true;
    error = with;
    finished.notify_all();
  }

  const LogPosition place;
  bool done = false;
  std::optional<Errc> error;
  core::Signal finished;
};

Replica::Replica(core::Shard& shard, RaftHost& host, lsm::Db& db, GroupId group,
                 StateMachine& machine)
    : shard_(shard),
      host_(host),
      db_(db),
      group_(group),
      machine_(machine),
      confirmed_(shard),
      scope_(shard) {}

Replica::~Replica() {
  SENTINEL_ASSERT(!started_ || closed_ || shard_.abandoned(), "a replica was not closed");
}

// Opening.

core::Task<core::Result<std::shared_ptr<const LogRanges>>> Replica::stored_ranges(const lsm::Db& db,
                                                                                  GroupId group) {
  SENTINEL_CO_TRY(start, co_await stored_start(db, group));
  co_return co_await ranges_behind(db, start.before);
}

core::Task<core::Status> Replica::open(Configuration base) {
  SENTINEL_CO_CHECK(co_await finish_erasing(db_, group_, {}));
  SENTINEL_CO_TRY(stored, co_await load(std::move(base)));
  applied_ = stored.hard.commit;
  RaftOptions options = host_.options();
  options.self = host_.self(group_);
  // Metadata is rare, and clients ask for it where they are.
  options.tells_commit_at_once = group_ == GroupId(0);
  raft_ = std::make_unique<Raft>(options, std::move(stored), host_.random());
  probe_ = options.probe;
  if (probe_ != nullptr) probe_->on_open(group_, *raft_);
  note_ranges();
  co_return core::Status();
}

core::Task<core::Result<Raft::Stored>> Replica::load(Configuration base) {
  SENTINEL_CO_TRY(start, co_await stored_start(db_, group_));
  start_ = durable_start_ = start;
  SENTINEL_CO_TRY(ranges, co_await ranges_behind(db_, start.before));
  ranges_ = std::move(ranges);
  SENTINEL_CO_TRY(members, co_await db_.get(state_key(group_, StateKind::members)));
  if (members.has_value()) {
    SENTINEL_CO_TRY(placed, core::decode_fields<StoredMembers>(*members));
    for (auto& each : placed.all) history_.push_back({each.index, std::move(each.configuration)});
  }
  if (history_.empty()) history_.push_back({LogIndex(0), std::move(base)});
  SENTINEL_CO_TRY(left, co_await left_log(db_, group_));
  Raft::Stored stored{.hard = {.term = kFirstTerm, .commit = start.before.index},
                      .log = {.start = start.before, .terms = {}, .base = start.before, .tail = {}},
                      .configurations = {}};
  const MemberId self = host_.self(group_);
  // Without others nobody else can have been voted for.
  const Configuration& last = history_.back().configuration;
  const bool alone = !left.has_value() && last.learners.empty() && last.voters == std::vector{self};
  if (alone) stored.hard.vote = self;
  SENTINEL_CO_TRY(hard, co_await stored_hard_state(db_, group_));
  if (left.has_value()) stored.had = left->last;
  if (hard.has_value()) {
    stored.hard = *hard;
    stored.hard.commit = std::max(stored.hard.commit, start.before.index);
  }
  stored.leads = alone && stored.hard.term == kFirstTerm && stored.hard.vote == self;
  // A sole member's log is committed as it stands.
  if (alone) {
    LogCursor cursor = entries();
    SENTINEL_CO_CHECK(co_await cursor.seek_to_last_before(EntryTarget::end(group_)));
    if (cursor.valid()) stored.hard.commit = position_of(cursor.key()).index;
  }
  // Those of the tail are found as it is appended.
  for (const TermBegin& begin : ranges_->terms) {
    if (begin.first() <= stored.hard.commit) stored.log.terms.push_back(begin);
  }
  SENTINEL_CO_CHECK(co_await load_tail(&stored));
  // What stands in the tail says of itself which configurations it brings.
  std::erase_if(history_, [&](const PlacedConfiguration& placed) {
    return placed.index > stored.hard.commit && history_.front().index != placed.index;
  });
  for (const LogEntry& entry : stored.log.tail) {
    if (!changes_configuration(entry)) continue;
    SENTINEL_CO_TRY(configuration, decode_configuration(entry.payload));
    history_.push_back({entry.key.index, std::move(configuration)});
  }
  for (const PlacedConfiguration& placed : history_) {
    if (placed.index <= stored.hard.commit) stored.configurations.clear();
    stored.configurations.push_back(placed);
  }
  co_return stored;
}

/// Reads what is not known to be committed, and the entry before it.
core::Task<core::Status> Replica::load_tail(Raft::Stored* stored) {
  const LogIndex commit = stored->hard.commit;
  if (commit > start_.before.index) {
    LogCursor base = entries();
    SENTINEL_CO_CHECK(co_await base.seek(EntryTarget::index(group_, commit)));
    const bool found = base.valid() && position_of(base.key()).index == commit;
    if (!found) {
      co_return core::fail(
          core::Errc::corruption,
          fmt::format("group {} lacks entry {}, which was committed", group_, commit));
    }
    SENTINEL_CO_TRY(key, EntryKey::decode(base.key()));
    stored->log.base = key;
  }
  LogCursor cursor = entries({.read_ahead_bytes = kLoadReadAhead});
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(group_, commit.next())));
  LogIndex next = commit.next();
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index != next) {
      co_return core::fail(
          core::Errc::corruption,
          fmt::format("group {} has entry {} where {} is expected", group_, key.index, next));
    }
    stored->log.tail.push_back({key, cursor.value_bytes()});
    next = next.next();
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return core::Status();
}

void Replica::begin() {
  started_ = true;
  host_.add(*this);
  pump();
  note_role();
}

core::Task<void> Replica::close() {
  if (!started_ || closed_) {
    closed_ = true;
    co_return;
  }
  closed_ = true;
  host_.remove(*this);
  fail_pending(Errc::closed);
  confirmed_.notify_all();
  co_await scope_.close();
}

core::Task<core::Result<lsm::WriteBatch>> Replica::let_go(const lsm::Db& db, GroupId group) {
  SENTINEL_CO_TRY(hard, co_await stored_hard_state(db, group));
  SENTINEL_CO_TRY(ranges, co_await stored_ranges(db, group));
  SENTINEL_CO_TRY(before, co_await left_log(db, group));
  LeftLog left{.last = position_of(ranges->start), .erasing = true};
  LogCursor cursor(db, std::move(ranges));
  SENTINEL_CO_CHECK(co_await cursor.seek_to_last_before(EntryTarget::end(group)));
  if (cursor.valid()) left.last = position_of(cursor.key());
  // It may have left before it had caught up with what an earlier stay had.
  if (before.has_value() && !is_up_to_date(left.last, before->last)) left.last = before->last;
  if (!hard.has_value()) hard = HardState{.term = kFirstTerm, .commit = {}};
  hard->commit = LogIndex(0);
  StoredMembers nobody;
  nobody.all.push_back({LogIndex(0), {}});
  lsm::WriteBatch states;
  for (const StateKind kind :
       {StateKind::snapshot, StateKind::log_start, StateKind::cleaning, StateKind::terms})
    states.remove(state_key(group, kind));
  states.put(state_key(group, StateKind::hard_state), core::encode_fields(*hard));
  states.put(state_key(group, StateKind::members), core::encode_fields(nobody));
  states.put(state_key(group, StateKind::left), core::encode_fields(left));
  co_return states;
}

core::Task<core::Status> Replica::erase(lsm::Db& db, GroupId group, core::CancelToken stop) {
  SENTINEL_CO_TRY(states, co_await let_go(db, group));
  co_await db.write(std::move(states));
  co_return co_await finish_erasing(db, group, stop);
}

/// The group may come back, so its keys are removed one by one: what was discarded could not be
/// written again.
core::Task<core::Status> Replica::finish_erasing(lsm::Db& db, GroupId group,
                                                 core::CancelToken stop) {
  SENTINEL_CO_TRY(left, co_await left_log(db, group));
  if (!left.has_value() || !left->erasing) co_return core::Status();
  lsm::WriteBatch removals;
  for (const auto& [begin, end] :
       {std::pair(entries_begin(group), entries_end(group)),
        std::pair(index_begin(group), index_begin(GroupId(group.value() + 1)))}) {
    lsm::Cursor cursor = db.cursor(begin, end);
    SENTINEL_CO_CHECK(co_await cursor.seek(lsm::KeyTarget(begin)));
    while (cursor.valid()) {
      if (stop.cancelled()) co_return core::fail(core::Errc::cancelled, "the server stops");
      removals.remove(cursor.key());
      if (removals.body_bytes() >= kErasedAtOnceBytes)
        co_await db.write(std::exchange(removals, {}));
      SENTINEL_CO_CHECK(co_await cursor.next());
    }
  }
  left->erasing = false;
  removals.put(state_key(group, StateKind::left), core::encode_fields(*left));
  co_await db.write(std::move(removals));
  co_return core::Status();
}

bool Replica::has_earlier_terms() const {
  const RaftLog& log = raft_->log();
  const auto first = log.term_at(std::max(log.start().index, LogIndex(1)));
  return first.has_value() && *first < raft_->term();
}

// Input.

void Replica::give_up_waiting() {
  if (raft_->is_alone()) return;
  gave_up_ = true;
  fail_pending(Errc::closed);
  confirmed_.notify_all();
}

Result<void> Replica::may_propose() const {
  if (closed_ || gave_up_) return std::unexpected(Errc::closed);
  // Before that its owner does not know all of the log.
  if (!leads_) return std::unexpected(Errc::not_leader);
  return raft_->may_propose();
}

core::Task<Result<LogIndex>> Replica::propose(Proposal proposal) {
  if (const auto allowed = may_propose(); !allowed) co_return std::unexpected(allowed.error());
  const auto place = raft_->propose({.type = proposal.type,
                                     .payload = std::move(proposal.payload),
                                     .end_offset = proposal.end_offset,
                                     .max_timestamp = proposal.max_timestamp});
  if (!place) co_return std::unexpected(place.error());
  Pending pending(shard_, *place);
  pending_.push_back(&pending);
  pump_soon();
  while (!pending.done) co_await pending.finished.wait();
  if (pending.error.has_value()) co_return std::unexpected(*pending.error);
  co_return place->index;
}

Result<LogPosition> Replica::propose(ConfigurationChange change) {
  if (closed_) return std::unexpected(Errc::closed);
  auto place = raft_->propose(change);
  pump();
  return place;
}

Result<void> Replica::transfer_to(MemberId member) {
  if (closed_) return std::unexpected(Errc::closed);
  auto begun = raft_->transfer_to(member);
  pump();
  return begun;
}

void Replica::campaign() {
  raft_->campaign();
  pump();
}

core::Task<Result<void>> Replica::confirm_leadership(core::Deadline deadline) {
  if (closed_ || !leads_) co_return std::unexpected(Errc::not_leader);
  const Term term = raft_->term();
  const std::uint64_t round = raft_->ask_quorum();
  std::optional<LogIndex> confirmed_commit;
  pump();
  for (;;) {
    if (closed_ || gave_up_) co_return std::unexpected(Errc::closed);
    if (!leads_ || raft_->term() != term) co_return std::unexpected(Errc::not_leader);
    // Others may have applied what this node's own disk has not yet.
    if (confirmed_round_ >= round && !confirmed_commit.has_value())
      confirmed_commit = raft_->commit_index();
    if (confirmed_commit.has_value() && applied_ >= *confirmed_commit) co_return Result<void>();
    const core::Wake wake = co_await confirmed_.wait(deadline);
    if (wake != core::Wake::signalled) co_return std::unexpected(Errc::timed_out);
  }
}

void Replica::step(RaftMessage message) {
  if (probe_ == nullptr) return take(std::move(message));
  for (RaftMessage& each : probe_->on_message(group_, std::move(message))) take(std::move(each));
}

void Replica::take(RaftMessage message) {
  if (closed_) return;
  // A leader may be deposed by it, which must not show later: others ask what it is at once.
  const bool only_appends = !leads_ && std::holds_alternative<AppendRequest>(message.body);
  raft_->step(std::move(message));
  if (raft_->has_lost_entries() && !std::exchange(told_of_loss_, true))
    host_.on_lost_entries(*this);
  if (only_appends) {
    pump_soon();
  } else {
    pump();
  }
}

void Replica::tick() {
  raft_->tick();
  pump();
}

void Replica::note_leader_gone() { raft_->note_leader_gone(); }

// Output.

/// What is appended in one turn of the shard is one write, one message to each follower and one
/// answer to the leader.
void Replica::pump_soon() {
  if (!std::exchange(pump_due_, true)) scope_.spawn(pump_later());
}

core::Task<void> Replica::pump_later() {
  co_await core::yield(shard_);
  if (pump_due_) pump();
}

void Replica::pump() {
  pump_due_ = false;
  if (!started_) return;
  while (!closed_ && raft_->has_output()) handle(raft_->take_output());
  note_role();
}

void Replica::handle(Raft::Output output) {
  if (probe_ != nullptr) probe_->on_output(group_, *raft_, output);
  if (!output.messages.empty()) host_.send(*this, std::move(output.messages));
  if (output.stores_something()) {
    begin_store(output, std::move(output.messages_once_durable));
  } else if (!output.messages_once_durable.empty() && stages_.empty()) {
    host_.send(*this, std::move(output.messages_once_durable));
  } else {
    for (RaftMessage& message : output.messages_once_durable)
      stages_.back().messages.push_back(std::move(message));
  }
  apply(output.committed);
  for (const Raft::Load& load : output.loads) scope_.spawn(load_for(load));
  for (const MemberId follower : output.snapshots) scope_.spawn(make_snapshot(follower));
  if (output.confirmed_round > confirmed_round_) {
    confirmed_round_ = output.confirmed_round;
    confirmed_.notify_all();
  }
}

/// One batch of the store, or several where a follower gets much at once: of what they write a
/// part may survive a crash, which is a shorter log, and no less true.
void Replica::begin_store(const Raft::Output& output, std::vector<RaftMessage> once_durable) {
  lsm::WriteBatch batch;
  bool installs = output.installed.has_value();
  if (installs) install(*output.installed, batch);
  for (const LogEntry& entry : output.entries) {
    if (batch.body_bytes() + entry.payload.size() > kBatchBytes && !batch.empty()) {
      stages_.push_back(
          {.durable = {}, .messages = {}, .installs = std::exchange(installs, false)});
      scope_.spawn(store(std::exchange(batch, {})));
    }
    EntryKey key = entry.key;
    key.group = group_;
    batch.put(key.encode(), entry.payload);
  }
  put_states(output, batch);
  stages_.push_back(
      {.durable = output.durable, .messages = std::move(once_durable), .installs = installs});
  scope_.spawn(store(std::move(batch)));
}

/// What belongs to the entries comes with the last of them: before it those of new terms are dead,
/// and the log is what it was.
void Replica::put_states(const Raft::Output& output, lsm::WriteBatch& batch) {
  if (raft_->log().terms_version() != terms_version_) {
    note_ranges();
    batch.put(state_key(group_, StateKind::terms),
              core::encode_fields(StoredTerms{ranges_->terms}));
  }
  if (output.configurations.has_value()) {
    note_configurations(*output.configurations);
    StoredMembers members;
    for (const PlacedConfiguration& placed : history_)
      members.all.push_back({placed.index, placed.configuration});
    batch.put(state_key(group_, StateKind::members), core::encode_fields(members));
  }
  if (!output.hard.has_value()) return;
  HardState hard = *output.hard;
  // Of the entries that come with it some may be lost in a crash, if there are several batches.
  if (!output.entries.empty()) {
    const LogIndex before(output.entries.front().key.index.value() - 1);
    hard.commit = std::min(hard.commit, before);
  }
  batch.put(state_key(group_, StateKind::hard_state), core::encode_fields(hard));
}

/// Takes over another node's log start and state.
void Replica::install(const StateSnapshot& installed, lsm::WriteBatch& batch) {
  note_role();  // Who led takes back first what it has proposed.
  auto state = decode_state(installed.state, group_);
  SENTINEL_ASSERT(state.has_value(), "group {}: {}", group_, state.error().message);
  start_ = durable_start_ = state->start;
  start_.before.group = durable_start_.before.group = group_;
  applied_ = start_.before.index;
  history_ = {{applied_, installed.configuration}};
  batch.put(state_key(group_, StateKind::log_start), start_.encode());
  put_snapshot(state->snapshot, batch);
  batch.remove(state_key(group_, StateKind::cleaning));
  note_ranges();
  const core::Status restored = machine_.restore(state->snapshot, start_);
  SENTINEL_ASSERT(restored.has_value(), "group {}: {}", group_, restored.error().message);
}

void Replica::note_ranges() {
  const RaftLog& log = raft_->log();
  terms_version_ = log.terms_version();
  auto ranges = std::make_shared<LogRanges>();
  ranges->start = log.start();
  ranges->start.group = group_;
  ranges->terms.assign(log.terms().begin(), log.terms().end());
  ranges_ = std::move(ranges);
}

void Replica::note_configurations(const std::vector<PlacedConfiguration>& changed) {
  std::erase_if(history_, [&](const PlacedConfiguration& placed) {
    return placed.index >= changed.front().index;
  });
  history_.insert(history_.end(), changed.begin(), changed.end());
}

core::Task<void> Replica::store(lsm::WriteBatch batch) {
  co_await db_.write(std::move(batch));
  Stage stage = std::move(stages_.front());
  stages_.pop_front();
  if (stage.installs) discard_before(db_, group_, durable_start_);
  if (!stage.durable.has_value()) co_return;
  if (probe_ != nullptr) probe_->on_durable(group_, *raft_, *stage.durable);
  raft_->persisted(*stage.durable);
  if (!closed_ && !stage.messages.empty()) host_.send(*this, std::move(stage.messages));
  pump();
}

void Replica::apply(const std::vector<LogEntry>& entries) {
  for (const LogEntry& entry : entries) {
    SENTINEL_ASSERT(applied_.next() == entry.key.index, "entries are applied in order");
    applied_ = entry.key.index;
    machine_.apply(entry);
    while (!pending_.empty() && pending_.front()->place.index <= entry.key.index) {
      Pending& pending = *pending_.front();
      pending_.pop_front();
      const bool same = pending.place == position_of(entry.key);
      pending.finish(same ? std::nullopt : std::optional(Errc::not_leader));
    }
  }
  if (!entries.empty()) confirmed_.notify_all();
}

void Replica::note_role() {
  if (closed_) return;
  const bool leads = raft_->ready();
  if (leads != leads_) {
    leads_ = leads;
    confirmed_round_ = 0;
    if (!leads) fail_pending(Errc::not_leader);
    confirmed_.notify_all();
    machine_.on_leading(leads);
  }
  const auto leader = raft_->leader();
  if (seen_term_ == raft_->term() && seen_leader_ == leader && leads == seen_leads_) return;
  seen_term_ = raft_->term();
  seen_leader_ = leader;
  seen_leads_ = leads;
  host_.on_role(*this);
}

void Replica::fail_pending(Errc error) {
  for (Pending* pending : std::exchange(pending_, {})) pending->finish(error);
}

// What followers lack.

core::Task<void> Replica::load_for(Raft::Load load) {
  std::vector<LogEntry> loaded;
  const core::Status read = co_await read_entries(load, &loaded);
  // What can't be read is read again with the next heartbeat's answer.
  if (!read) loaded.clear();
  raft_->loaded(load.follower, load.behind, std::move(loaded));
  pump();
}

core::Task<core::Status> Replica::read_entries(Raft::Load load,
                                               std::vector<LogEntry>* entries_out) const {
  LogCursor cursor = entries({.read_ahead_bytes = kLoadReadAhead});
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(group_, load.behind.next())));
  std::size_t bytes = 0;
  LogIndex next = load.behind.next();
  while (cursor.valid() && next <= raft_->log().stable()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    bytes += cursor.value().size() + sizeof(LogEntry);
    const bool follows = key.index == next && raft_->log().matches(position_of(key));
    if (!follows || (!entries_out->empty() && bytes > load.bytes_max)) break;
    entries_out->push_back({key, cursor.value_bytes()});
    next = next.next();
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return core::Status();
}

core::Task<void> Replica::make_snapshot(MemberId follower) {
  const LogStart start = durable_start_;
  auto stored = co_await snapshot();
  // Else it is asked for again. A trim meanwhile has stored a later one, which is as good.
  if (!stored || stored->index < start.before.index) co_return;
  StateSnapshot made{
      .last = start.before, .configuration = {}, .state = encode_state(start, *stored)};
  // Who has joined since does not know who the founders were. The first configuration that it knows
  // does as well, once it is committed: nobody is elected by an earlier one any more.
  for (const PlacedConfiguration& placed : history_) {
    const bool in_force = placed.index <= start.before.index;
    const bool unknown = made.configuration.voters.empty() && placed.index <= applied_;
    if (in_force || unknown) made.configuration = placed.configuration;
  }
  if (made.configuration.voters.empty()) co_return;
  raft_->send_snapshot(follower, std::move(made));
  pump();
}

// Stored state.

core::Task<core::Result<Snapshot>> Replica::snapshot() const {
  SENTINEL_CO_TRY(stored, co_await db_.get(state_key(group_, StateKind::snapshot)));
  if (!stored.has_value()) co_return Snapshot{LogIndex(0), {}};
  co_return decode_snapshot(*stored, group_);
}

core::Task<void> Replica::trim(LogStart start, Snapshot snapshot, lsm::WriteBatch with) {
  SENTINEL_ASSERT(start.before.index <= applied_ && snapshot.index >= start.before.index);
  // Another node's state has come meanwhile, which is later.
  if (snapshot.index < start_.before.index) co_return;
  if (start.before.index < start_.before.index) start.before = start_.before;
  start.offset = std::max(start.offset, start_.offset);
  // At once, so that whoever trims next goes on from here.
  start_ = start;
  with.put(state_key(group_, StateKind::log_start), start.encode());
  put_snapshot(snapshot, with);
  co_await db_.write(std::move(with));
  if (start.before.index < durable_start_.before.index) co_return;
  durable_start_ = start;
  raft_->trim(start.before);
  // The one in force at the start stays.
  while (history_.size() > 1 && history_[1].index <= start.before.index)
    history_.erase(history_.begin());
  note_ranges();
  discard_before(db_, group_, start);
}

core::Task<void> Replica::store_snapshot(Snapshot snapshot) {
  lsm::WriteBatch batch;
  put_snapshot(snapshot, batch);
  co_await db_.write(std::move(batch));
}

void Replica::put_snapshot(const Snapshot& snapshot, lsm::WriteBatch& batch) {
  if (probe_ != nullptr) probe_->on_snapshot(group_, *raft_, snapshot.index, snapshot.state);
  batch.put(state_key(group_, StateKind::snapshot), encode_snapshot(snapshot));
}

void Replica::discard_before(lsm::Db& db, GroupId group, const LogStart& start) {
  db.discard(entries_begin(group), entries_behind(group, start.before));
}

core::Task<void> Replica::look_ahead(const EntryTarget& target, std::uint64_t bytes_max) const {
  const std::shared_ptr<const LogRanges> ranges = ranges_;
  const EntryTarget within = target.within(ranges->term_of(ranges->find(target)));
  co_await db_.look_ahead(within, entries_behind(group_, ranges->start), entries_end(group_),
                          bytes_max);
}

}  // namespace sentinel::consensus
