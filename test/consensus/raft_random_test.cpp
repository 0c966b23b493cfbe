/// Random schedules of a few replicas: messages delayed, lost, doubled and out of order, writes
/// that take their time, crashes, changes of who takes part. After each step what Raft promises is
/// checked over all replicas.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <map>
#include <set>
#include <string>

#include "test/support/raft_cluster.h"
#include "test/support/seeds.h"

namespace sentinel::consensus {
namespace {

using test::RaftCluster;

MemberId node_of(std::uint64_t number) { return MemberId(static_cast<std::int32_t>(number)); }

struct Totals {
  std::uint64_t elections = 0;
  std::uint64_t committed = 0;
  std::uint64_t crashes = 0;
  std::uint64_t changes = 0;
  std::uint64_t snapshots = 0;
  std::uint64_t truncations = 0;
  std::uint64_t transfers = 0;
  std::uint64_t rounds = 0;
};

class Schedule {
 public:
  Schedule(std::uint64_t seed, Totals& totals)
      : random_(seed), totals_(totals), count_(random_.between(1, 5)), cluster_(make(seed)) {
    loss_ = random_.chance(0.5) ? 0.0 : 0.2;
    doubling_ = random_.chance(0.5) ? 0.0 : 0.1;
    crashes_ = random_.chance(0.3) ? 0.0 : 0.01;
    in_order_ = random_.chance(0.4);
  }

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      step();
      check();
    }
    heal();
  }

 private:
  RaftCluster make(std::uint64_t seed) {
    std::vector<MemberId> voters;
    for (std::uint64_t i = 1; i <= count_; ++i) voters.push_back(node_of(i));
    RaftCluster made(voters, {},
                     {.seed = seed,
                      .message_bytes_max = random_.chance(0.5) ? 1u : 4096u,
                      .messages_in_flight_max = random_.between(1, 4),
                      .tail_bytes_max = random_.chance(0.5) ? 0u : 4096u});
    for (std::uint64_t i = count_ + 1; i <= 5; ++i) made.add_node(node_of(i));
    return made;
  }

  MemberId any() { return node_of(random_.between(1, 5)); }

  void step() {
    const MemberId id = any();
    if (!cluster_.is_up(id)) {
      if (random_.chance(0.1)) cluster_.start(id);
      return;
    }
    const std::uint64_t what = random_.below(1000);
    if (what < 450) {
      deliver();
    } else if (what < 700) {
      cluster_.persist(id);
    } else if (what < 850) {
      cluster_.raft(id).tick();
    } else if (what < 950) {
      propose(id);
    } else if (what < 960) {
      change(id);
    } else if (what < 970) {
      transfer(id);
    } else if (what < 980) {
      ask(id);
    } else if (what < 990) {
      cluster_.trim(id, random_.below(4));
    } else if (random_.chance(crashes_ * 100)) {
      cluster_.crash(id);
      ++totals_.crashes;
      asked_.erase(id);
      return;
    }
    cluster_.collect(id);
  }

  void deliver() {
    auto& network = cluster_.network();
    if (network.empty()) return;
    const std::size_t at = in_order_ ? 0 : random_.below(network.size());
    if (random_.chance(loss_)) return cluster_.drop(at);
    if (std::holds_alternative<SnapshotRequest>(network[at].body)) ++totals_.snapshots;
    if (random_.chance(doubling_)) network.push_back(network[at]);
    cluster_.deliver(at);
  }

  void propose(MemberId id) {
    Raft& raft = cluster_.raft(id);
    const auto before = raft.log().last();
    const auto place = raft.propose({.type = EntryType::command,
                                     .payload = core::Bytes::copy(fmt::format("{}", ++proposed_)),
                                     .end_offset = before.end_offset + 1,
                                     .max_timestamp = before.max_timestamp});
    proposals_ += place.has_value() ? 1 : 0;
  }

  void change(MemberId id) {
    static constexpr ConfigurationChange::Kind kKinds[] = {ConfigurationChange::Kind::add_learner,
                                                           ConfigurationChange::Kind::add_voter,
                                                           ConfigurationChange::Kind::remove};
    const auto made = cluster_.raft(id).propose(
        ConfigurationChange{.kind = kKinds[random_.below(3)], .node = any()});
    totals_.changes += made.has_value() ? 1 : 0;
  }

  void transfer(MemberId id) {
    totals_.transfers += cluster_.raft(id).transfer_to(any()).has_value() ? 1 : 0;
  }

