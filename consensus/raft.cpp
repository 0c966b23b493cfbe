#include "consensus/raft.h"

#include <algorithm>
#include <utility>

namespace sentinel::consensus {

namespace {
constexpr MemberId kNobody{0};
}  // namespace

Raft::Raft(RaftOptions options, Stored stored, core::Random& random)
    : options_(options),
      random_(random),
      hard_(stored.hard),
      stored_hard_(stored.hard),
      log_(std::move(stored.log)),
      had_(stored.had),
      to_store_(log_.last().index),
      applied_(stored.hard.commit),
      configurations_(std::move(stored.configurations)) {
  SENTINEL_ASSERT(!configurations_.empty());
  const EntryKey* committed = log_.key_at(hard_.commit);
  SENTINEL_ASSERT(committed != nullptr, "what is not committed is in memory");
  stored_commit_bytes_ = committed->end_bytes;
  start_timer();
  if (!is_sole_member(log_.last().index) || !has_what_it_had()) return;
  if (stored.leads) {
    // It goes on. Nobody has seen an entry of the term that its own disk lacks; see replicate().
    role_ = Leader{.followers = {}, .first = log_.last().index, .transfer = {}};
    commit_to(log_.last().index);
  } else {
    // That it voted for itself does not say that it won: another one may have, and have left since.
    run_for_leader(false, false);
  }
}

// Input: time, messages, proposals.

void Raft::tick() {
  if (auto* leader = std::get_if<Leader>(&role_)) return tick_leader(*leader);
  ++ticks_;
  if (may_run() && ticks_ >= ticks_to_run_) return run_for_leader(true, false);
  // What was asked may have been lost, or have come before its receiver knew of the group.
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate != nullptr && ticks_ % options_.heartbeat_ticks == 0) ask_for_votes(*candidate);
}

void Raft::note_leader_gone() {
  if (is_leader() || ticks_ >= options_.election_ticks) return;
  // Not all at once: most often the first one is elected.
  ticks_ = options_.election_ticks;
  ticks_to_run_ = options_.election_ticks + 1 + static_cast<int>(random_.below(3));
}

void Raft::step(RaftMessage message) {
  if (!is_well_formed(message)) return;
  if (message.term > hard_.term && !step_of_newer_term(message)) return;
  if (message.term < hard_.term) return step_of_older_term(message);
  std::visit([&](const auto& body) { take(message, body); }, message.body);
}

/// Adopts the term, unless the message is about one that has not begun. False when that was all.
bool Raft::step_of_newer_term(const RaftMessage& message) {
  if (const auto* request = std::get_if<VoteRequest>(&message.body)) {
    // Who hears a leader protects it from those who don't (thesis, section 4.2.3); not from itself,
    // who asks only when it leads no more.
    if (!request->transfer && hears_leader() && leader() != message.from) return false;
    if (request->pre) return true;
  }
  const auto* answer = std::get_if<VoteAnswer>(&message.body);
  if (answer != nullptr && answer->pre && answer->granted) return true;
  const bool leads = std::holds_alternative<AppendRequest>(message.body) ||
                     std::holds_alternative<Heartbeat>(message.body) ||
                     std::holds_alternative<SnapshotRequest>(message.body);
  become_follower(message.term, leads ? std::optional(message.from) : std::nullopt);
  return true;
}

/// Tells those who believe to lead, or want to, that the term is over. Also a leader whose term
/// this node has left without being elected: otherwise it could never take part again.
void Raft::step_of_older_term(const RaftMessage& message) {
  if (const auto* request = std::get_if<VoteRequest>(&message.body)) {
    send(message.from, VoteAnswer{.pre = request->pre, .granted = false});
  } else if (std::holds_alternative<AppendRequest>(message.body) ||
             std::holds_alternative<Heartbeat>(message.body) ||
             std::holds_alternative<SnapshotRequest>(message.body)) {
    send(message.from, HeartbeatAnswer{});
  }
}

