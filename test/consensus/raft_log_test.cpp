#include "consensus/raft_log.h"

#include <doctest/doctest.h>

#include "test/support/raft_entries.h"

namespace sentinel::consensus {
namespace {

using test::raft_entry;
using test::raft_key;
using test::raft_place;

/// Behind entry 2 of term 1: 3 and 4 of term 1, 5 of term 3, 6 and 7 of term 4. All on disk.
RaftLog a_log() {
  return RaftLog({.start = raft_key(2, 1),
                  .terms = {{Term(3), raft_key(4, 1)}},
                  .base = raft_key(5, 3),
                  .tail = {raft_entry(6, 4), raft_entry(7, 4)}});
}

TEST_CASE("the term of every entry is known, also of those that are not in memory") {
  const RaftLog log = a_log();
  CHECK_FALSE(log.term_at(LogIndex(1)).has_value());
  CHECK(log.term_at(LogIndex(2)) == Term(1));
  CHECK(log.term_at(LogIndex(4)) == Term(1));
  CHECK(log.term_at(LogIndex(5)) == Term(3));
  CHECK(log.term_at(LogIndex(7)) == Term(4));
  CHECK_FALSE(log.term_at(LogIndex(8)).has_value());
}

TEST_CASE("a log that differs may agree up to the last entry of no later term") {
  const RaftLog log = a_log();
  CHECK(log.last_not_above(LogIndex(9), Term(9)) == raft_place(7, 4));
  CHECK(log.last_not_above(LogIndex(6), Term(4)) == raft_place(6, 4));
  CHECK(log.last_not_above(LogIndex(7), Term(3)) == raft_place(5, 3));
  CHECK(log.last_not_above(LogIndex(7), Term(2)) == raft_place(2, 1));
}

TEST_CASE("a write that is complete says nothing of an entry that has replaced its own") {
  RaftLog log = a_log();
  log.append(raft_entry(8, 4));
  log.append(raft_entry(9, 4));
  log.truncate_from(LogIndex(8));
  log.append(raft_entry(8, 5));
  log.append(raft_entry(9, 5));
  log.persisted(raft_place(9, 4));
  CHECK(log.stable() == LogIndex(7));
  log.persisted(raft_place(9, 5));
  CHECK(log.stable() == LogIndex(9));
}

TEST_CASE("what was dropped is not on disk, and its terms are gone") {
  RaftLog log = a_log();
  log.truncate_from(LogIndex(6));
  CHECK(log.stable() == LogIndex(5));
  CHECK(log.last_position() == raft_place(5, 3));
  log.append(raft_entry(6, 5));
  CHECK(log.term_at(LogIndex(6)) == Term(5));
  CHECK(log.stable() == LogIndex(5));
}

TEST_CASE("giving up the beginning keeps the terms of the rest") {
  RaftLog log = a_log();
  log.trim(raft_key(5, 3));
  CHECK_FALSE(log.term_at(LogIndex(4)).has_value());
  CHECK(log.term_at(LogIndex(5)) == Term(3));
  CHECK(log.term_at(LogIndex(6)) == Term(4));
  log.trim(raft_key(6, 4));
  CHECK(log.term_at(LogIndex(6)) == Term(4));
  CHECK(log.term_at(LogIndex(7)) == Term(4));
  CHECK(log.entries_behind(LogIndex(6), 1)->size() == 1);
}

TEST_CASE("entries come as many as fit, one at least, and not at all when they are not in memory") {
  RaftLog log = a_log();
  CHECK(log.entries_behind(LogIndex(5), 1)->size() == 1);
  CHECK(log.entries_behind(LogIndex(5), 10'000)->size() == 2);
  CHECK(log.entries_behind(LogIndex(7), 10'000)->empty());
  CHECK_FALSE(log.entries_behind(LogIndex(4), 10'000).has_value());
  log.append(raft_entry(8, 4));  // Not on disk: stays.
  log.forget(LogIndex(8), 0);
  CHECK_FALSE(log.entries_behind(LogIndex(6), 10'000).has_value());
  CHECK(log.entries_behind(LogIndex(7), 10'000)->size() == 1);
  CHECK(log.key_at(LogIndex(7)) != nullptr);
  CHECK(log.key_at(LogIndex(6)) == nullptr);
}

}  // namespace
}  // namespace sentinel::consensus
