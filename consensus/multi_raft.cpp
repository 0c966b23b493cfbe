#include "consensus/multi_raft.h"

#include <algorithm>
#include <tuple>
#include <utility>

namespace sentinel::consensus {

namespace {

// For all groups of a shard, and what one may have of it.
constexpr std::size_t kTailsBytes = std::size_t{32} << 20;
constexpr std::size_t kTailBytesMin = std::size_t{16} << 10;
constexpr SessionId kNoSession{0};

}  // namespace

MultiRaft::MultiRaft(core::Shard& shard, const RaftOptions& options, SelfOf self_of,
                     PeerTransport* transport, LeadershipObserver* observer)
    : shard_(shard),
      options_(options),
      self_of_(std::move(self_of)),
      transport_(transport),
      observer_(observer),
      random_(shard.random().next()),
      changed_(shard),
      scope_(shard) {
  scope_.spawn(run());
}

MultiRaft::~MultiRaft() = default;

core::Task<void> MultiRaft::close() {
  closing_ = true;
  changed_.notify_all();
  co_await scope_.close();
}

RaftOptions MultiRaft::options() const {
  RaftOptions options = options_;
  const std::size_t share = kTailsBytes / (seats_.size() + 1);
  options.tail_bytes_max = std::min(options.tail_bytes_max, std::max(share, kTailBytesMin));
  return options;
}

void MultiRaft::add(Replica& replica) {
  Seat& seat = seats_[replica.group()];
  SENTINEL_ASSERT(seat.replica == nullptr, "group {} is open already", replica.group());
  seat.replica = &replica;
  wake(replica.group(), seat);
}

void MultiRaft::remove(Replica& replica) {
  seats_.erase(replica.group());
  awake_.erase(replica.group());
}

// Time.

core::Task<void> MultiRaft::run() {
  while (!closing_) {
    if (awake_.empty() && sessions_.empty()) {
      co_await changed_.wait();
    } else {
      co_await core::sleep_for(shard_, kTick, scope_.token());
      tick();
    }
  }
}

void MultiRaft::tick() {
  check_sessions();
  // What a group does may put others, and itself, to rest.
  const std::vector<GroupId> groups(awake_.begin(), awake_.end());
  for (const GroupId group : groups) {
    const auto found = seats_.find(group);
    if (found == seats_.end()) continue;
    Seat& seat = found->second;
    const Raft& raft = seat.replica->raft();
    // Alone, a leader has nobody to keep from running.
    if (raft.is_leader() && raft.is_alone()) {
      awake_.erase(group);
      continue;
    }
    // Who rests is alive as long as its session is.
    for (const auto& [member, rest] : std::map(seat.resting)) {
      seat.replica->step({.from = member,
                          .to = raft.self(),
                          .term = rest.term,
                          .body = HeartbeatAnswer{rest.round}});
    }
    seat.replica->tick();
    check_in_sync(seat);
  }
}

void MultiRaft::check_in_sync(Seat& seat) {
  const Raft& raft = seat.replica->raft();
  std::vector<NodeId> now;
  if (seat.replica->is_leader()) {
    for (const MemberId member : raft.configuration().voters) {
      const Progress* progress = raft.progress_of(member);
      const bool has = member == raft.self() ||
                       (progress != nullptr && hears(node_of(member)) &&
                        progress->match() >= seat.commit_before && progress->match() > LogIndex(0));
      if (has) now.push_back(node_of(member));
    }
  }
  seat.commit_before = raft.commit_index();
  if (now == seat.in_sync) return;
  seat.in_sync = std::move(now);
  if (observer_ != nullptr && seat.replica->is_leader()) observer_->on_role(*seat.replica);
}

void MultiRaft::check_sessions() {
  for (auto& [id, session] : sessions_) {
    if (session.silent || shard_.now() - session.heard < kSilence) continue;
    session.silent = true;
    wake_all_on(id, false);
  }
}

void MultiRaft::wake(GroupId group, Seat& seat) {
  seat.rests_on = kNoSession;
  if (awake_.insert(group).second) changed_.notify_all();
}

void MultiRaft::wake_all_on(SessionId session, bool gone) {
  for (auto& [group, seat] : seats_) {
    const bool leads = std::erase_if(seat.resting, [&](const auto& each) {
                         return each.second.session == session;
                       }) > 0;
    const bool follows = seat.leader_session == session;
    if (!leads && !follows) continue;
    wake(group, seat);
    if (follows && gone) seat.replica->note_leader_gone();
  }
}

std::vector<NodeId> MultiRaft::in_sync(GroupId group) const {
  const auto found = seats_.find(group);
  if (found == seats_.end() || found->second.in_sync.empty()) return {node_of(self_of_(group))};
  return found->second.in_sync;
}

Replica* MultiRaft::find(GroupId group) const {
  const auto found = seats_.find(group);
  return found == seats_.end() ? nullptr : found->second.replica;
}

std::vector<GroupId> MultiRaft::led_groups() const {
  std::vector<GroupId> led;
  for (const auto& [group, seat] : seats_) {
    if (seat.replica->raft().is_leader()) led.push_back(group);
  }
  return led;
}

bool MultiRaft::hand_over() {
  bool any = false;
  const auto can_lead = [this](const Raft& raft, MemberId member) {
    return member != raft.self() && raft.configuration().has_voter(member) &&
           hears(node_of(member));
  };
  for (auto& [group, seat] : seats_) {
    const Raft& raft = seat.replica->raft();
    if (!raft.is_leader()) continue;
    std::optional<MemberId> best;
    for (const MemberId member : raft.configuration().voters) {
      if (!can_lead(raft, member)) continue;
      if (!best.has_value() || raft.progress_of(member)->match() > raft.progress_of(*best)->match())
        best = member;
    }
    if (!best.has_value()) continue;
    any = true;
    if (!raft.is_transferring()) std::ignore = seat.replica->transfer_to(*best);
  }
  return any;
}

void MultiRaft::give_up_waiting() {
  for (auto& [group, seat] : seats_) seat.replica->give_up_waiting();
}

// Sessions.

SessionId MultiRaft::open_session(NodeId from) {
  last_session_ = last_session_.next();
  sessions_.emplace(last_session_, Session{.from = from, .heard = shard_.now()});
  changed_.notify_all();
  return last_session_;
}

void MultiRaft::close_session(SessionId session, bool ended) {
  sessions_.erase(session);
  wake_all_on(session, ended);
}

void MultiRaft::note_heard(SessionId session) {
  Session& heard = sessions_.at(session);
  heard.heard = shard_.now();
  heard.silent = false;
}

void MultiRaft::note_link_up(NodeId to) {
  for (auto& [group, seat] : seats_) {
    const Raft& raft = seat.replica->raft();
    if (!raft.is_leader()) continue;
    const auto members = raft.configuration().members();
    const bool there =
        std::ranges::any_of(members, [&](MemberId member) { return node_of(member) == to; });
    if (!there) continue;
    // What they rested on may have been the connection that broke.
    std::erase_if(seat.resting, [&](const auto& each) { return node_of(each.first) == to; });
    wake(group, seat);
  }
}

bool MultiRaft::is_live(SessionId session) const {
  const auto found = sessions_.find(session);
  return found != sessions_.end() && !found->second.silent;
}

bool MultiRaft::hears(NodeId node) const {
  return std::ranges::any_of(
      sessions_, [&](const auto& each) { return each.second.from == node && !each.second.silent; });
}

// Messages in.

void MultiRaft::deliver(SessionId session, PeerMessage message) {
  note_heard(session);
  const auto found = seats_.find(message.group);
  if (found == seats_.end()) return;
  Seat& seat = found->second;
  if (!message.message.has_value()) return wake(message.group, seat);
  const RaftMessage& body = *message.message;
  if (body.to != seat.replica->raft().self() || node_of(body.from) != sessions_.at(session).from)
    return;
  const bool answers = std::holds_alternative<HeartbeatAnswer>(body.body);
  const bool offers =
      std::holds_alternative<Heartbeat>(body.body) && message.settle_at != LogIndex(0);
  if (!answers && !offers) {
    // Something is going on: others may have been woken by it, too.
    seat.resting.clear();
    wake(message.group, seat);
  }
  if (answers) note_answer(message.group, seat, session, message);
  const GroupId group = message.group;
  const MemberId from = body.from;
  seat.offered = offers ? message.settle_at : LogIndex(0);
  seat.replica->step(std::move(*message.message));
  // Stepping may have closed the group.
  const auto still = seats_.find(group);
  if (still == seats_.end()) return;
  Seat& after = still->second;
  const Raft& raft = after.replica->raft();
  if (raft.leader() == from) after.leader_session = session;
  const bool accepted = offers && after.offered == LogIndex(0);
  after.offered = LogIndex(0);
  if (accepted) {
    after.rests_on = session;
    awake_.erase(group);
  } else if (offers) {
    wake(group, after);
  } else if (answers && all_rest(after)) {
    awake_.erase(group);
  }
}

/// A follower that has come to rest, if it still has everything.
void MultiRaft::note_answer(GroupId group, Seat& seat, SessionId session,
                            const PeerMessage& message) {
  const Raft& raft = seat.replica->raft();
  const RaftMessage& body = *message.message;
  if (message.settle_at == LogIndex(0) || !raft.is_leader() || body.term != raft.term()) return;
  if (message.settle_at != raft.log().last().index || !has_all(raft, body.from)) {
    return wake(group, seat);
  }
  seat.resting[body.from] = {.term = body.term,
                             .last = message.settle_at,
                             .round = std::get<HeartbeatAnswer>(body.body).round,
                             .session = session};
}

bool MultiRaft::has_all(const Raft& raft, MemberId follower) const {
  const Progress* progress = raft.progress_of(follower);
  const LogIndex last = raft.log().last().index;
  return progress != nullptr && progress->match() == last && raft.commit_index() == last;
}

bool MultiRaft::all_rest(const Seat& seat) const {
  const Raft& raft = seat.replica->raft();
  if (!raft.ready() || raft.is_transferring()) return false;
  return std::ranges::all_of(raft.configuration().members(), [&](MemberId member) {
    return member == raft.self() || (seat.resting.contains(member) && has_all(raft, member));
  });
}

// Messages out.

void MultiRaft::send(Replica& from, std::vector<RaftMessage> messages) {
  const auto found = seats_.find(from.group());
  if (found == seats_.end() || transport_ == nullptr) return;
  for (RaftMessage& message : messages) send_one(found->second, std::move(message));
}

/// Whether a heartbeat would tell a follower nothing that it has not agreed to rest on.
bool MultiRaft::rests(const Seat& seat, MemberId follower, const Heartbeat& beat) const {
  const auto rest = seat.resting.find(follower);
  const Raft& raft = seat.replica->raft();
  return rest != seat.resting.end() && rest->second.term == raft.term() &&
         rest->second.last == raft.log().last().index && beat.commit == rest->second.last &&
         beat.round <= rest->second.round && is_live(rest->second.session);
}

void MultiRaft::send_one(Seat& seat, RaftMessage message) {
  const GroupId group = seat.replica->group();
  const Raft& raft = seat.replica->raft();
  LogIndex settle_at{0};
  if (const auto* beat = std::get_if<Heartbeat>(&message.body)) {
    if (rests(seat, message.to, *beat)) return;
    // Awake until it is answered.
    seat.resting.erase(message.to);
    if (has_all(raft, message.to) && beat->commit == raft.log().last().index)
      settle_at = beat->commit;
  } else if (std::holds_alternative<HeartbeatAnswer>(message.body)) {
    const bool agrees = seat.offered != LogIndex(0) && raft.leader() == message.to &&
                        raft.log().last().index == seat.offered &&
                        raft.commit_index() == seat.offered && raft.log().stable() == seat.offered;
    if (agrees) settle_at = std::exchange(seat.offered, LogIndex(0));
  } else {
    seat.resting.erase(message.to);
  }
  if (!std::holds_alternative<HeartbeatAnswer>(message.body)) wake(group, seat);
  const MemberId to = message.to;
  post(group, to, {.group = group, .settle_at = settle_at, .message = std::move(message)});
}

void MultiRaft::post(GroupId group, MemberId to, PeerMessage message) {
  const bool entries = message.message.has_value() &&
                       (std::holds_alternative<AppendRequest>(message.message->body) ||
                        std::holds_alternative<SnapshotRequest>(message.message->body));
  transport_->send(node_of(to), group,
                   entries ? PeerTransport::Kind::entries : PeerTransport::Kind::control,
                   encode_peer_message(message));
}

void MultiRaft::on_role(Replica& replica) {
  const auto found = seats_.find(replica.group());
  if (found == seats_.end()) return;
  Seat& seat = found->second;
  const bool leads = replica.raft().is_leader();
  if (std::exchange(seat.led, leads) && !leads) {
    for (const auto& [member, rest] : seat.resting)
      post(replica.group(), member, {.group = replica.group(), .settle_at = {}, .message = {}});
    seat.resting.clear();
  }
  if (!(leads && replica.raft().is_alone())) wake(replica.group(), seat);
  if (observer_ != nullptr) observer_->on_role(replica);
}

}  // namespace sentinel::consensus