Result<void> Raft::may_propose() const {
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || leader->transfer.has_value()) return std::unexpected(Errc::not_leader);
  const EntryKey* committed = log_.key_at(hard_.commit);
  SENTINEL_ASSERT(committed != nullptr, "what is not committed is in memory");
  if (log_.last().end_bytes - committed->end_bytes > options_.uncommitted_bytes_max)
    return std::unexpected(Errc::overloaded);
  return {};
}

Result<LogPosition> Raft::propose(Draft draft) {
  const Result<void> allowed = may_propose();
  if (!allowed) return std::unexpected(allowed.error());
  return append(std::move(draft));
}

Result<LogPosition> Raft::propose(ConfigurationChange change) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || leader->transfer.has_value()) return std::unexpected(Errc::not_leader);
  // Before an entry of the own term is committed, a change of an earlier term may still come back
  // (Ongaro, "bug in single-server membership changes", raft-dev, 2015).
  if (configurations_.back().index > hard_.commit || !ready())
    return std::unexpected(Errc::overloaded);
  auto after = changed(configuration(), change);
  if (!after) return std::unexpected(Errc::invalid_members);
  const LogPosition position = append({.type = EntryType::internal,
                                       .payload = encode_configuration(*after),
                                       .end_offset = log_.last().end_offset,
                                       .max_timestamp = log_.last().max_timestamp});
  add_configuration(position.index, std::move(*after));
  return position;
}

LogPosition Raft::append(Draft draft) {
  EntryKey key = log_.last();
  key.index = key.index.next();
  key.term = hard_.term;
  key.type = draft.type;
  key.end_offset = draft.end_offset;
  key.max_timestamp = draft.max_timestamp;
  if (draft.type == EntryType::records) key.end_bytes += draft.payload.size();
  log_.append({key, std::move(draft.payload)});
  appended_ = true;
  return position_of(key);
}

// Elections.

void Raft::start_timer() {
  ticks_ = 0;
  const auto more = random_.below(static_cast<std::uint64_t>(options_.election_ticks));
  ticks_to_run_ = options_.election_ticks + static_cast<int>(more);
}

bool Raft::has_what_it_had() const { return is_up_to_date(log_.last_position(), had_); }

/// Also who is on the way out: until its removal is committed it may have what others lack (thesis,
/// section 4.2.2).
bool Raft::may_run() const {
  return !is_leader() && has_what_it_had() && !has_lost_entries_ &&
         std::ranges::any_of(configurations_, [&](const auto& placed) {
           return placed.configuration.has_voter(options_.self);
         });
}

bool Raft::hears_leader() const {
  if (is_leader()) return true;  // A majority hears it: see check_quorum().
  const auto* follower = std::get_if<Follower>(&role_);
  return follower != nullptr && follower->leader.has_value() && ticks_ < options_.election_ticks;
}

void Raft::begin_term(Term term, MemberId vote) {
  hard_.term = term;
  hard_.vote = vote;
  // Of what was to be said of the term before, some may not be stored any more.
  messages_once_durable_.clear();
}

void Raft::become_follower(Term term, std::optional<MemberId> leader) {
  if (term > hard_.term) begin_term(term, kNobody);
  role_ = Follower{leader};
  start_timer();
}

void Raft::campaign() {
  if (may_run()) run_for_leader(false, false);
}

void Raft::run_for_leader(bool pre, bool transfer) {
  start_timer();
  Candidate candidate{.pre = pre, .transfer = transfer, .answers = {}};
  if (pre) {
    candidate.answers.emplace(options_.self, true);
  } else {
    begin_term(hard_.term.next(), options_.self);
  }
  ask_for_votes(candidate);
  role_ = std::move(candidate);
  // The own vote counts once it is on disk.
  if (pre) count_answers();
}

/// Asks those who have not answered.
void Raft::ask_for_votes(const Candidate& candidate) {
  const VoteRequest request{
      .pre = candidate.pre, .transfer = candidate.transfer, .last = log_.last_position()};
  for (const MemberId voter : configuration().voters) {
    if (voter == options_.self || candidate.answers.contains(voter)) continue;
    if (candidate.pre) {
      send_in_term(voter, hard_.term.next(), request);
    } else {
      // Votes for this log count for it only: a life that has lost its end must not find them.
      send_once_durable(voter, request);
    }
  }
}

