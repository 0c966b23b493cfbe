/// Crashes of a replica: scripts of a group's life are stopped at every write point of the
/// replica's disk, every disk that a power cut may leave there is built, up to a bound, and the
/// replica is opened on each. Whatever it had told others by then it must still know.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "test/support/budget.h"
#include "test/support/replica_life.h"
#include "test/support/store_workload.h"

namespace sentinel {

using consensus::AppendAnswer;
using consensus::AppendRequest;
using consensus::Configuration;
using consensus::ConfigurationChange;
using consensus::Heartbeat;
using consensus::HeartbeatAnswer;
using consensus::kFirstTerm;
using consensus::LogEntry;
using consensus::LogIndex;
using consensus::LogPosition;
using consensus::MemberId;
using consensus::SnapshotRequest;
using consensus::Term;
using consensus::VoteAnswer;
using consensus::VoteRequest;
using core::Task;
using test::CrashStates;
using test::DiskImage;
using test::NodeContext;
using test::NodeId;
using test::PlayedLeader;
using test::Reopened;
using test::Reopening;
using test::ReplicaLife;
using test::ReplicaWitness;
using test::SimWorld;
using namespace std::chrono_literals;

namespace {

constexpr MemberId kSelf = test::kReplicaSelf;
constexpr MemberId kSecond{2};
constexpr MemberId kThird{3};
constexpr MemberId kFourth{4};
constexpr MemberId kFifth{5};
constexpr MemberId kNobody{0};

Configuration members(std::vector<MemberId> voters, std::vector<MemberId> learners = {}) {
  return {.voters = std::move(voters), .learners = std::move(learners)};
}

/// What the stories have in common.
class Story : public ReplicaLife {
 public:
  using ReplicaLife::ReplicaLife;

 protected:
  /// The leader sends more, and says that what was there before is committed.
  Task<void> feed(int count) {
    const LogIndex before = leader_.last();
    extend(leader_, count);
    append(leader_, before, before);
    co_await pause();
  }
  Task<void> feed(Configuration configuration) {
    const LogIndex before = leader_.last();
    extend(leader_, configuration);
    append(leader_, before, before);
    co_await pause();
  }
  /// By then the leader has been told that all of it is on the disk.
  Task<void> commit_all() {
    heartbeat(leader_, leader_.last());
    co_await settle();
    const auto* answer = heard<AppendAnswer>(leader_.id);
    const bool has_all =
        answer != nullptr && answer->accepted && answer->last == leader_.at(leader_.last());
    expect(has_all, "it has not answered that it has everything");
  }
  /// Erased, it comes back with the group that it was founded in, and must not take part in it.
  Task<void> erase_and_come_back() {
    co_await close_replica();
    co_await let_go();
    co_await open_replica();
    forget_heard();
    for (int i = 0; i < 25; ++i) replica().tick();
    expect(!asks_for_votes(), "who has let go runs for leader");
  }
  [[nodiscard]] bool has_refused(MemberId candidate) const {
    const auto* answer = heard<VoteAnswer>(candidate);
    return answer != nullptr && !answer->granted;
  }
  [[nodiscard]] bool asks_for_votes() const {
    return std::ranges::any_of(std::vector{kSecond, kThird}, [this](MemberId member) {
      return heard<VoteRequest>(member) != nullptr;
    });
  }

  PlayedLeader leader_;
};

/// One of three, later of five: follows, has its log cut, grows with the group, loses an election,
/// leads, is deposed, needs another's state, leaves, and comes back.
class MemberStory final : public Story {
 public:
  using Story::Story;

 private:
  Task<void> live() override {
    co_await follow();
    co_await be_cut();
    co_await grow();
    co_await take_back_what_gave_way();
    co_await lose_election();
    co_await lead();
    co_await shrink();
    co_await give_up_old_entries();
    co_await be_deposed();
    co_await take_over_a_state();
    co_await leave();
    co_await come_back();
  }

