#pragma once
/// The codecs of record batches. Output is bounded, so that a few bytes from a client can't become
/// gigabytes here.

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

/// What a batch may inflate to at most.
inline constexpr std::size_t kInflatedBytesMax = std::size_t{64} << 20;

core::Bytes compress(Codec codec, core::ByteSpan plain);
/// Errc::corruption for malformed input, too_large beyond `bytes_max`.
core::Result<core::Bytes> decompress(Codec codec, core::ByteSpan packed,
                                     std::size_t bytes_max = kInflatedBytesMax);

}  // namespace sentinel::consensus
