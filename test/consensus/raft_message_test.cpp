#include "consensus/raft_message.h"

#include <doctest/doctest.h>

#include "test/support/raft_entries.h"

namespace sentinel::consensus {
namespace {

using test::raft_entry;
using test::raft_place;

bool sound(AppendRequest request) {
  return is_well_formed({.from = MemberId(1), .to = MemberId(2), .term = Term(3), .body = request});
}

LogEntry configuration_entry(core::Bytes payload) {
  LogEntry entry = raft_entry(3, 2);
  entry.key.type = EntryType::internal;
  entry.payload = std::move(payload);
  return entry;
}

TEST_CASE("entries that do not follow each other, or come from a later term, make no message") {
  const LogPosition previous = raft_place(2, 1);
  CHECK(sound({previous, {raft_entry(3, 1), raft_entry(4, 3)}, LogIndex(9)}));
  CHECK(sound({previous, {}, {}}));
  CHECK_FALSE(sound({previous, {raft_entry(4, 1)}, {}}));
  CHECK_FALSE(sound({previous, {raft_entry(3, 1), raft_entry(3, 1)}, {}}));
  CHECK_FALSE(sound({previous, {raft_entry(3, 0)}, {}}));
  CHECK_FALSE(sound({previous, {raft_entry(3, 3), raft_entry(4, 2)}, {}}));
  CHECK_FALSE(sound({previous, {raft_entry(3, 4)}, {}}));
  CHECK_FALSE(sound({raft_place(2, 4), {}, {}}));
}

TEST_CASE("a configuration comes back as it was, and nothing else is one") {
  const Configuration group{{MemberId(1), MemberId(3)}, {MemberId(2)}};
  const auto decoded = decode_configuration(encode_configuration(group));
  REQUIRE(decoded.has_value());
  CHECK(*decoded == group);
  CHECK(sound({raft_place(2, 1), {configuration_entry(encode_configuration(group))}, {}}));
  for (const Configuration& bad :
       {Configuration{{}, {MemberId(1)}}, Configuration{{MemberId(3), MemberId(1)}, {}},
        Configuration{{MemberId(1), MemberId(1)}, {}},
        Configuration{{MemberId(1)}, {MemberId(1)}}}) {
    CHECK_FALSE(decode_configuration(encode_configuration(bad)).has_value());
    CHECK_FALSE(sound({raft_place(2, 1), {configuration_entry(encode_configuration(bad))}, {}}));
  }
  CHECK_FALSE(decode_configuration(core::as_bytes("nonsense")).has_value());
  // An entry without a payload begins a term.
  CHECK(sound({raft_place(2, 1), {configuration_entry({})}, {}}));
}

TEST_CASE("a snapshot of a later term, or without members, makes no message") {
  const auto snapshot_sound = [](std::uint64_t term, Configuration members) {
    SnapshotRequest request{
        {.last = test::raft_key(5, term), .configuration = members, .state = {}}};
    return is_well_formed(
        {.from = MemberId(1), .to = MemberId(2), .term = Term(3), .body = std::move(request)});
  };
  CHECK(snapshot_sound(3, {{MemberId(1)}, {}}));
  CHECK_FALSE(snapshot_sound(4, {{MemberId(1)}, {}}));
  CHECK_FALSE(snapshot_sound(3, {}));
}

}  // namespace
}  // namespace sentinel::consensus