  Task<void> follow() {
    const LogPosition nothing{LogIndex(0), kFirstTerm};
    ask_for_vote(kSecond, Term(2), nothing, true);
    ask_for_vote(kSecond, Term(2), nothing);
    co_await pause();
    leader_ = elect(kSecond, Term(2), {});
    extend(leader_, 3);
    append(leader_, LogIndex(0), LogIndex(0));
    co_await pause();
    co_await feed(3);
    co_await feed(2);
    co_await commit_all();
  }

  /// The second member has lost what it sent, and the third one is elected without it.
  Task<void> be_cut() {
    const LogIndex kept = leader_.last();
    extend(leader_, 6);
    append(leader_, kept, kept, kept + 3);
    append(leader_, kept + 3, kept);
    co_await pause();
    replica().note_leader_gone();
    ask_for_vote(kThird, Term(3), leader_.at(kept));
    leader_ = elect(kThird, Term(3), leader_.up_to(kept));
    extend(leader_, 2);
    append(leader_, leader_.last(), kept);  // Of which it has another one.
    append(leader_, kept, kept);
    co_await pause();
    co_await feed(3);
  }

  /// Two more members, one change at a time. Of the last one the first try gives way.
  Task<void> grow() {
    co_await feed(members({kSelf, kSecond, kThird}, {kFourth}));
    co_await feed(members({kSelf, kSecond, kThird, kFourth}));
    co_await feed(2);
    heartbeat(leader_, leader_.last());
    const LogIndex kept = leader_.last();
    co_await feed(members({kSelf, kSecond, kThird, kFourth, kFifth}));
    replica().note_leader_gone();
    ask_for_vote(kSecond, Term(4), leader_.at(kept));
    leader_ = elect(kSecond, Term(4), leader_.up_to(kept));
    append(leader_, kept, kept);
    co_await pause();
    co_await feed(members({kSelf, kSecond, kThird, kFourth, kFifth}));
    co_await feed(2);
    co_await commit_all();
  }

  /// Entries of the second member give way to those of the third one; but the fifth one has kept
  /// some of them, and leads then. Until all of its log has come, those that it has not kept stand
  /// behind the others on the disk.
  Task<void> take_back_what_gave_way() {
    const LogIndex kept = leader_.last();
    extend(leader_, 6);
    append(leader_, kept, kept);
    co_await pause();
    PlayedLeader third = elect(kThird, Term(5), leader_.up_to(kept));
    extend(third, 1);
    append(third, kept, kept);
    co_await pause();
    leader_ = elect(kFifth, Term(6), leader_.up_to(kept + 4));
    append(leader_, kept + 4, kept, kept + 4);  // Which it lacks.
    append(leader_, kept, kept, kept + 2);
    if (variant() % 2 == 1) {
      co_await restart();
    } else {
      co_await pause();
    }
    append(leader_, kept + 2, kept);
    co_await pause();
    co_await feed(2);
    co_await commit_all();
  }

  /// It runs, nobody votes for it, and it is asked for its own vote, in the same term and later.
  Task<void> lose_election() {
    const LogPosition last = leader_.at(leader_.last());
    forget_heard();
    replica().note_leader_gone();
    for (int i = 0; i < 25 && !asks_for_votes(); ++i) replica().tick();
    give_votes({kSecond, kFourth}, Term(7), true, true);
    co_await settle();
    const auto* asked = heard<VoteRequest>(kSecond);
    expect(asked != nullptr && !asked->pre, "although it would be elected, it does not run");
    give_votes({kSecond, kThird, kFourth}, Term(7), false);
    ask_for_vote(kThird, Term(7), last);
    expect(has_refused(kThird), "it has voted for itself and for another one");
    co_await pause();
    ask_for_vote(kThird, Term(8), last);
    co_await pause();
    ask_for_vote(kSecond, Term(8), last);
    expect(has_refused(kSecond), "it votes twice in one term");
    co_await settle();
  }