void Raft::take(const RaftMessage& message, const VoteRequest& request) {
  const bool not_bound = hard_.vote == kNobody && !leader().has_value();
  const bool only_asked = request.pre && message.term > hard_.term;
  const bool granted = (hard_.vote == message.from || not_bound || only_asked) &&
                       is_up_to_date(request.last, log_.last_position()) &&
                       is_up_to_date(request.last, had_) && !has_lost_entries_;
  const VoteAnswer answer{.pre = request.pre, .granted = granted};
  if (!granted) {
    send(message.from, answer);
  } else if (request.pre) {
    send_in_term(message.from, message.term, answer);
  } else {
    hard_.vote = message.from;
    start_timer();
    send_once_durable(message.from, answer);
  }
}

void Raft::take(const RaftMessage& message, const VoteAnswer& answer) {
  auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr || candidate->pre != answer.pre) return;
  const Term asked = answer.pre ? hard_.term.next() : hard_.term;
  if (answer.granted && message.term != asked) return;
  candidate->answers.emplace(message.from, answer.granted);
  count_answers();
}

void Raft::count_answers() {
  const auto& candidate = std::get<Candidate>(role_);
  switch (count_votes(configuration(), candidate.answers)) {
    case Vote::pending: return;
    case Vote::lost: return become_follower(hard_.term, std::nullopt);
    case Vote::won: break;
  }
  if (candidate.pre) {
    run_for_leader(false, candidate.transfer);
  } else {
    become_leader();
  }
}

void Raft::become_leader() {
  role_ = Leader{.followers = {}, .first = log_.last().index.next(), .transfer = {}};
  reported_round_ = 0;
  sync_followers(std::get<Leader>(role_));
  // Only an entry of its own term lets it commit those of earlier ones (section 5.4.2).
  append({.type = EntryType::internal,
          .payload = {},
          .end_offset = log_.last().end_offset,
          .max_timestamp = log_.last().max_timestamp});
}

Result<void> Raft::transfer_to(MemberId node) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return std::unexpected(Errc::not_leader);
  if (node == options_.self || !configuration().has_voter(node))
    return std::unexpected(Errc::invalid_members);
  leader->transfer = Transfer{.to = node};
  replicate(node, true);
  advance_transfer(node);
  return {};
}

void Raft::advance_transfer(MemberId heard) {
  auto& leader = std::get<Leader>(role_);
  if (!leader.transfer || leader.transfer->to != heard || leader.transfer->asked) return;
  if (leader.followers.at(heard).match() < log_.last().index) return;
  leader.transfer->asked = true;
  send(heard, CampaignRequest{});
}

void Raft::take(const RaftMessage&, const CampaignRequest&) {
  if (may_run()) run_for_leader(false, true);
}

// Replication: the leader's side.

void Raft::tick_leader(Leader& leader) {
  if (++leader.ticks_since_heartbeat >= options_.heartbeat_ticks) send_heartbeats(leader);
  if (leader.transfer && ++leader.transfer->ticks >= options_.election_ticks)
    leader.transfer.reset();
  if (++leader.ticks_since_check >= options_.election_ticks) check_quorum(leader);
}

void Raft::send_heartbeats(Leader& leader) {
  leader.ticks_since_heartbeat = 0;
  for (const auto& [node, progress] : leader.followers) {
    send(node,
         Heartbeat{.commit = std::min(progress.match(), hard_.commit), .round = leader.round});
  }
}

/// A leader that a majority does not hear would promise what it can't keep: it gives up.
void Raft::check_quorum(Leader& leader) {
  leader.ticks_since_check = 0;
  std::size_t heard = configuration().has_voter(options_.self) ? 1 : 0;
  for (auto& [node, progress] : leader.followers) {
    if (progress.heard && configuration().has_voter(node)) ++heard;
    progress.heard = false;
    progress.note_check();
  }
  if (heard < configuration().majority()) become_follower(hard_.term, std::nullopt);
}

std::uint64_t Raft::ask_quorum() {
  SENTINEL_ASSERT(ready());
  auto& leader = std::get<Leader>(role_);
  ++leader.round;
  send_heartbeats(leader);
  confirm_rounds(leader);
  return leader.round;
}

