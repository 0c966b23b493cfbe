/// Feeds bytes to every codec's decoder, and through every codec and back.
///
/// Input: codec (1 byte), bound of the output in KiB (1 byte), data.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "consensus/compression.h"

namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;
  if (size < 2) return 0;
  const auto codec = static_cast<consensus::Codec>(data[0] % 5);
  const std::size_t bytes_max = std::size_t{data[1]} << 10;
  const core::ByteSpan input = std::as_bytes(std::span(data + 2, size - 2));
  if (const auto plain = consensus::decompress(codec, input, bytes_max)) {
    require(plain->size() <= bytes_max);
  } else {
    require(plain.error().code == core::Errc::corruption ||
            plain.error().code == core::Errc::too_large);
  }
  const auto again = consensus::decompress(codec, consensus::compress(codec, input), input.size());
  require(again.has_value());
  require(core::equal(*again, input));
  return 0;
}