  Task<void> lead() {
    begin_copy(leader_.log);
    replica().campaign();
    co_await settle();
    give_votes({kSecond, kFourth}, Term(9), true);
    co_await settle();
    answer(kSecond);
    answer(kFourth);
    co_await settle();
    expect(replica().is_leader(), "it was not elected");
    propose(3);
    co_await pause();
    answer(kSecond);
    answer(kFourth);
    propose(2);
    co_await pause();
    answer(kSecond);
    answer(kFourth);
    // The third member lags: what it lacks is in the store only.
    forget_heard();
    deliver(kThird, Term(9),
            AppendAnswer{
                .accepted = false, .last = leader_.at(LogIndex(5)), .refused = leader_.last()});
    co_await until_heard<AppendRequest>(kThird);
    co_await settle();
  }

  Task<void> shrink() {
    change(ConfigurationChange::Kind::remove, kFifth);
    co_await pause();
    answer(kSecond);
    answer(kFourth);
    co_await settle();
    change(ConfigurationChange::Kind::remove, kFourth);
    co_await pause();
    answer(kSecond);
    co_await settle();
  }

  /// Then the third member can be helped by a state only.
  Task<void> give_up_old_entries() {
    propose(2);
    co_await trim(LogIndex(replica().commit_index().value() - 6));
    answer(kSecond);
    co_await settle();
    co_await save_snapshot();
    forget_heard();
    deliver(kThird, Term(9), HeartbeatAnswer{});
    co_await until_heard<SnapshotRequest>(kThird);
    if (const auto* sent = heard<SnapshotRequest>(kThird)) check_sent_state(sent->snapshot);
    answer(kThird);
    co_await settle();
  }

  /// What it proposes last reaches nobody.
  Task<void> be_deposed() {
    const std::vector<LogEntry> log = copy();
    const LogIndex kept(log.size());
    expect(replica().commit_index() == kept, "not all that the second member has is committed");
    propose(3);
    co_await pause();
    leader_ = elect(kSecond, Term(10), log);
    extend(leader_, 3);
    append(leader_, kept, kept);
    co_await pause();
    co_await commit_all();
  }

  Task<void> take_over_a_state() {
    extend(leader_, 20);
    const LogIndex start(leader_.last().value() - 4);
    install(leader_, start, start + 2, members({kSelf, kSecond, kThird}));
    co_await pause();
    append(leader_, start, start + 3);
    co_await pause();
    co_await commit_all();
    co_await restart();
  }

  Task<void> leave() {
    co_await feed(members({kSecond, kThird}));
    co_await commit_all();
    co_await erase_and_come_back();
  }

  Task<void> come_back() {
    const LogIndex start = leader_.last();
    ask_for_vote(kSecond, Term(11), leader_.at(start));
    co_await pause();
    ask_for_vote(kThird, Term(11), leader_.at(start));
    expect(has_refused(kThird), "it votes twice in one term");
    leader_ = elect(kSecond, Term(11), leader_.log);
    extend(leader_, members({kSecond, kThird}, {kSelf}));
    install(leader_, start, start, members({kSecond, kThird}));
    co_await pause();
    append(leader_, start, start);
    co_await pause();
    co_await feed(members({kSelf, kSecond, kThird}));
    co_await restart();
    co_await feed(3);
    co_await commit_all();
  }
};

/// Founded alone, in the first term. A second member joins and takes over; it leaves, and comes
/// back to a log that tells of its first stay.
class FounderStory final : public Story {
 public:
  using Story::Story;

 private:
  Task<void> live() override {
    co_await lead_alone();
    co_await let_join();
    co_await hand_over();
    co_await erase_and_come_back();
    co_await come_back();
  }

  Task<void> lead_alone() {
    propose(3);
    co_await pause();
    propose(2);
    co_await settle();
    co_await restart();
    propose(1);
    co_await settle();
  }

