#include "test/support/replica_life.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "core/codec.h"
#include "core/crc32c.h"

namespace sentinel::test {

using namespace consensus;
using core::Bytes;
using core::Shard;
using core::Task;
using namespace std::chrono_literals;

namespace {

constexpr MemberId kSecond{2};
// Shorter than a write takes.
constexpr core::Duration kLittle = 20us;

EntryKey key_behind(const EntryKey& before, Term term, EntryType type, std::size_t bytes) {
  EntryKey key = before;
  key.group = kReplicaGroup;
  key.index = before.index.next();
  key.term = term;
  key.type = type;
  if (type == EntryType::records) {
    key.end_offset = before.end_offset + 2;
    key.max_timestamp += 5;
    key.end_bytes += bytes;
  }
  return key;
}

/// As Replica sends them; see check_sent_state().
Bytes encode_state(const LogStart& start, const Snapshot& snapshot) {
  const Bytes head = start.encode();
  core::ByteWriter out;
  out.u32(core::narrow<std::uint32_t>(head.size()));
  out.bytes(head);
  out.u64(snapshot.index.value());
  out.bytes(snapshot.state);
  return out.to_bytes();
}

Task<void> propose_one(Replica* replica, Proposal proposal) {
  std::ignore = co_await replica->propose(std::move(proposal));
}

}  // namespace

lsm::DbOptions replica_store(bool large) {
  lsm::DbOptions options;
  options.directory = "/store";
  options.store_id = 7;
  options.memtable_bytes = large ? std::size_t{4} << 20 : std::size_t{24} << 10;
  options.runs = {.group_bytes = kGroupPrefixBytes,
                  .own_bytes = 1 << 10,
                  .run_bytes = 8 << 10,
                  .filters_from = std::string(core::as_text(index_begin(GroupId(0))))};
  options.wal.segment_bytes = large ? std::uint64_t{2} << 20 : std::uint64_t{64} << 10;
  options.wal.first_segment_bytes = 16 << 10;
  options.wal.buffer_bytes = large ? std::size_t{256} << 10 : std::size_t{16} << 10;
  return options;
}

// The state machine and the host.

std::string ChecksumMachine::after(const std::string& state, const LogEntry& entry) {
  const std::uint32_t before = core::crc32c(core::as_bytes(state));
  return fmt::format("{}:{:08x}", entry.key.index, core::crc32c_extend(before, entry.payload));
}

Task<core::Status> ChecksumMachine::recover(const Replica* replica) {
  SENTINEL_CO_TRY(snapshot, co_await replica->snapshot());
  index_ = snapshot.index;
  state_ = snapshot.state.text();
  LogCursor cursor = replica->entries();
  SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(replica->group(), index_.next())));
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index > replica->commit_index()) break;
    const LogEntry entry{key, cursor.value_bytes()};
    state_ = after(state_, entry);
    index_ = key.index;
    if (witness_ != nullptr) witness_->note_applied(entry, state_);
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return core::Status();
}

void ChecksumMachine::apply(const CommittedEntry& entry) {
  // A snapshot may be later than the start of the log that it came with.
  if (entry.key.index <= index_) return;
  state_ = after(state_, entry);
  index_ = entry.key.index;
  if (witness_ != nullptr) witness_->note_applied(entry, state_);
}

core::Status ChecksumMachine::restore(const Snapshot& snapshot, const LogStart& /*start*/) {
  index_ = snapshot.index;
  state_ = snapshot.state.text();
  if (witness_ != nullptr) witness_->note_restored(index_, state_);
  return {};
}

RaftOptions ReplicaHost::options() const {
  // The commit index is stored now and then; followers that lag are fed from the store.
  return {.self = kReplicaSelf,
          .tail_bytes_max = std::size_t{2} << 10,
          .commit_step_entries = 4,
          .probe = probe_};
}

void ReplicaHost::send(Replica& /*from*/, std::vector<RaftMessage> messages) {
  for (const RaftMessage& message : messages) on_sent_(message);
}

LogPosition PlayedLeader::at(LogIndex index) const {
  if (index == LogIndex(0)) return {index, kFirstTerm};
  return position_of(log.at(index.value() - 1).key);
}

