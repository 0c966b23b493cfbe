#pragma once
/// Hands messages between replicas over twice, or not at all, or again long after: also those that
/// were sent to an earlier life of the receiver. What TCP and the handshake of connections keep
/// away, the protocol has to bear by itself.

#include <deque>
#include <map>
#include <utility>
#include <vector>

#include "consensus/raft_message.h"
#include "core/random.h"

namespace sentinel::simulator {

class Postman {
 public:
  /// `rate`: how often something is lost, and how often something comes again.
  Postman(double rate, std::uint64_t seed) : rate_(rate), random_(seed) {}

  /// What is handed over in place of a message.
  std::vector<consensus::RaftMessage> deliver(consensus::GroupId group,
                                              consensus::RaftMessage message);

 private:
  using Mailbox = std::pair<consensus::GroupId, consensus::MemberId>;
  void keep(const Mailbox& mailbox, const consensus::RaftMessage& message);

  const double rate_;
  core::Random random_;
  std::map<Mailbox, std::deque<core::Bytes>> kept_;  // Encoded: they outlive their buffers.
};

}  // namespace sentinel::simulator
