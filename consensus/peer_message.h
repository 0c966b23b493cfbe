#pragma once
/// What the replicas of a group send each other, in bytes.
///
///   header    group, where to settle, then sender, receiver, term and kind of a RaftMessage, and
///             its fields (core/codec.h)
///   payloads  of an AppendRequest's entries, or a snapshot's state, one behind the other
///
/// Payloads are slices on both sides: they are not copied on their way from the socket to the log.

#include <optional>

#include "consensus/raft_message.h"
#include "core/bytes.h"
#include "core/result.h"

namespace sentinel::consensus {

struct PeerMessage {
  GroupId group;
  /// With a heartbeat: nothing more will come behind this entry unless something happens, and the
  /// follower may rest. With an answer: it does. 0: neither. See MultiRaft.
  LogIndex settle_at;
  std::optional<RaftMessage> message;  ///< None: whoever rests is to wake up.
};

core::Chain encode_peer_message(const PeerMessage& message);
/// Errc::corruption for anything but what encode_peer_message() makes.
core::Result<PeerMessage> decode_peer_message(const core::Bytes& bytes);

}  // namespace sentinel::consensus
