/// Feeds bytes to the decoder of producer snapshots. What decodes must be sound, and encode to the
/// same bytes again.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "consensus/producer_state.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;
  const core::ByteSpan input = std::as_bytes(std::span(data, size));
  auto state = consensus::ProducerState::decode(input);
  if (!state) return 0;
  state->check_invariants();
  // A count may be written as a longer varint than it needs, so bytes are compared one round later.
  const core::Bytes encoded = state->encode();
  const auto again = consensus::ProducerState::decode(encoded);
  if (!again || !core::equal(again->encode(), encoded)) std::abort();
  if (encoded.size() > size) std::abort();
  state->expire(0);
  state->check_invariants();
  return 0;
}
