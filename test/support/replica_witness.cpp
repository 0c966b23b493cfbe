#include "test/support/replica_witness.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/crc32c.h"
#include "test/support/raft_cluster.h"

namespace sentinel::test {

using namespace consensus;

namespace {

constexpr MemberId kNobody{0};
// A replica gives larger outputs to its store in parts.
constexpr std::size_t kPartBytes = std::size_t{1} << 20;

std::string text_of(const LogEntry& entry) {
  const EntryKey& key = entry.key;
  return fmt::format("{}/{} type {} to {} at {} bytes {} #{:08x}", key.index, key.term,
                     static_cast<int>(key.type), key.end_offset, key.max_timestamp, key.end_bytes,
                     core::crc32c(entry.payload));
}

std::string text_of(const HardState& hard, const LogStart& start, LogIndex snapshot,
                    const Configuration& members) {
  const LogEntry before{.key = start.before, .payload = {}};
  return fmt::format("term {}, vote {}; voters {}, learners {}; snapshot {}; offset {} behind {};",
                     hard.term, hard.vote, fmt::join(members.voters, " "),
                     fmt::join(members.learners, " "), snapshot, start.offset, text_of(before));
}

std::string text_of(const std::vector<LogEntry>& entries) {
  std::string text;
  for (const LogEntry& entry : entries) text += "\n    " + text_of(entry);
  return text;
}

std::string stored_text_of(const FoundReplica& found) {
  return text_of(found.hard, found.start, found.snapshot.index, found.members) + text_of(found.log);
}

LogStart first_start() {
  LogStart start;
  start.before.term = kFirstTerm;
  return start;
}

/// Another node's log start and state, as Replica sends them.
void take_over(const StateSnapshot& installed, StoredReplica& state) {
  core::ByteReader in(installed.state);
  const auto start = LogStart::decode(in.take(in.u32()));
  SENTINEL_ASSERT(start.has_value(), "the script's own snapshot");
  state.start = *start;
  state.snapshot = LogIndex(in.u64());
  state.at_start = installed.configuration;
  state.log.clear();
}

}  // namespace

LogPosition StoredReplica::last() const {
  return position_of(log.empty() ? start.before : log.back().key);
}

bool StoredReplica::has(const LogPosition& position) const {
  if (position.index <= start.before.index) return true;
  const std::uint64_t at = position.index - start.before.index - 1;
  return at < log.size() && log[at].key.term == position.term;
}

Configuration StoredReplica::members_at(LogIndex index) const {
  Configuration members = at_start;
  for (const auto* entries : {&log, &revived}) {
    for (const LogEntry& entry : *entries) {
      if (entry.key.index <= index && changes_configuration(entry))
        members = *decode_configuration(entry.payload);
    }
  }
  return members;
}

std::string describe(const FoundReplica& found) {
  return fmt::format("commit {}, state {} '{}', snapshot '{}', {}", found.commit, found.state_index,
                     found.state, found.snapshot.state.text(), stored_text_of(found));
}

ReplicaWitness::ReplicaWitness(MemberId self, Configuration base) : self_(self) {
  applied_.emplace(LogIndex(0), "");
  push({.hard = {.term = kFirstTerm, .commit = LogIndex(0)},
        .start = first_start(),
        .snapshot = LogIndex(0),
        .at_start = std::move(base)});
}

void ReplicaWitness::push(StoredReplica next) {
  next.revived.clear();
  LogPosition place = next.last();
  for (bool is_there = place.index > LogIndex(0); is_there;) {
    place.index = place.index.next();
    const auto found = written_.find({place.term, place.index});
    is_there = found != written_.end();
    if (is_there) next.revived.push_back(found->second);
  }
  next.text = text_of(next.hard, next.start, next.snapshot, next.members_at(place.index)) +
              text_of(next.log) + text_of(next.revived);
  states_.push_back(std::move(next));
}

void ReplicaWitness::fail(std::string what) {
  if (violation_.empty()) violation_ = std::move(what);
}

// What the replica gives to its disk.

void ReplicaWitness::on_open(GroupId /*group*/, const Raft& raft) {
  StoredReplica found = states_.back();
  if (!found.revived.empty()) {
    found.log.insert(found.log.end(), found.revived.begin(), found.revived.end());
    push(found);
  }
  if (raft.term() != found.hard.term || raft.log().last_position() != found.last())
    fail(fmt::format("was opened in term {} with a log up to {}, and had\n  {}", raft.term(),
                     raft.log().last().index, found.text));
}

void ReplicaWitness::on_output(GroupId /*group*/, const Raft& raft, const Raft::Output& output) {
  if (!output.stores_something()) return;
  ++under_way_;
  note_entries(raft, output.entries);
  StoredReplica next = states_.back();
  if (output.installed.has_value()) take_over(*output.installed, next);
  if (!output.entries.empty()) {
    const std::uint64_t kept = output.entries.front().key.index - next.start.before.index - 1;
    SENTINEL_ASSERT(kept <= next.log.size(), "an output leaves a gap in the log");
    next.log.resize(kept);
    next.log.insert(next.log.end(), output.entries.begin(), output.entries.end());
  }
  if (output.hard.has_value()) next.hard = *output.hard;
  push(std::move(next));
  // Nobody else has a say.
  const LogIndex last = states_.back().last().index;
  if (states_.back().members_at(last).voters == std::vector{self_})
    committed_ = std::max(committed_, last);
}

void ReplicaWitness::note_entries(const Raft& raft, const std::vector<LogEntry>& entries) {
  std::size_t bytes = 0;
  for (const LogEntry& entry : entries) bytes += entry.payload.size();
  for (const LogEntry& entry : entries) {
    const Place place{entry.key.term, entry.key.index};
    const auto sent = sent_.find(place);
    const bool is_own = raft.is_leader() && entry.key.term == raft.term();
    const bool as_sent = sent == sent_.end() ? is_own : text_of(sent->second) == text_of(entry);
    if (!as_sent) fail("stores what nobody has sent: " + text_of(entry));
    written_[place] = entry;
    // A part by itself shows only in the term in which the log ends.
    if (bytes > kPartBytes && &entry != &entries.back()) push(StoredReplica(states_.back()));
  }
}

void ReplicaWitness::on_durable(GroupId /*group*/, const Raft& /*raft*/,
                                const Raft::Durable& /*durable*/) {
  SENTINEL_ASSERT(under_way_ > 0);
  --under_way_;
}

std::size_t ReplicaWitness::note_trim(const LogStart& start, LogIndex snapshot) {
  StoredReplica next = states_.back();
  next.at_start = next.members_at(start.before.index);
  std::erase_if(next.log,
                [&](const LogEntry& entry) { return entry.key.index <= start.before.index; });
  next.start = start;
  next.snapshot = snapshot;
  push(std::move(next));
  return states_.size() - 1;
}

std::size_t ReplicaWitness::note_store_snapshot(LogIndex snapshot) {
  StoredReplica next = states_.back();
  next.snapshot = snapshot;
  push(std::move(next));
  return states_.size() - 1;
}

/// Term and vote are kept, and that it is no member; nothing else is.
std::size_t ReplicaWitness::note_let_go() {
  push({.hard = states_.back().hard,
        .start = first_start(),
        .snapshot = LogIndex(0),
        .at_start = {}});
  return states_.size() - 1;
}

void ReplicaWitness::note_done(std::size_t write) { told_ = std::max(told_, write); }

void ReplicaWitness::note_erased() {
  written_.clear();
  push(StoredReplica(states_.back()));
}

// What it tells others.

std::optional<ReplicaWitness::Claim> ReplicaWitness::claim_of(const RaftMessage& message) {
  if (const auto* request = std::get_if<VoteRequest>(&message.body)) {
    if (request->pre) return std::nullopt;
    return Claim{.term = message.term, .vote = message.from, .has = request->last};
  }
  if (const auto* answer = std::get_if<VoteAnswer>(&message.body)) {
    if (answer->pre || !answer->granted) return std::nullopt;
    return Claim{.term = message.term, .vote = message.to};
  }
  if (const auto* answer = std::get_if<AppendAnswer>(&message.body)) {
    if (!answer->accepted) return std::nullopt;
    return Claim{.term = message.term, .has = answer->last};
  }
  // Only that the term has not passed: whatever else it says, it says of others.
  if (std::holds_alternative<HeartbeatAnswer>(message.body)) return std::nullopt;
  // A leader's. In the first term nobody is elected; its leader has it from being alone, and must
  // not take itself to be alone once others have entries of it.
  if (message.term > kFirstTerm) return Claim{.term = message.term, .vote = message.from};
  return Claim{.term = message.term,
               .has_others = !std::holds_alternative<Heartbeat>(message.body)};
}

bool ReplicaWitness::is_alone(const StoredReplica& state) const {
  const Configuration members = state.members_at(state.last().index);
  return members.voters == std::vector{self_} && members.learners.empty();
}

bool ReplicaWitness::satisfies(const StoredReplica& state, const Claim& claim) const {
  if (state.hard.term < claim.term) return false;
  const bool voted = claim.vote != kNobody && state.hard.term == claim.term;
  if (voted && state.hard.vote != claim.vote) return false;
  if (claim.has.has_value() && !state.has(*claim.has)) return false;
  return !claim.has_others || !is_alone(state);
}

/// Finds the write that a claim speaks of: the first one with which it is true, but not before what
/// was told already, as entries may have given way and come back since.
bool ReplicaWitness::tell(const Claim& claim) {
  while (told_ < states_.size() && !satisfies(states_[told_], claim)) ++told_;
  if (told_ == states_.size()) {
    --told_;
    return false;
  }
  if (claim.term > told_term_) {
    told_term_ = claim.term;
    told_vote_ = kNobody;
  }
  if (claim.term == told_term_ && claim.vote != kNobody) told_vote_ = claim.vote;
  return true;
}

void ReplicaWitness::note_sent(const RaftMessage& message) {
  if (const auto* request = std::get_if<AppendRequest>(&message.body)) {
    for (const LogEntry& entry : request->entries) {
      const auto own = written_.find({entry.key.term, entry.key.index});
      if (own == written_.end() || text_of(own->second) != text_of(entry))
        fail("sends what it does not have: " + text_of(entry));
    }
  }
  const auto claim = claim_of(message);
  if (claim.has_value() && !tell(*claim))
    fail("speaks of what it has given to no disk: " + describe(message));
}

void ReplicaWitness::note_applied(const LogEntry& entry, const std::string& state) {
  const LogIndex index = entry.key.index;
  if (index > committed_) fail(fmt::format("entry {} is given out and not committed", index));
  if (!tell({.has = position_of(entry.key)}))
    fail(fmt::format("entry {} is given out, and is on no disk of its own", index));
  const auto [known, is_new] = applied_.emplace(index, state);
  if (known->second != state)
    fail(fmt::format("behind entry {} the state is {}, and was {}", index, state, known->second));
}

void ReplicaWitness::note_restored(LogIndex index, const std::string& state) {
  applied_.emplace(index, state);
}

void ReplicaWitness::note_delivered(const RaftMessage& message) {
  LogIndex committed{0};
  if (const auto* request = std::get_if<AppendRequest>(&message.body)) {
    committed = request->commit;
    for (const LogEntry& entry : request->entries)
      sent_.emplace(Place{entry.key.term, entry.key.index}, entry);
  } else if (const auto* beat = std::get_if<Heartbeat>(&message.body)) {
    committed = beat->commit;
  } else if (const auto* install = std::get_if<SnapshotRequest>(&message.body)) {
    committed = install->snapshot.last.index;
  } else if (const auto* answer = std::get_if<AppendAnswer>(&message.body)) {
    // No more than this can be by counting; with more than three members it may be less.
    if (answer->accepted) committed = answer->last.index;
  }
  committed_ = std::max(committed_, committed);
}

// What a crash has left.

ReplicaWitness::Mark ReplicaWitness::mark() const {
  return {.given = states_.size(),
          .told = told_,
          .committed = committed_,
          .term = told_term_,
          .vote = told_vote_};
}

std::string ReplicaWitness::find_wrong(const FoundReplica& found, const Mark& mark) const {
  const std::string text = stored_text_of(found);
  bool had_it = false;
  for (std::size_t i = mark.told; i < mark.given && !had_it; ++i) had_it = states_[i].text == text;
  if (!had_it) {
    return fmt::format(
        "it finds what it did not have since it told others of something later\n  finds {}\n  told "
        "{}\n  given {}",
        text, states_[mark.told].text, states_[mark.given - 1].text);
  }
  if (found.hard.term < mark.term)
    return fmt::format("it finds term {}, and told of term {}", found.hard.term, mark.term);
  if (found.hard.term == mark.term && mark.vote != kNobody && found.hard.vote != mark.vote)
    return fmt::format("in term {} it finds a vote for {}, and told {} that it has it", mark.term,
                       found.hard.vote, mark.vote);
  if (found.commit > mark.committed || found.commit < found.start.before.index)
    return fmt::format("it takes entry {} for committed; {} are, the log starts behind {}",
                       found.commit, mark.committed, found.start.before.index);
  for (const auto& [index, state] :
       {std::pair(found.state_index, found.state),
        std::pair(found.snapshot.index, std::string(found.snapshot.state.text()))}) {
    const auto known = applied_.find(index);
    if (known == applied_.end() || known->second != state)
      return fmt::format("behind entry {} its state is '{}', and was '{}'", index, state,
                         known == applied_.end() ? "never" : known->second);
  }
  return {};
}

}  // namespace sentinel::test
