#pragma once
/// A Bloom filter over the keys of a run: says for certain that a key is not there, or that it may
/// be (about one absent key in a hundred).
///
///   filter = line*, each of 64 bytes
///
/// All bits of a key lie in one line, so that a question costs one miss of the processor's cache
/// (Putze, Sanders and Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007). The upper
/// half of the key's XXH3 hash, scaled to the number of lines, chooses the line; the lower half its
/// bits, by multiplication. Format and hash are the same on every machine.

#include <cstdint>
#include <vector>

#include "core/bytes.h"

namespace sentinel::lsm {

/// What a filter needs to know of a key.
[[nodiscard]] std::uint64_t bloom_hash(core::ByteSpan key);

/// The filter for keys with these hashes; at least one.
[[nodiscard]] std::vector<std::byte> build_bloom(const std::vector<std::uint64_t>& hashes);

/// Whether a key with this hash may be among those that `filter` was built for. True for bytes that
/// are no filter.
[[nodiscard]] bool bloom_may_have(core::ByteSpan filter, std::uint64_t hash);

}  // namespace sentinel::lsm
