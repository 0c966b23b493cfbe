#pragma once
/// What nodes send each other: frames with a type and a checksum.
///
///   size of what follows (4) | CRC-32C of the rest (4) | type (1) | body
///
/// The checksum is for what TCP's own lets through; a frame that fails it ends the connection.

#include "core/bytes.h"
#include "core/result.h"

namespace sentinel::net::rpc {

/// The largest record batch fits, and so does the metadata of 200,000 partitions.
inline constexpr std::uint32_t kPeerFrameBytesMax = 32u << 20;

enum class FrameType : std::uint8_t {
  hello = 1,    ///< From who connects: Hello.
  welcome = 2,  ///< The answer: Welcome, or
  refused = 3,  ///< Refused, and the end.
  heartbeat = 4,
  group = 5,    ///< consensus::PeerMessage.
  leaders = 6,  ///< LeadersNote.
  request = 7,  ///< RequestHead and what goes with it; answered on the same connection.
  answer = 8,   ///< The request's number and the answer.
};

core::Chain make_frame(FrameType type, core::Chain body);

struct ReceivedFrame {
  FrameType type = FrameType::heartbeat;
  core::Bytes body;
};
/// Checks what followed the size. Errc::corruption.
core::Result<ReceivedFrame> open_frame(const core::Bytes& frame);

}  // namespace sentinel::net::rpc