void Raft::confirm_rounds(Leader& leader) {
  std::vector<std::uint64_t> rounds;
  for (const MemberId voter : configuration().voters) {
    rounds.push_back(voter == options_.self ? leader.round : leader.followers.at(voter).round);
  }
  std::ranges::sort(rounds, std::greater());
  leader.confirmed = std::max(leader.confirmed, rounds[configuration().majority() - 1]);
}

void Raft::take(const RaftMessage& message, const HeartbeatAnswer& answer) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  const auto found = leader->followers.find(message.from);
  if (found == leader->followers.end()) return;
  Progress& progress = found->second;
  progress.note_alive();
  progress.round = std::max(progress.round, std::min(answer.round, leader->round));
  confirm_rounds(*leader);
  if (progress.match() == log_.last().index) return;
  // What is under way may have been lost. An empty message behind it finds out; where what was sent
  // has been given up meanwhile, only beginning again does.
  const bool under_way = progress.mode() == Progress::Mode::replicate && !progress.loading &&
                         progress.match() < progress.sent();
  if (under_way && progress.sent() < log_.start().index) {
    progress.begin_again();
  } else if (under_way) {
    send_entries(message.from, progress, {});
  }
  // Of one that has just been added it is not known what it has, also when nothing new comes.
  replicate(message.from, progress.mode() == Progress::Mode::probe);
}

void Raft::replicate_to_all() {
  auto& leader = std::get<Leader>(role_);
  for (const auto& [node, progress] : leader.followers) replicate(node, false);
}

void Raft::replicate(MemberId to, bool even_if_empty) {
  // What a sole member gives to one that is about to join is on its disk: so it can go on in its
  // term after a crash.
  if (is_sole_member(log_.stable())) return;
  Progress& progress = std::get<Leader>(role_).followers.at(to);
  while (progress.may_send(options_.messages_in_flight_max)) {
    if (progress.sent() < log_.start().index) {
      progress.note_snapshot(log_.start().index);
      snapshots_.push_back(to);
      return;
    }
    auto entries = log_.entries_behind(progress.sent(), options_.message_bytes_max);
    if (!entries.has_value()) {
      progress.loading = true;
      loads_.push_back({to, progress.sent(), options_.message_bytes_max});
      return;
    }
    if (entries->empty() && !even_if_empty) return;
    even_if_empty = false;
    send_entries(to, progress, std::move(*entries));
  }
}

void Raft::send_entries(MemberId to, Progress& progress, std::vector<LogEntry> entries) {
  const auto term = log_.term_at(progress.sent());
  SENTINEL_ASSERT(term.has_value());
  const LogIndex last = entries.empty() ? progress.sent() : entries.back().key.index;
  send(to, AppendRequest{.previous = {progress.sent(), *term},
                         .entries = std::move(entries),
                         .commit = hard_.commit});
  progress.note_sent(last);
}

void Raft::loaded(MemberId follower, LogIndex behind, std::vector<LogEntry> entries) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  const auto found = leader->followers.find(follower);
  if (found == leader->followers.end() || !found->second.loading) return;
  Progress& progress = found->second;
  progress.loading = false;
  // Read again with the next heartbeat's answer.
  if (entries.empty()) return;
  const bool wanted = progress.sent() == behind && behind >= log_.start().index &&
                      progress.may_send(options_.messages_in_flight_max);
  if (wanted) send_entries(follower, progress, std::move(entries));
  replicate(follower, false);
}

void Raft::send_snapshot(MemberId follower, StateSnapshot snapshot) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  const auto found = leader->followers.find(follower);
  if (found == leader->followers.end()) return;
  if (found->second.mode() != Progress::Mode::snapshot) return;
  found->second.note_snapshot(snapshot.last.index);
  send(follower, SnapshotRequest{std::move(snapshot)});
}

