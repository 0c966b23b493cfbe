#pragma once
/// How one ceiling of memory becomes the limits of all that grows: nobody has to configure parts.

#include <cstddef>
#include <cstdint>

#include "core/result.h"

namespace sentinel::net::kafka {

/// In bytes, unless a name says otherwise.
struct MemoryPlan {
  std::size_t memtable =
      0;                  ///< Of each store, which has three at most, and keeps the memory of one.
  std::size_t cache = 0;  ///< Blocks of tables, for each shard.
  std::size_t read_ahead = 0;   ///< For streams of cold records, for each shard.
  std::size_t requests = 0;     ///< Being received or served on one shard; beyond, sockets wait.
  std::size_t responses = 0;    ///< Records on their way out of one shard; beyond, fetches wait.
  std::size_t connections = 0;  ///< A count, for each shard.
};

/// Errc::out_of_memory, with a sentence that says how much it takes, when `ceiling` is too little.
core::Result<MemoryPlan> plan_memory(std::uint64_t ceiling, std::uint32_t shards,
                                     std::uint32_t stores);

}  // namespace sentinel::net::kafka