  Task<void> let_join() {
    forget_heard();
    change(ConfigurationChange::Kind::add_learner, kSecond);
    for (int i = 0; i < 5; ++i) replica().tick();
    co_await settle();
    // Which has nothing yet.
    deliver(kSecond, kFirstTerm, HeartbeatAnswer{});
    forget_heard();
    deliver(kSecond, kFirstTerm,
            AppendAnswer{.accepted = false,
                         .last = {LogIndex(0), kFirstTerm},
                         .refused = replica().last().index});
    co_await until_heard<AppendRequest>(kSecond);
    answer(kSecond);
    co_await settle();
    change(ConfigurationChange::Kind::add_voter, kSecond);
    co_await pause();
    answer(kSecond);
    co_await settle();
    propose(2);
    co_await pause();
    answer(kSecond);
    co_await settle();
  }

  Task<void> hand_over() {
    const LogIndex kept = replica().last().index;
    expect(replica().transfer_to(kSecond).has_value(), "leadership can't be handed over");
    leader_ = elect(kSecond, Term(2), copy());
    expect(leader_.last() == kept.next(), "the second member has another log");
    deliver(kSecond, Term(2),
            VoteRequest{.pre = false, .transfer = true, .last = leader_.at(kept)});
    co_await pause();
    append(leader_, kept, kept);
    co_await pause();
    co_await feed(members({kSecond}));
    co_await commit_all();
  }

  Task<void> come_back() {
    extend(leader_, members({kSecond}, {kSelf}));
    extend(leader_, 3);
    for (LogIndex behind(0); behind < leader_.last();) {
      const LogIndex until = std::min(behind + 3, leader_.last());
      if ((until.value() + variant()) % 5 == 0) co_await restart();
      append(leader_, behind, behind, until);
      co_await pause();
      behind = until;
    }
    co_await commit_all();
    co_await feed(members({kSelf, kSecond}));
    co_await feed(2);
    co_await commit_all();
  }
};

/// A follower that gets more at once than a replica gives to its store as one batch.
class LargeStory final : public Story {
 public:
  using Story::Story;

 private:
  static constexpr std::size_t kLarge = std::size_t{600} << 10;

  Task<void> live() override {
    ask_for_vote(kSecond, Term(2), {LogIndex(0), kFirstTerm});
    leader_ = elect(kSecond, Term(2), {});
    append(leader_, LogIndex(0), LogIndex(0));
    co_await feed(3);
    co_await send_much();
    // Most of it gives way to as much.
    const LogIndex kept(leader_.last().value() - 2);
    leader_ = elect(kThird, Term(3), leader_.up_to(kept));
    append(leader_, kept, kept);
    co_await send_much();
    co_await restart();
    co_await feed(2);
    co_await commit_all();
  }

  Task<void> send_much() {
    const LogIndex before = leader_.last();
    extend_by(leader_, kLarge);
    extend_by(leader_, kLarge);
    extend(leader_, 1);
    append(leader_, before, LogIndex(1));
    co_await pause();
  }
};

enum class Kind : std::uint8_t { member, founder, large };

struct Script {
  Kind kind = Kind::member;
  std::uint64_t variant = 0;

  [[nodiscard]] bool is_large() const { return kind == Kind::large; }
  [[nodiscard]] Configuration base() const {
    return kind == Kind::founder ? members({kSelf}) : members({kSelf, kSecond, kThird});
  }
  [[nodiscard]] std::unique_ptr<ReplicaLife> make(const NodeContext& context,
                                                  ReplicaWitness& witness) const {
    ReplicaLife::Plan plan{.variant = variant, .base = base(), .large = is_large()};
    switch (kind) {
      case Kind::member: return std::make_unique<MemberStory>(context, std::move(plan), witness);
      case Kind::founder: return std::make_unique<FounderStory>(context, std::move(plan), witness);
      case Kind::large: break;
    }
    return std::make_unique<LargeStory>(context, std::move(plan), witness);
  }
};

struct Tally {
  std::uint64_t scripts = 0;
  std::uint64_t points = 0;
  std::uint64_t states = 0;
  std::uint64_t votes_granted = 0;
  std::uint64_t votes_refused = 0;
  std::uint64_t opened_twice = 0;
  std::uint64_t crashed_twice = 0;
  /// With what had been told: what may be on a disk must not be there once more has been told.
  std::set<std::pair<std::uint64_t, std::size_t>> disks;
};

struct CrashCase {
  DiskImage image;
  ReplicaWitness::Mark mark;
  std::uint64_t point = 0;
};

/// One run of a script, and what crashes leave of it.
class Enumeration {
 public:
  Enumeration(const Script& script, Tally& tally)
      : script_(script), tally_(tally), witness_(kSelf, script.base()) {}