  /// A barrier: whatever anyone knew to be committed when it was asked, its answer must cover.
  void ask(MemberId id) {
    if (!cluster_.raft(id).ready()) return;
    asked_[id] = {cluster_.raft(id).term(), cluster_.raft(id).ask_quorum(), highest_commit()};
  }
  void check_asked() {
    for (const auto& [id, asked] : asked_) {
      if (!cluster_.is_up(id) || cluster_.raft(id).term() != asked.term) continue;
      if (!cluster_.raft(id).is_leader()) continue;
      if (cluster_.node(id).confirmed_round < asked.round) continue;
      REQUIRE(cluster_.raft(id).commit_index() >= asked.committed);
      ++totals_.rounds;
    }
  }
  LogIndex highest_commit() {
    LogIndex highest{0};
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.raft != nullptr) highest = std::max(highest, node.raft->commit_index());
    }
    return highest;
  }

  void check() {
    for (auto& [id, node] : cluster_.nodes()) {
      check_disk(id, node);
      if (node.raft == nullptr) continue;
      node.raft->check_invariants();
      if (node.raft->is_leader()) note_leader(id, node.raft->term());
      check_applied(node);
    }
    check_asked();
  }

  /// At most one leader in a term (R1).
  void note_leader(MemberId id, Term term) {
    const auto [found, first] = leaders_.emplace(term, id);
    REQUIRE(found->second == id);
    totals_.elections += first ? 1 : 0;
  }

  /// A term never goes back on a disk, and one vote a term stays (R1, R2).
  void check_disk(MemberId id, const RaftCluster::Node& node) {
    HardState& seen = hard_[id];
    const HardState& now = node.disk.hard;
    REQUIRE(now.term >= seen.term);
    if (now.term == seen.term && seen.vote != MemberId(0)) REQUIRE(now.vote == seen.vote);
    if (now.term == seen.term && now.commit < seen.commit) return;
    seen = now;
  }

  /// One entry an index, for all replicas and times (R4, R5).
  void check_applied(const RaftCluster::Node& node) {
    const LogIndex until = std::min(node.applied, node.raft->log().last().index);
    for (LogIndex index = node.raft->log().start().index.next(); index <= until;
         index = index.next()) {
      const auto term = node.raft->log().term_at(index);
      REQUIRE(term.has_value());
      const auto [found, first] = applied_.emplace(index, *term);
      REQUIRE(found->second == *term);
      totals_.committed += first ? 1 : 0;
    }
    const auto [state, first] = states_.emplace(node.applied, node.state);
    REQUIRE(state->second == node.state);
  }

  /// Without faults there is a leader soon, and all members have the same.
  void heal() {
    for (std::uint64_t i = 1; i <= 5; ++i) {
      if (!cluster_.is_up(node_of(i))) cluster_.start(node_of(i));
    }
    for (int round = 0; round < 400; ++round) {
      for (auto& [id, node] : cluster_.nodes()) {
        node.raft->tick();
        cluster_.collect(id);
      }
      settle();
      check();
      if (round % 50 == 25) propose_anywhere();
    }
    const MemberId leader = the_leader();
    REQUIRE(leader != MemberId(0));
    REQUIRE(proposals_ > 0);
    for (const MemberId member : cluster_.raft(leader).configuration().members()) {
      CAPTURE(member);
      REQUIRE(cluster_.node(member).applied == cluster_.node(leader).applied);
      REQUIRE(cluster_.node(member).state == cluster_.node(leader).state);
    }
    REQUIRE(cluster_.raft(leader).commit_index() == cluster_.raft(leader).log().last().index);
  }
  void settle() {
    for (bool busy = true; busy;) {
      busy = false;
      for (auto& [id, node] : cluster_.nodes()) {
        while (cluster_.persist(id)) busy = true;
      }
      while (!cluster_.network().empty()) {
        cluster_.deliver(0);
        busy = true;
      }
    }
  }
  void propose_anywhere() {
    for (auto& [id, node] : cluster_.nodes()) {
      if (node.raft->is_leader()) propose(id);
      cluster_.collect(id);
    }
  }
  MemberId the_leader() {
    MemberId found{0};
    for (auto& [id, node] : cluster_.nodes()) {
      const bool newer = found == MemberId(0) || node.raft->term() > cluster_.raft(found).term();
      if (node.raft->ready() && newer) found = id;
    }
    return found;
  }

  struct Asked {
    Term term;
    std::uint64_t round = 0;
    LogIndex committed;
  };

  core::Random random_;
  Totals& totals_;
  const std::uint64_t count_;
  RaftCluster cluster_;
  double loss_ = 0;
  double doubling_ = 0;
  double crashes_ = 0;
  bool in_order_ = false;
  std::uint64_t proposed_ = 0;
  std::uint64_t proposals_ = 0;  // That a leader took.
  std::map<Term, MemberId> leaders_;
  std::map<MemberId, HardState> hard_;
  std::map<LogIndex, Term> applied_;
  std::map<LogIndex, std::string> states_;
  std::map<MemberId, Asked> asked_;
};

}  // namespace

TEST_CASE("random schedules of a group keep every promise of Raft, and heal") {
  Totals totals;
  const test::SeedRange seeds = test::seeds("SENTINEL_RAFT_SEEDS", 300);
  for (std::uint64_t seed = seeds.begin; seed < seeds.end; ++seed) {
    INFO("replay: SENTINEL_RAFT_SEEDS=" << seed << ".." << seed + 1);
    Schedule schedule(seed, totals);
    schedule.run(3000);
  }
  MESSAGE("seeds: " << seeds.end - seeds.begin << ", elections: " << totals.elections
                    << ", committed: " << totals.committed << ", crashes: " << totals.crashes
                    << ", changes of members: " << totals.changes
                    << ", snapshots: " << totals.snapshots << ", transfers: " << totals.transfers
                    << ", rounds: " << totals.rounds);
  CHECK(totals.committed > 1000);
  CHECK(totals.changes > 50);
  CHECK(totals.snapshots > 10);
}

}  // namespace sentinel::consensus
