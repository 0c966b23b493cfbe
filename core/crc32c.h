#pragma once
/// CRC-32C (Castagnoli): the checksum of Kafka's record batches and of everything we store.
///
/// Source: RFC 3720, appendix B.4; the three-way interleaving follows Intel's "Fast CRC Computation
/// for iSCSI Polynomial Using CRC32 Instruction".

#include <cstdint>

#include "core/bytes.h"

namespace sentinel::core {

std::uint32_t crc32c(ByteSpan data);
/// The checksum of what `crc` covers followed by `data`.
std::uint32_t crc32c_extend(std::uint32_t crc, ByteSpan data);

/// The variants behind the two functions above, for tests and benchmarks. All take and return the
/// checksum as crc32c_extend() does.
namespace crc32c_variants {
std::uint32_t table(std::uint32_t crc, ByteSpan data);
/// The CPU's crc32 instruction, one stream. Only where supported() holds.
std::uint32_t simple(std::uint32_t crc, ByteSpan data);
/// Three streams joined by carry-less multiplication. Only where supported() holds.
std::uint32_t interleaved(std::uint32_t crc, ByteSpan data);
bool supported();
}  // namespace crc32c_variants

}  // namespace sentinel::core
