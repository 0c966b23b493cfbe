#pragma once
/// The replicas of one shard and what they share: time, the way to other nodes, and rest.
///
/// A group in which nothing happens costs nothing, however many there are. Its leader, once all
/// followers have everything, offers them to rest: a follower that agrees stops its clock, and so
/// does the leader when all do. What they rest on is the *session*, one connection from the other
/// node, which carries a heartbeat for all groups together: when it ends or falls silent, all
/// groups that rest on it wake up. A leader that stops leading says so. To Raft all this is only
/// that time stands still for a while; nothing that has to be true depends on it.

#include <functional>
#include <map>
#include <set>

#include "consensus/peer_message.h"
#include "consensus/replica.h"
#include "core/log.h"

namespace sentinel::consensus {

/// One connection from another node, in one life of it. Never used again.
using SessionId = core::Tagged<std::uint64_t, struct SessionIdTag>;

/// The way to other nodes. What is sent may be lost, but in order, and only with the session as a
/// whole; but for entries, which may be left out when there is too much of them.
class PeerTransport {
 public:
  enum class Kind : std::uint8_t { control, entries };
  virtual void send(NodeId to, GroupId group, Kind kind, core::Chain message) = 0;

 protected:
  ~PeerTransport() = default;
};

/// Told who leads groups, as far as this shard's replicas know. Outlives them.
class LeadershipObserver {
 public:
  virtual void on_role(const Replica& replica) = 0;
  /// Raft::has_lost_entries(), for the first time.
  virtual void on_lost_entries(const Replica& replica) = 0;

 protected:
  ~LeadershipObserver() = default;
};

class MultiRaft final : public RaftHost {
 public:
  static constexpr core::Duration kTick = std::chrono::milliseconds(100);
  /// A session that is silent for so long is as good as ended.
  static constexpr core::Duration kSilence = std::chrono::seconds(1);

  /// Which member this node is of a group.
  using SelfOf = std::function<MemberId(GroupId)>;
  /// References outlive it; `transport` is null on a node without others, `observer` may be.
  MultiRaft(core::Shard& shard, const RaftOptions& options, SelfOf self_of,
            PeerTransport* transport, LeadershipObserver* observer);
  ~MultiRaft();
  core::Task<void> close();

  [[nodiscard]] MemberId self(GroupId group) const override { return self_of_(group); }
  [[nodiscard]] RaftOptions options() const override;
  [[nodiscard]] core::Random& random() override { return random_; }
  void add(Replica& replica) override;
  void remove(Replica& replica) override;
  void send(Replica& from, std::vector<RaftMessage> messages) override;
  void on_role(Replica& replica) override;
  void on_lost_entries(Replica& replica) override {
    if (observer_ != nullptr) observer_->on_lost_entries(replica);
  }

  // From other nodes.

  SessionId open_session(NodeId from);
  /// `ended`: the other side has closed it, so that its process may be gone.
  void close_session(SessionId session, bool ended);
  /// Anything at all has come.
  void note_heard(SessionId session);
  void deliver(SessionId session, PeerMessage message);
  /// What is sent to the node arrives there again: what was lost before is to be made up for.
  void note_link_up(NodeId to);
  /// Whether some session of the node is open and not silent.
  [[nodiscard]] bool hears(NodeId node) const;

  /// Null for a group that is not open here.
  [[nodiscard]] Replica* find(GroupId group) const;
  /// Of a group that is led here: the nodes that are heard and have all that is committed, or had a
  /// moment ago.
  [[nodiscard]] std::vector<NodeId> in_sync(GroupId group) const;
  [[nodiscard]] std::vector<GroupId> led_groups() const;
  /// Has led groups that have other voters begin to hand leadership over; whether there are any
  /// left that can.
  bool hand_over();
  /// Replica::give_up_waiting() of all.
  void give_up_waiting();

  [[nodiscard]] std::size_t awake_count() const { return awake_.size(); }

 private:
  struct Rest {
    Term term;
    LogIndex last;
    std::uint64_t round = 0;
    SessionId session;
  };
  struct Seat {
    Replica* replica = nullptr;
    bool led = false;
    LogIndex commit_before;       ///< At the last tick.
    std::vector<NodeId> in_sync;  ///< A leader's members that had all that was committed by then.
    std::map<MemberId, Rest> resting;  ///< A leader's followers that do.
    SessionId rests_on;                ///< A follower's; 0 when awake.
    SessionId leader_session;          ///< Through which its leader was heard last.
    LogIndex offered;                  ///< While an offer to rest is being answered.
  };
  struct Session {
    NodeId from;
    core::TimePoint heard;
    bool silent = false;
  };

  core::Task<void> run();
  void tick();
  void check_sessions();
  void check_in_sync(Seat& seat);
  void wake(GroupId group, Seat& seat);
  void wake_all_on(SessionId session, bool gone);
  [[nodiscard]] bool is_live(SessionId session) const;
  [[nodiscard]] bool has_all(const Raft& raft, MemberId follower) const;
  [[nodiscard]] bool rests(const Seat& seat, MemberId follower, const Heartbeat& beat) const;
  void send_one(Seat& seat, RaftMessage message);
  [[nodiscard]] bool all_rest(const Seat& seat) const;
  void note_answer(GroupId group, Seat& seat, SessionId session, const PeerMessage& message);
  void post(GroupId group, MemberId to, PeerMessage message);

  core::Shard& shard_;
  const RaftOptions options_;
  const SelfOf self_of_;
  PeerTransport* const transport_;
  LeadershipObserver* const observer_;
  core::Random random_;
  std::map<GroupId, Seat> seats_;
  std::set<GroupId> awake_;
  std::map<SessionId, Session> sessions_;
  SessionId last_session_{0};
  bool closing_ = false;
  core::Signal changed_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
