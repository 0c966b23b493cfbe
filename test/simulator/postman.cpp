#include "test/simulator/postman.h"

#include "consensus/peer_message.h"
#include "core/assert.h"

namespace sentinel::simulator {

using consensus::GroupId;
using consensus::RaftMessage;

namespace {
constexpr std::size_t kKeptMax = 64;
// Large ones would take long, and say no more.
constexpr std::size_t kBytesMax = std::size_t{4} << 10;
}  // namespace

std::vector<RaftMessage> Postman::deliver(GroupId group, RaftMessage message) {
  const Mailbox mailbox{group, message.to};
  const std::deque<core::Bytes>& kept = kept_[mailbox];
  std::vector<RaftMessage> handed;
  if (!kept.empty() && random_.chance(rate_)) {
    auto again = consensus::decode_peer_message(kept[random_.below(kept.size())]);
    SENTINEL_ASSERT(again.has_value() && again->message.has_value());
    handed.push_back(std::move(*again->message));
  }
  keep(mailbox, message);
  if (!random_.chance(rate_)) handed.push_back(std::move(message));
  return handed;
}

void Postman::keep(const Mailbox& mailbox, const RaftMessage& message) {
  // A part of them, so that some are old.
  if (!random_.chance(0.2)) return;
  const core::Chain encoded =
      consensus::encode_peer_message({.group = mailbox.first, .settle_at = {}, .message = message});
  if (encoded.size() > kBytesMax) return;
  std::deque<core::Bytes>& kept = kept_[mailbox];
  kept.push_back(core::Bytes::copy(encoded.joined()));
  if (kept.size() > kKeptMax)
    kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(random_.below(kKeptMax)));
}

}  // namespace sentinel::simulator