std::vector<LogEntry> PlayedLeader::up_to(LogIndex index) const {
  std::vector<LogEntry> part = log;
  part.resize(index.value());
  return part;
}

// A life.

ReplicaLife::ReplicaLife(const NodeContext& context, Plan plan, ReplicaWitness& witness)
    : shard_(*context.shards.front()),
      plan_(std::move(plan)),
      witness_(witness),
      host_(plan_.variant, &witness, [this](const RaftMessage& message) { on_sent(message); }),
      scope_(shard_) {}

Task<void> ReplicaLife::run(Shard& /*shard*/) {
  co_await open_store();
  co_await open_replica();
  co_await live();
  co_await settle();
  co_await close_replica();
  co_await close_store();
  done_ = true;
}

void ReplicaLife::expect(bool holds, const char* what) {
  if (!holds && problem_.empty()) problem_ = what;
}

Task<void> ReplicaLife::open_store() {
  auto opened = co_await lsm::Db::open(shard_, replica_store(plan_.large), true);
  SENTINEL_ASSERT(opened.has_value(), "{}", opened.error().message);
  db_ = std::move(*opened);
}

Task<void> ReplicaLife::close_store() {
  co_await db_->close();
  db_.reset();
}

Task<void> ReplicaLife::open_replica() {
  machine_ = std::make_unique<ChecksumMachine>(&witness_);
  replica_ = std::make_unique<Replica>(shard_, host_, *db_, kReplicaGroup, *machine_);
  const core::Status opened = co_await replica_->open(plan_.base);
  SENTINEL_ASSERT(opened.has_value(), "{}", opened.error().message);
  const core::Status recovered = co_await machine_->recover(replica_.get());
  SENTINEL_ASSERT(recovered.has_value(), "{}", recovered.error().message);
  if (replica_->start().before.index > LogIndex(0))
    Replica::discard_before(*db_, kReplicaGroup, replica_->start());
  replica_->begin();
}

Task<void> ReplicaLife::close_replica() {
  if (replica_ == nullptr) co_return;
  co_await let_it_begin();
  co_await replica_->close();
  co_await scope_.join();
  replica_.reset();
  machine_.reset();
}

Task<void> ReplicaLife::restart() {
  co_await close_replica();
  const bool with_store = (restarts_++ + variant()) % 2 == 0;
  if (with_store) {
    co_await close_store();
    co_await open_store();
  }
  co_await open_replica();
}

Task<void> ReplicaLife::wait_a_little() { co_await core::sleep_for(shard_, kLittle); }

/// What is delivered in one turn is given to the disk together, at its end.
Task<void> ReplicaLife::let_it_begin() { co_await core::yield(shard_); }

Task<void> ReplicaLife::settle() {
  co_await let_it_begin();
  while (witness_.outputs_under_way() > 0) co_await wait_a_little();
}

Task<void> ReplicaLife::pause() {
  const std::uint64_t which = (pauses_ * 7 + variant() * (1 + pauses_ / 5)) % 4;
  ++pauses_;
  if (which == 0) co_return;
  co_await wait_a_little();
  if (which > 1) co_await settle();
}

Task<void> ReplicaLife::trim(LogIndex index) {
  const auto& log = witness_.last().log;
  const auto last =
      std::ranges::find(log, index, [](const LogEntry& each) { return each.key.index; });
  SENTINEL_ASSERT(last != log.end(), "entry {} is not in the log", index);
  LogStart start{.offset = last->key.end_offset, .before = last->key};
  start.before.group = kReplicaGroup;
  saved_ = {.index = machine_->index(), .state = Bytes::copy(machine_->state())};
  const std::size_t write = witness_.note_trim(start, saved_.index);
  co_await replica_->trim(start, saved_);
  witness_.note_done(write);
}

Task<void> ReplicaLife::save_snapshot() {
  saved_ = {.index = machine_->index(), .state = Bytes::copy(machine_->state())};
  const std::size_t write = witness_.note_store_snapshot(saved_.index);
  co_await replica_->store_snapshot(saved_);
  witness_.note_done(write);
}