void Raft::take(const RaftMessage& message, const AppendAnswer& answer) {
  auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  const auto found = leader->followers.find(message.from);
  if (found == leader->followers.end() || answer.last.index > log_.last().index) return;
  Progress& progress = found->second;
  progress.heard = true;
  if (!answer.accepted) {
    const LogPosition hint = log_.last_not_above(answer.last.index, answer.last.term);
    // A late answer of an earlier stay, the log of which it has erased. It has no vote yet, so
    // nothing rests on that.
    if (answer.refused <= progress.match() && !configuration().has_voter(message.from))
      progress = Progress(answer.refused);
    if (progress.note_refused(answer.refused, hint.index)) replicate(message.from, true);
    return;
  }
  if (progress.note_accepted(answer.last.index)) advance_commit();
  // Committing may have ended the leadership.
  if (!is_leader() || progress_of(message.from) == nullptr) return;
  advance_transfer(message.from);
  replicate(message.from, false);
}

/// What a majority has on disk, in the own term (section 5.4.2), is committed.
void Raft::advance_commit() {
  const auto& followers = std::get<Leader>(role_).followers;
  const LogIndex index = majority_index(configuration(), [&](MemberId node) {
    return node == options_.self ? log_.stable() : followers.at(node).match();
  });
  if (index <= hard_.commit || log_.term_at(index) != hard_.term) return;
  commit_to(index);
  if (options_.tells_commit_at_once) send_heartbeats(std::get<Leader>(role_));
  // Its own removal is the last thing that a leader does (thesis, section 4.2.2).
  if (configurations_.size() > 1 || configuration().has_voter(options_.self)) return;
  send_heartbeats(std::get<Leader>(role_));
  become_follower(hard_.term, std::nullopt);
}

// Replication: the follower's side.

void Raft::follow(MemberId leader) {
  SENTINEL_ASSERT(!is_leader(), "node {} leads term {} too", leader, hard_.term);
  role_ = Follower{leader};
  start_timer();
}

void Raft::take(const RaftMessage& message, const Heartbeat& heartbeat) {
  follow(message.from);
  if (heartbeat.commit <= log_.last().index) {
    commit_to(std::max(hard_.commit, heartbeat.commit));
  } else if (configuration().has_voter(options_.self) && has_what_it_had()) {
    // A leader tells of no more than what it was told that a follower has. (Who comes back and has
    // erased its log may be taken for one that has it, by a late answer.)
    has_lost_entries_ = true;
  }
  send(message.from, HeartbeatAnswer{heartbeat.round});
}

void Raft::take(const RaftMessage& message, const AppendRequest& request) {
  follow(message.from);
  accept(request);
}

void Raft::accept(const AppendRequest& request) {
  const MemberId from = *std::get<Follower>(role_).leader;
  // What is committed is the same everywhere, also where the log has given it up.
  const bool within = request.previous.index < hard_.commit || log_.matches(request.previous);
  if (!within) {
    send(from,
         AppendAnswer{.accepted = false,
                      .last = log_.last_not_above(request.previous.index, request.previous.term),
                      .refused = request.previous.index});
    return;
  }
  for (const LogEntry& entry : request.entries) accept_entry(entry);
  const LogIndex sent =
      request.entries.empty() ? request.previous.index : request.entries.back().key.index;
  commit_to(std::max(hard_.commit, std::min(request.commit, sent)));
  const LogIndex last = std::max(sent, hard_.commit);
  const auto term = log_.term_at(last);
  SENTINEL_ASSERT(term.has_value());
  send_once_durable(from, AppendAnswer{.accepted = true, .last = {last, *term}, .refused = {}});
}

void Raft::accept_entry(const LogEntry& entry) {
  if (entry.key.index <= hard_.commit) return;
  if (entry.key.index <= log_.last().index) {
    if (log_.matches(position_of(entry.key))) return;
    truncate_from(entry.key.index);
  }
  log_.append(entry);
  if (!changes_configuration(entry)) return;
  auto configuration = decode_configuration(entry.payload);
  SENTINEL_ASSERT(configuration.has_value(), "checked by is_well_formed()");
  add_configuration(entry.key.index, std::move(*configuration));
}

