#pragma once
/// The codecs of record batches. Output is bounded, so that a few bytes from a client can't become
/// gigabytes here.

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string_view>

#include "core/bytes.h"
#include "core/result.h"

namespace sentinel::consensus {

/// Numbers as in a batch's attributes.
enum class Codec : std::uint8_t { none = 0, gzip = 1, snappy = 2, lz4 = 3, zstd = 4 };

std::string_view to_string(Codec codec);
std::optional<Codec> parse_codec(std::string_view name);

// A batch is stored without being inflated, so what clients really send must fit: they bound it
// before compression, by 1 MiB unless told otherwise. Above a size that any process can spare for a
// moment the bound follows the input, since logs and JSON shrink to a 50th at best.
inline constexpr std::size_t kInflatedBytesFree = std::size_t{16} << 20;
inline constexpr std::size_t kInflationRatioMax = 64;
inline constexpr std::size_t kInflatedBytesMax = std::size_t{64} << 20;

/// What the records of one batch may inflate to, given their compressed size.
constexpr std::size_t inflated_bytes_max(std::size_t packed_bytes) {
  if (packed_bytes >= kInflatedBytesMax / kInflationRatioMax) return kInflatedBytesMax;
  return std::max(kInflatedBytesFree, packed_bytes * kInflationRatioMax);
}

/// gzip, bare snappy, one lz4 frame, one zstd frame: what Kafka's clients call these codecs.
core::Bytes compress(Codec codec, core::ByteSpan plain);
/// Also takes snappy in the blocks of Java clients. All of `packed` must be used up.
/// Errc::corruption for malformed input, too_large beyond `bytes_max`, out_of_memory.
core::Result<core::Bytes> decompress(Codec codec, core::ByteSpan packed, std::size_t bytes_max);

}  // namespace sentinel::consensus