Task<void> ReplicaLife::let_go() {
  const std::size_t write = witness_.note_let_go();
  const core::Status erased = co_await Replica::erase(*db_, kReplicaGroup, {});
  SENTINEL_ASSERT(erased.has_value(), "{}", erased.error().message);
  witness_.note_done(write);
  witness_.note_erased();
}

// What other members do.

void ReplicaLife::deliver(MemberId from, Term term, decltype(RaftMessage::body) body) {
  RaftMessage message{.from = from, .to = kReplicaSelf, .term = term, .body = std::move(body)};
  witness_.note_delivered(message);
  replica_->step(std::move(message));
}

void ReplicaLife::ask_for_vote(MemberId from, Term term, const LogPosition& last, bool pre) {
  deliver(from, term, VoteRequest{.pre = pre, .transfer = false, .last = last});
}

void ReplicaLife::give_votes(const std::vector<MemberId>& voters, Term term, bool granted,
                             bool pre) {
  for (const MemberId voter : voters)
    deliver(voter, term, VoteAnswer{.pre = pre, .granted = granted});
}

PlayedLeader ReplicaLife::elect(MemberId id, Term term, std::vector<LogEntry> log) {
  PlayedLeader leader{.id = id, .term = term, .log = std::move(log)};
  add_entry(leader, EntryType::internal, {});
  return leader;
}

void ReplicaLife::add_entry(PlayedLeader& leader, EntryType type, Bytes payload) {
  EntryKey before;
  before.term = kFirstTerm;
  if (!leader.log.empty()) before = leader.log.back().key;
  const EntryKey key = key_behind(before, leader.term, type, payload.size());
  leader.log.push_back({key, std::move(payload)});
}

Bytes ReplicaLife::payload_of(std::size_t bytes) {
  const auto letter = static_cast<char>('a' + payloads_ % 26);
  return Bytes::copy(fmt::format("{}:", payloads_++) + std::string(bytes, letter));
}

void ReplicaLife::extend(PlayedLeader& leader, int count) {
  // From nearly nothing to more than a block of the log.
  static constexpr std::array<std::size_t, 6> kSizes{40, 0, 700, 5000, 1, 2000};
  for (int i = 0; i < count; ++i)
    extend_by(leader, kSizes[(payloads_ + variant()) % kSizes.size()]);
}

void ReplicaLife::extend_by(PlayedLeader& leader, std::size_t bytes) {
  add_entry(leader, EntryType::records, payload_of(bytes));
}

void ReplicaLife::extend(PlayedLeader& leader, const Configuration& members) {
  add_entry(leader, EntryType::internal, encode_configuration(members));
}

void ReplicaLife::append(const PlayedLeader& leader, LogIndex behind, LogIndex commit,
                         LogIndex until) {
  logs_[leader.term] = leader.log;
  AppendRequest request{.previous = leader.at(behind), .entries = {}, .commit = commit};
  until = std::min(until, leader.last());
  for (std::uint64_t at = behind.value(); at < until.value(); ++at)
    request.entries.push_back(leader.log[at]);
  deliver(leader.id, leader.term, std::move(request));
}

void ReplicaLife::heartbeat(const PlayedLeader& leader, LogIndex commit) {
  deliver(leader.id, leader.term, Heartbeat{.commit = commit, .round = 0});
}

void ReplicaLife::install(const PlayedLeader& leader, LogIndex start, LogIndex state_index,
                          const Configuration& members) {
  logs_[leader.term] = leader.log;
  const EntryKey& last = leader.log.at(start.value() - 1).key;
  std::string state;
  for (const LogEntry& entry : leader.up_to(state_index))
    state = ChecksumMachine::after(state, entry);
  const Bytes encoded = encode_state({.offset = last.end_offset, .before = last},
                                     {.index = state_index, .state = Bytes::copy(state)});
  deliver(leader.id, leader.term,
          SnapshotRequest{{.last = last, .configuration = members, .state = encoded}});
}

// The replica as leader.