void Raft::truncate_from(LogIndex index) {
  SENTINEL_ASSERT(index > hard_.commit, "entry {} is committed and was to be dropped", index);
  log_.truncate_from(index);
  to_store_ = std::min(to_store_, LogIndex(index.value() - 1));
  while (configurations_.back().index >= index) {
    configurations_.pop_back();
    configurations_changed_ = true;
  }
}

void Raft::take(const RaftMessage& message, const SnapshotRequest& request) {
  follow(message.from);
  const StateSnapshot& snapshot = request.snapshot;
  const LogIndex last = snapshot.last.index;
  if (last > hard_.commit && !log_.matches(position_of(snapshot.last))) {
    log_.reset(snapshot.last);
    configurations_ = {{last, snapshot.configuration}};
    configurations_changed_ = true;
    hard_.commit = applied_ = to_store_ = last;
    installed_ = snapshot;
  } else if (last > hard_.commit) {
    commit_to(last);
  }
  const auto term = log_.term_at(hard_.commit);
  SENTINEL_ASSERT(term.has_value());
  send_once_durable(message.from,
                    AppendAnswer{.accepted = true, .last = {hard_.commit, *term}, .refused = {}});
}

// Commit and configurations.

void Raft::commit_to(LogIndex index) {
  hard_.commit = index;
  while (configurations_.size() > 1 && configurations_[1].index <= index)
    configurations_.erase(configurations_.begin());
}

void Raft::add_configuration(LogIndex index, Configuration configuration) {
  configurations_.push_back({index, std::move(configuration)});
  configurations_changed_ = true;
  if (auto* leader = std::get_if<Leader>(&role_)) sync_followers(*leader);
}

void Raft::sync_followers(Leader& leader) {
  const Configuration& now = configuration();
  std::erase_if(leader.followers, [&](const auto& each) { return !now.has(each.first); });
  for (const MemberId node : now.members()) {
    if (node != options_.self) leader.followers.try_emplace(node, log_.last().index);
  }
  if (leader.transfer && !now.has_voter(leader.transfer->to)) leader.transfer.reset();
}

/// Whether the configuration in force at an entry has nobody but this node.
bool Raft::is_sole_member(LogIndex at) const {
  const auto behind =
      std::ranges::upper_bound(configurations_, at, {}, &PlacedConfiguration::index);
  const auto& placed = behind == configurations_.begin() ? *behind : *std::prev(behind);
  return placed.configuration.learners.empty() &&
         placed.configuration.voters == std::vector{options_.self};
}

// Output.

void Raft::send_in_term(MemberId to, Term term, decltype(RaftMessage::body) body) {
  messages_.push_back({.from = options_.self, .to = to, .term = term, .body = std::move(body)});
}

void Raft::send(MemberId to, decltype(RaftMessage::body) body) {
  send_in_term(to, hard_.term, std::move(body));
}

void Raft::send_once_durable(MemberId to, decltype(RaftMessage::body) body) {
  messages_once_durable_.push_back(
      {.from = options_.self, .to = to, .term = hard_.term, .body = std::move(body)});
}

bool Raft::has_output() const {
  const auto* leader = std::get_if<Leader>(&role_);
  return hard_.term != stored_hard_.term || hard_.vote != stored_hard_.vote ||
         installed_.has_value() || configurations_changed_ || to_store_ < log_.last().index ||
         !messages_.empty() || !messages_once_durable_.empty() || !loads_.empty() ||
         !snapshots_.empty() || std::min(hard_.commit, log_.stable()) > applied_ ||
         (leader != nullptr && leader->confirmed > reported_round_);
}

