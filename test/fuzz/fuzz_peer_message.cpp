/// Feeds bytes to what nodes read from each other: frames, handshakes and messages of replicas.
/// What decodes must encode to something that decodes to the same.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <tuple>

#include "consensus/peer_message.h"
#include "net/rpc/frame.h"
#include "net/rpc/handshake.h"

namespace {

using namespace sentinel;

void check_message(const core::Bytes& input) {
  const auto message = consensus::decode_peer_message(input);
  if (!message) return;
  if (message->message.has_value()) std::ignore = consensus::is_well_formed(*message->message);
  const core::Bytes encoded = consensus::encode_peer_message(*message).joined();
  const auto again = consensus::decode_peer_message(encoded);
  if (!again || !core::equal(consensus::encode_peer_message(*again).joined(), encoded))
    std::abort();
}

template <typename T>
void check_fields(core::ByteSpan input) {
  const auto decoded = core::decode_fields<T>(input);
  if (!decoded) return;
  const core::Bytes encoded = core::encode_fields(*decoded);
  const auto again = core::decode_fields<T>(encoded);
  if (!again || !core::equal(core::encode_fields(*again), encoded)) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const core::Bytes input = core::Bytes::copy(std::as_bytes(std::span(data, size)));
  check_message(input);
  check_fields<net::rpc::Hello>(input);
  check_fields<net::rpc::Welcome>(input);
  check_fields<net::rpc::Refused>(input);
  std::ignore = net::rpc::open_frame(input);
  return 0;
}
