/// What scripts and random schedules hardly ever come to: single messages to a single replica.

#include "consensus/raft.h"

#include <doctest/doctest.h>

#include "test/support/raft_entries.h"

namespace sentinel::consensus {
namespace {

using test::raft_entry;
using test::raft_key;
using test::raft_place;

/// Node 1 of three, with entries 1 to 3 of term 1, of which the first is committed.
struct Fixture {
  core::Random random{1};
  Raft raft{{.self = MemberId(1)},
            {.hard = {.term = Term(1), .vote = MemberId(2), .commit = LogIndex(1)},
             .log = {.start = raft_key(0, 0),
                     .terms = {{Term(1), raft_key(0, 0)}},
                     .base = raft_key(1, 1),
                     .tail = {raft_entry(2, 1), raft_entry(3, 1)}},
             .configurations = {{LogIndex(0), {{MemberId(1), MemberId(2), MemberId(3)}, {}}}}},
            random};

  void hear(Term term, decltype(RaftMessage::body) body) {
    raft.step({.from = MemberId(2), .to = MemberId(1), .term = term, .body = std::move(body)});
    raft.check_invariants();
  }
};

TEST_CASE_FIXTURE(Fixture, "a follower commits no further than its log is known to agree") {
  // The leader's entry 3 may be another one.
  hear(Term(2), AppendRequest{raft_place(1, 1), {raft_entry(2, 1)}, LogIndex(3)});
  CHECK(raft.commit_index() == LogIndex(2));
  hear(Term(2), AppendRequest{raft_place(2, 1), {raft_entry(3, 2)}, LogIndex(3)});
  CHECK(raft.commit_index() == LogIndex(3));
  CHECK(raft.log().last_position() == raft_place(3, 2));
}

TEST_CASE_FIXTURE(Fixture, "an answer says how far the log agrees, not how long it is") {
  hear(Term(2), AppendRequest{raft_place(1, 1), {}, LogIndex(1)});
  const Raft::Output output = raft.take_output();
  REQUIRE(output.messages_once_durable.size() == 1);
  const auto& answer = std::get<AppendAnswer>(output.messages_once_durable.front().body);
  CHECK(answer.accepted);
  CHECK(answer.last == raft_place(1, 1));
}

TEST_CASE_FIXTURE(Fixture, "a malformed message changes nothing") {
  hear(Term(9), AppendRequest{raft_place(1, 1), {raft_entry(5, 1)}, LogIndex(5)});
  CHECK(raft.term() == Term(1));
  CHECK_FALSE(raft.has_output());
}

TEST_CASE_FIXTURE(Fixture, "the own vote counts once it is on disk") {
  raft.campaign();
  const Raft::Output output = raft.take_output();
  hear(Term(2), VoteAnswer{.pre = false, .granted = true});
  CHECK(raft.role_name() == "candidate");
  raft.persisted(output.durable);
  CHECK(raft.is_leader());
}

TEST_CASE_FIXTURE(Fixture, "what conflicts with the leader's log gives way to it") {
  hear(Term(2), AppendRequest{raft_place(1, 1), {raft_entry(2, 2)}, LogIndex(1)});
  const Raft::Output output = raft.take_output();
  REQUIRE(output.entries.size() == 1);
  CHECK(output.entries.front().key.index == LogIndex(2));
  CHECK(output.entries.front().key.term == Term(2));
  CHECK(raft.log().last().index == LogIndex(2));
  CHECK(output.hard->term == Term(2));
}

/// Node 1 left when its log ended with entry 5 of term 3, erased it, and gets the log anew.
struct Returned {
  core::Random random{1};
  Raft raft{{.self = MemberId(1)},
            {.hard = {.term = Term(3), .vote = MemberId(0), .commit = LogIndex(0)},
             .log = {.start = raft_key(0, 0), .terms = {}, .base = raft_key(0, 0), .tail = {}},
             .configurations = {{LogIndex(0), {}}},
             .had = raft_place(5, 3)},
            random};

  std::vector<RaftMessage> hear(Term term, decltype(RaftMessage::body) body) {
    raft.step({.from = MemberId(2), .to = MemberId(1), .term = term, .body = std::move(body)});
    Raft::Output output = raft.take_output();
    raft.persisted(output.durable);
    std::vector<RaftMessage> sent = std::move(output.messages);
    for (RaftMessage& message : output.messages_once_durable) sent.push_back(std::move(message));
    return sent;
  }
  bool votes_for(Term term, LogPosition last) {
    const auto sent = hear(term, VoteRequest{.pre = false, .transfer = true, .last = last});
    return std::get<VoteAnswer>(sent.at(0).body).granted;
  }
};

TEST_CASE_FIXTURE(Returned, "who erased its log does not vote for one that has less than it had") {
  CHECK_FALSE(votes_for(Term(4), raft_place(4, 3)));
  CHECK_FALSE(votes_for(Term(5), raft_place(9, 2)));
  CHECK(votes_for(Term(6), raft_place(5, 3)));
}

TEST_CASE_FIXTURE(Returned,
                  "who erased its log does not run by configurations of its earlier stay") {
  // It was the only one for a while, and another one of two.
  LogEntry alone = raft_entry(1, 1);
  alone.key.type = EntryType::internal;
  alone.payload = encode_configuration({.voters = {MemberId(1)}, .learners = {}});
  hear(Term(4), AppendRequest{raft_place(0, 0), {alone, raft_entry(2, 1)}, LogIndex(2)});
  REQUIRE(raft.configuration().has_voter(MemberId(1)));
  for (int i = 0; i < 50; ++i) raft.tick();
  CHECK(raft.role_name() == "follower");
  raft.campaign();
  CHECK(raft.role_name() == "follower");
  hear(Term(4), AppendRequest{raft_place(2, 1), {raft_entry(3, 4)}, LogIndex(2)});
  for (int i = 0; i < 50; ++i) raft.tick();
  CHECK(raft.role_name() != "follower");
}

}  // namespace
}  // namespace sentinel::consensus