void ReplicaLife::propose(int count) {
  for (int i = 0; i < count; ++i) {
    const EntryKey& last = replica_->last();
    Proposal proposal{.type = EntryType::records,
                      .payload = payload_of(300 * static_cast<std::size_t>(i)),
                      .end_offset = last.end_offset + 2,
                      .max_timestamp = last.max_timestamp + 5};
    scope_.spawn(propose_one(replica_.get(), std::move(proposal)));
  }
}

void ReplicaLife::change(ConfigurationChange::Kind kind, MemberId member) {
  expect(replica_->propose(ConfigurationChange{.kind = kind, .node = member}).has_value(),
         "a change of members was refused");
}

void ReplicaLife::answer(MemberId from) {
  deliver(from, replica_->term(),
          AppendAnswer{.accepted = true, .last = reached_.at(from), .refused = {}});
}

void ReplicaLife::check_sent_state(const StateSnapshot& sent) {
  const StoredReplica& stored = witness_.last();
  expect(position_of(sent.last) == position_of(stored.start.before),
         "a state was sent for another start of the log");
  expect(sent.configuration == stored.at_start, "other members were sent than the log starts with");
  expect(core::equal(sent.state, encode_state(stored.start, saved_)),
         "another state was sent than the stored one");
}

// What it has sent.

void ReplicaLife::on_sent(const RaftMessage& message) {
  witness_.note_sent(message);
  if (const auto* answer = std::get_if<AppendAnswer>(&message.body)) {
    if (answer->accepted) check_agreement(answer->last, message.term);
  } else if (const auto* request = std::get_if<AppendRequest>(&message.body)) {
    const auto& entries = request->entries;
    reached_[message.to] = entries.empty() ? request->previous : position_of(entries.back().key);
    if (message.to == kSecond && !entries.empty()) {
      copy_.resize(request->previous.index.value());
      copy_.insert(copy_.end(), entries.begin(), entries.end());
    }
  } else if (const auto* install = std::get_if<SnapshotRequest>(&message.body)) {
    reached_[message.to] = position_of(install->snapshot.last);
  }
  heard_.push_back(message);
}

/// What the replica says that it has on disk is what that term's leader has.
void ReplicaLife::check_agreement(const LogPosition& last, Term term) {
  const std::vector<LogEntry>& theirs = logs_.at(term);
  for (const LogEntry& entry : witness_.told().log) {
    const std::uint64_t index = entry.key.index.value();
    if (entry.key.index > last.index) break;
    const bool agrees = index <= theirs.size() &&
                        position_of(entry.key) == position_of(theirs[index - 1].key) &&
                        core::equal(entry.payload, theirs[index - 1].payload);
    expect(agrees, "it says that it agrees with a leader whose log is another one");
  }
}

// After a crash.

namespace {

class Reopener final : public NodeProgram {
 public:
  Reopener(const NodeContext& context, const Reopening& how)
      : shard_(*context.shards.front()),
        how_(how),
        host_(1, nullptr, [this](const RaftMessage& message) { on_sent(message); }),
        machine_(nullptr) {}

  Task<void> run(Shard& /*shard*/) override {
    auto opened = co_await lsm::Db::open(shard_, replica_store(how_.large), how_.create);
    if (!opened) {
      result_.error = opened.error().message;
      co_return;
    }
    db_ = std::move(*opened);
    const core::Status looked = co_await look();
    if (!looked) result_.error = looked.error().message;
    co_await db_->close();
  }
  void request_stop() override {}
  [[nodiscard]] Reopened& result() { return result_; }

 private:
  Task<core::Status> look() {
    replica_ = std::make_unique<Replica>(shard_, host_, *db_, kReplicaGroup, machine_);
    SENTINEL_CO_CHECK(co_await replica_->open(how_.base));
    SENTINEL_CO_CHECK(co_await machine_.recover(replica_.get()));
    SENTINEL_CO_CHECK(co_await read());
    // Alone, it would run for leader, and has nobody to vote for.
    if (how_.asker != MemberId(0) && !replica_->raft().is_alone()) co_await ask();
    co_await replica_->close();
    co_return core::Status();
  }