Raft::Output Raft::take_output() {
  // Here and not with each proposal: what was proposed since the last output leaves as one message.
  if (std::exchange(appended_, false) && is_leader()) replicate_to_all();
  Output out;
  out.installed = std::exchange(installed_, std::nullopt);
  out.entries = *log_.entries_behind(to_store_, SIZE_MAX);
  to_store_ = log_.last().index;
  if (std::exchange(configurations_changed_, false)) out.configurations = configurations_;
  // What is known to be committed is worth no write of its own, and not much with others.
  const bool must = hard_.term != stored_hard_.term || hard_.vote != stored_hard_.vote ||
                    out.configurations.has_value();
  if (must || (out.stores_something() && is_worth_storing(hard_.commit))) {
    out.hard = stored_hard_ = hard_;
    stored_commit_bytes_ = log_.key_at(hard_.commit)->end_bytes;
  }
  out.durable = {.hard = hard_, .last = log_.last_position()};
  out.messages = std::exchange(messages_, {});
  out.messages_once_durable = std::exchange(messages_once_durable_, {});
  out.loads = std::exchange(loads_, {});
  out.snapshots = std::exchange(snapshots_, {});
  const LogIndex applicable = std::min(hard_.commit, log_.stable());
  if (applicable > applied_) {
    out.committed = *log_.entries_behind(applied_, SIZE_MAX);
    out.committed.resize(applicable - applied_);
    applied_ = applicable;
  }
  forget_applied();
  if (const auto* leader = std::get_if<Leader>(&role_))
    out.confirmed_round = reported_round_ = leader->confirmed;
  return out;
}

bool Raft::is_worth_storing(LogIndex commit) const {
  if (is_alone()) return false;  // Whatever is stored is committed.
  return commit >= stored_hard_.commit + options_.commit_step_entries ||
         log_.key_at(commit)->end_bytes >= stored_commit_bytes_ + options_.commit_step_bytes;
}

/// What is on disk and applied stays in memory only for followers that lag.
void Raft::forget_applied() {
  LogIndex needed = log_.last().index;
  if (const auto* leader = std::get_if<Leader>(&role_)) {
    for (const auto& [member, progress] : leader->followers)
      needed = std::min(needed, progress.match());
  }
  log_.forget(std::min(applied_, needed), 0);
  log_.forget(applied_, options_.tail_bytes_max);
}

void Raft::persisted(const Durable& durable) {
  log_.persisted(durable.last);
  auto* candidate = std::get_if<Candidate>(&role_);
  const bool own_vote = candidate != nullptr && !candidate->pre &&
                        durable.hard.term == hard_.term && durable.hard.vote == options_.self;
  if (own_vote) {
    candidate->answers.emplace(options_.self, true);
    count_answers();
  }
  if (!is_leader()) return;
  advance_commit();
  if (is_leader()) replicate_to_all();
}

bool Raft::ready() const {
  const auto* leader = std::get_if<Leader>(&role_);
  return leader != nullptr && applied_ >= leader->first;
}

std::optional<MemberId> Raft::leader() const {
  if (is_leader()) return options_.self;
  const auto* follower = std::get_if<Follower>(&role_);
  return follower == nullptr ? std::nullopt : follower->leader;
}

const Progress* Raft::progress_of(MemberId node) const {
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return nullptr;
  const auto found = leader->followers.find(node);
  return found == leader->followers.end() ? nullptr : &found->second;
}

std::optional<LogIndex> Raft::all_have() const {
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr || !configuration().learners.empty()) return std::nullopt;
  LogIndex index = log_.stable();
  for (const auto& [node, progress] : leader->followers) index = std::min(index, progress.match());
  return index;
}

std::string_view Raft::role_name() const {
  if (is_leader()) return "leader";
  const auto* candidate = std::get_if<Candidate>(&role_);
  if (candidate == nullptr) return "follower";
  return candidate->pre ? "asking" : "candidate";
}

void Raft::check_invariants() const {
  const LogIndex last = log_.last().index;
  SENTINEL_ASSERT(log_.start().index <= hard_.commit || hard_.commit == LogIndex(0));
  SENTINEL_ASSERT(applied_ <= hard_.commit && hard_.commit <= last);
  SENTINEL_ASSERT(log_.stable() <= last && to_store_ <= last && log_.stable() <= to_store_);
  SENTINEL_ASSERT(log_.last().term <= hard_.term);
  SENTINEL_ASSERT(!is_leader() || hard_.vote == options_.self);
  const auto* leader = std::get_if<Leader>(&role_);
  if (leader == nullptr) return;
  for (const auto& [node, progress] : leader->followers) {
    SENTINEL_ASSERT(progress.match() <= last && progress.match() <= progress.sent());
    SENTINEL_ASSERT(configuration().has(node));
  }
}

}  // namespace sentinel::consensus
