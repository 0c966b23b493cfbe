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

}  // namespace
}  // namespace sentinel::consensus