  void run(std::uint64_t states_max) {
    live();
    ++tally_.scripts;
    // Every point gets its share of the states, so that a bound does not leave out the end of the
    // script.
    const std::uint64_t end = tally_.states + states_max;
    for (std::size_t i = 0; i < cases_.size(); ++i) {
      const std::uint64_t left = end - std::min(end, tally_.states);
      const std::uint64_t share = std::max<std::uint64_t>(left / (cases_.size() - i), 1);
      check_point(cases_[i], tally_.states + share);
      ++tally_.points;
    }
  }

 private:
  void live() {
    SimWorld world(script_.variant);
    const NodeId node = world.add_node(
        {.program = [this](const NodeContext& context) { return script_.make(context, witness_); },
         .image = test::empty_disk()});
    world.disk(node).set_observer([this](const DiskImage& image, std::uint64_t point) {
      cases_.push_back({image, witness_.mark(), point});
    });
    world.start(node);
    const auto life = [&] { return static_cast<const ReplicaLife*>(world.program(node)); };
    world.run_until([&] { return life() == nullptr || life()->done(); }, 30s);
    CAPTURE(script_.variant);
    REQUIRE(life() != nullptr);
    REQUIRE_MESSAGE(witness_.violation().empty(), witness_.violation());
    REQUIRE_MESSAGE(life()->problem().empty(), life()->problem());
    REQUIRE(life()->done());
    world.disk(node).set_observer({});
    REQUIRE(world.stop(node));
  }

  void check_point(const CrashCase& at, std::uint64_t states_max) {
    CrashStates states(at.image, {.subset_units_max = 6, .torn_sectors_max = 64});
    DiskImage disk;
    for (std::uint64_t number = 1; tally_.states < states_max && states.next(disk); ++number) {
      if (!tally_.disks.emplace(disk.hash(), at.mark.told).second) continue;
      ++tally_.states;
      CAPTURE(script_.variant);
      CAPTURE(at.point);
      INFO("state " << number << " of the disk at this write point");
      check_state(disk, at.mark);
    }
  }

  void check_state(const DiskImage& disk, const ReplicaWitness::Mark& mark) {
    // Another one than it may have voted for.
    Reopening how = reopening(mark);
    how.asker = mark.vote == kSecond ? kThird : kSecond;
    const Reopened first = test::reopen(disk, how);
    REQUIRE_MESSAGE(!first.error.has_value(), first.error.value_or(""));
    const std::string wrong = witness_.find_wrong(first.found, mark);
    REQUIRE_MESSAGE(wrong.empty(), wrong);
    if (first.granted.has_value()) check_vote(first, how.asker, mark);
    if (tally_.states % 8 == 0) check_again(first, how);
    if (tally_.states % 100 == 0) check_crashes_of_opening(disk, mark);
  }

  [[nodiscard]] Reopening reopening(const ReplicaWitness::Mark& mark) const {
    // Before the first start has got as far as a manifest there is no store yet, and nothing told.
    return {.create = mark.told == 0, .large = script_.is_large(), .base = script_.base()};
  }

  void check_vote(const Reopened& opened, MemberId asker, const ReplicaWitness::Mark& mark) {
    const consensus::HardState& hard = opened.found.hard;
    if (hard.term == mark.term && mark.vote != kNobody)
      REQUIRE_MESSAGE(!*opened.granted, "it votes twice in one term");
    REQUIRE(*opened.granted == (hard.vote == kNobody || hard.vote == asker));
    ++(*opened.granted ? tally_.votes_granted : tally_.votes_refused);
  }

