#include "consensus/peer_message.h"

#include <doctest/doctest.h>

#include "test/support/raft_entries.h"

namespace sentinel::consensus {
namespace {

using test::raft_entry;
using test::raft_key;
using test::raft_place;

std::vector<PeerMessage> one_of_each() {
  std::vector<PeerMessage> all;
  const auto add = [&](decltype(RaftMessage::body) body) {
    all.push_back({.group = GroupId(7),
                   .settle_at = LogIndex(all.size()),
                   .message = RaftMessage{.from = member_of(NodeId(1), 2),
                                          .to = member_of(NodeId(3), 1),
                                          .term = Term(5),
                                          .body = std::move(body)}});
  };
  add(VoteRequest{.pre = true, .transfer = false, .last = raft_place(4, 3)});
  add(VoteAnswer{.pre = false, .granted = true});
  add(AppendRequest{raft_place(4, 3), {raft_entry(5, 4), raft_entry(6, 5)}, LogIndex(4)});
  add(AppendRequest{raft_place(4, 3), {}, LogIndex(4)});
  add(AppendAnswer{.accepted = true, .last = raft_place(6, 5), .refused = LogIndex(9)});
  add(Heartbeat{.commit = LogIndex(3), .round = 8});
  add(HeartbeatAnswer{.round = 8});
  add(SnapshotRequest{{.last = raft_key(6, 5),
                       .configuration = {{MemberId(1), MemberId(2)}, {MemberId(3)}},
                       .state = core::Bytes::copy("state")}});
  add(CampaignRequest{});
  all.push_back({.group = GroupId(7), .settle_at = {}, .message = {}});
  return all;
}

TEST_CASE("every message comes out as it went in") {
  for (const PeerMessage& message : one_of_each()) {
    const core::Bytes encoded = encode_peer_message(message).joined();
    const auto decoded = decode_peer_message(encoded);
    REQUIRE(decoded.has_value());
    CHECK(decoded->group == message.group);
    CHECK(decoded->settle_at == message.settle_at);
    CHECK(decoded->message.has_value() == message.message.has_value());
    CHECK(core::equal(encode_peer_message(*decoded).joined(), encoded));
  }
}

TEST_CASE("a message that is cut, or longer, is none") {
  for (const PeerMessage& message : one_of_each()) {
    const core::Bytes encoded = encode_peer_message(message).joined();
    // A snapshot's state reaches to the end, whatever its length.
    const bool open = message.message.has_value() &&
                      std::holds_alternative<SnapshotRequest>(message.message->body);
    for (std::size_t length = 0; length + (open ? 5 : 0) < encoded.size(); ++length)
      CHECK_FALSE(decode_peer_message(encoded.slice(0, length)).has_value());
    core::Chain longer(encoded);
    longer.append(core::Bytes::copy("x"));
    CHECK(decode_peer_message(longer.joined()).has_value() == open);
  }
}

}  // namespace
}  // namespace sentinel::consensus
