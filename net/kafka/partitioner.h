#pragma once
/// Where a record with a key goes: the same partition that Kafka's own clients choose, so that
/// records of one key stay in order whichever program writes them.

#include <cstdint>

#include "core/bytes.h"

namespace sentinel::net::kafka {

/// MurmurHash2 (Austin Appleby, 32 bits, little-endian words) with the seed of the Java client.
std::uint32_t murmur2(core::ByteSpan data);

/// The partition in [0, partition_count) for `key`, as the Java client's default partitioner
/// chooses it; `partition_count` is positive. An empty key is a key.
std::int32_t partition_of_key(core::ByteSpan key, std::int32_t partition_count);

}  // namespace sentinel::net::kafka