  Task<core::Status> read() {
    FoundReplica& found = result_.found;
    found.hard = {.term = kFirstTerm, .commit = LogIndex(0)};
    SENTINEL_CO_TRY(hard, co_await db_->get(state_key(kReplicaGroup, StateKind::hard_state)));
    if (hard.has_value()) {
      SENTINEL_CO_TRY(decoded, core::decode_fields<HardState>(*hard));
      found.hard = decoded;
    }
    found.start = replica_->start();
    SENTINEL_CO_TRY(snapshot, co_await replica_->snapshot());
    found.snapshot = {.index = snapshot.index, .state = Bytes::copy(snapshot.state)};
    found.members = replica_->raft().configuration();
    found.commit = replica_->raft().commit_index();
    found.state = machine_.state();
    found.state_index = machine_.index();
    const LogIndex first = found.start.before.index.next();
    LogCursor cursor = replica_->entries();
    SENTINEL_CO_CHECK(co_await cursor.seek(EntryTarget::index(kReplicaGroup, first)));
    while (cursor.valid()) {
      SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
      found.log.push_back({key, Bytes::copy(cursor.value())});
      SENTINEL_CO_CHECK(co_await cursor.next());
    }
    co_return check_memory();
  }

  /// Raft's own picture of the log is the stored one.
  [[nodiscard]] core::Status check_memory() const {
    const Raft& raft = replica_->raft();
    raft.check_invariants();
    const FoundReplica& found = result_.found;
    LogIndex next = found.start.before.index;
    for (const LogEntry& entry : found.log) {
      next = next.next();
      if (entry.key.index != next || raft.log().term_at(next) != entry.key.term) {
        return core::fail(core::Errc::corruption,
                          fmt::format("Raft knows entry {} otherwise than the store, which has {} "
                                      "of term {}",
                                      next, entry.key.index, entry.key.term));
      }
    }
    if (raft.log().last().index != next || raft.term() != found.hard.term) {
      return core::fail(core::Errc::corruption,
                        fmt::format("Raft has entries up to {} in term {}; stored are {} and {}",
                                    raft.log().last().index, raft.term(), next, found.hard.term));
    }
    return {};
  }

  Task<void> ask() {
    constexpr int kWaitsMax = 10'000;
    replica_->begin();
    // Behind all that it has, and may have had before it was erased.
    constexpr std::uint64_t kFarAhead = 1000;
    const LogPosition last{LogIndex(replica_->last().index.value() + kFarAhead), replica_->term()};
    replica_->step({.from = how_.asker,
                    .to = kReplicaSelf,
                    .term = replica_->term(),
                    .body = VoteRequest{.pre = false, .transfer = false, .last = last}});
    for (int i = 0; i < kWaitsMax && !result_.granted.has_value(); ++i)
      co_await core::sleep_for(shard_, kLittle);
    if (!result_.granted.has_value()) result_.error = "who asks for a vote gets no answer";
  }

  void on_sent(const RaftMessage& message) {
    const auto* answer = std::get_if<VoteAnswer>(&message.body);
    if (answer != nullptr && message.to == how_.asker) result_.granted = answer->granted;
  }

  Shard& shard_;
  const Reopening& how_;
  ReplicaHost host_;
  ChecksumMachine machine_;
  std::unique_ptr<lsm::Db> db_;
  std::unique_ptr<Replica> replica_;
  Reopened result_;
};

}  // namespace

Reopened reopen(const DiskImage& image, const Reopening& how) {
  SimWorld world(1);
  const NodeId node = world.add_node(
      {.program =
           [&how](const NodeContext& context) { return std::make_unique<Reopener>(context, how); },
       .image = image});
  if (how.observer) world.disk(node).set_observer(how.observer);
  world.start(node);
  world.run_until([&] { return world.is_idle(node); }, 60s);
  if (const auto& failure = world.failure(node); failure.has_value())
    return {.error = failure->message};
  if (!world.is_idle(node)) return {.error = "it does not come to an end"};
  Reopened result = std::move(static_cast<Reopener&>(*world.program(node)).result());
  world.disk(node).set_observer({});
  SENTINEL_ASSERT(world.stop(node));
  result.disk = world.disk(node).image();
  return result;
}

}  // namespace sentinel::test
