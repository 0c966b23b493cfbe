#pragma once
/// The reading half of sentinel-load: one consumer that reads a topic from its start to the end
/// that it had when the run began, and does as little as possible with a byte.
///
/// Each request asks for partitions that no other request is under way for, so that offsets follow
/// each other without guessing. Batches are walked by their headers: their offsets have to be
/// contiguous.

#include <cstdint>
#include <string>

#include "core/result.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::perf {

struct DrainOptions {
  std::string broker;
  std::string topic;
  std::int32_t connections = 1;
  std::int32_t in_flight = 1;           ///< Fetches on their way on each connection.
  std::int32_t partitions_a_fetch = 1;  ///< Asked for in one request.
  std::int32_t fetch_bytes = 1 << 20;   ///< Of one partition in one answer, at most.
  bool verify = false;                  ///< Whether the checksum of each batch is checked.
  std::string json;                     ///< Where to write the figures; empty: nowhere.
};

/// Reads, prints the figures, and says with what code the program ends. `options` outlive the task.
core::Task<core::ExitCode> drain(core::Shard& shard, const DrainOptions* options);

}  // namespace sentinel::perf