  /// What was opened once and closed is the same when it is opened again, but for the vote that it
  /// has given meanwhile.
  void check_again(const Reopened& first, Reopening how) {
    ++tally_.opened_twice;
    test::FoundReplica expected = first.found;
    if (first.granted.value_or(false)) expected.hard.vote = how.asker;
    how.create = false;
    how.asker = kNobody;
    const Reopened second = test::reopen(first.disk, how);
    REQUIRE_MESSAGE(!second.error.has_value(), second.error.value_or(""));
    REQUIRE(describe(second.found) == describe(expected));
  }

  /// A crash while it is being opened changes nothing either.
  void check_crashes_of_opening(const DiskImage& disk, const ReplicaWitness::Mark& mark) {
    constexpr std::size_t kPointsMax = 30;
    std::deque<DiskImage> images;
    Reopening how = reopening(mark);
    how.observer = [&](const DiskImage& image, std::uint64_t /*point*/) {
      images.push_back(image);
    };
    const Reopened whole = test::reopen(disk, how);
    REQUIRE_MESSAGE(!whole.error.has_value(), whole.error.value_or(""));
    how.observer = {};
    const std::size_t step = images.size() / kPointsMax + 1;
    for (std::size_t i = 0; i < images.size(); i += step) {
      CAPTURE(i);
      ++tally_.crashed_twice;
      const Reopened again = test::reopen(one_of_states(images[i], i / step), how);
      REQUIRE_MESSAGE(!again.error.has_value(), again.error.value_or(""));
      REQUIRE(describe(again.found) == describe(whole.found));
    }
  }

  /// Nothing that was pending, all of it, and others in turn.
  static DiskImage one_of_states(const DiskImage& image, std::size_t which) {
    CrashStates states(image);
    DiskImage found;
    for (std::size_t i = 0; i <= which % 6; ++i) {
      if (!states.next(found)) break;
    }
    return found;
  }

  const Script script_;
  Tally& tally_;
  ReplicaWitness witness_;
  std::deque<CrashCase> cases_;
};

Tally enumerate(Kind kind, std::uint64_t states_wanted, std::uint64_t states_per_script) {
  Tally tally;
  for (std::uint64_t variant = 0; tally.states < states_wanted; ++variant) {
    // Disks of other scripts have nothing to do with what this one tells.
    tally.disks.clear();
    Enumeration enumeration({.kind = kind, .variant = variant}, tally);
    enumeration.run(std::min(states_per_script, states_wanted - tally.states));
  }
  MESSAGE("scripts: " << tally.scripts << ", write points: " << tally.points << ", crash states: "
                      << tally.states << ", votes granted: " << tally.votes_granted << ", refused: "
                      << tally.votes_refused << ", opened twice: " << tally.opened_twice
                      << ", crashed while being opened: " << tally.crashed_twice);
  CHECK(tally.points > 50);
  CHECK(tally.votes_granted > 0);
  CHECK(tally.votes_refused > 0);
  CHECK(tally.opened_twice > 0);
  CHECK(tally.crashed_twice > 0);
  return tally;
}

}  // namespace

TEST_CASE("a member keeps its word over a power cut at any write point") {
  const Tally tally = enumerate(Kind::member, test::budget(60'000, 2'000), 700);
  CHECK(tally.scripts > 1);
}

TEST_CASE("who founded a group alone keeps its word over a power cut at any write point") {
  const Tally tally = enumerate(Kind::founder, test::budget(20'000, 800), 400);
  CHECK(tally.scripts > 1);
}

TEST_CASE("of what a follower gets at once and stores in parts it tells when it has all of it") {
  enumerate(Kind::large, test::budget(2'000, 120), 120);
}

}  // namespace sentinel
