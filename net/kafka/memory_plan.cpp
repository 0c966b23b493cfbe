#include "net/kafka/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>

#include "consensus/topic_config.h"

namespace sentinel::net::kafka {

namespace {

constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
// Program, stacks and rings; what a store needs for its log, a flush and a merge.
constexpr std::uint64_t kProcessBytes = 24 * kMiB;
constexpr std::uint64_t kShardBytes = 8 * kMiB;
constexpr std::uint64_t kStoreBytes = 12 * kMiB;
// The largest batch has to come in and go out.
constexpr std::uint64_t kFlowMin = consensus::kBatchBytesMax + kMiB;
constexpr std::uint64_t kFlowMax = 256 * kMiB;
// Three at most, and the memory of one that is gone, for the next.
constexpr std::uint64_t kMemtablesOfStore = 4;
constexpr std::uint64_t kMemtableMin = kMiB;
// Larger ones make recovery longer and nothing faster.
constexpr std::uint64_t kMemtableMax = 32 * kMiB;
constexpr std::uint64_t kCacheMin = kMiB;
// A few streams; and as many as one consumer of a hundred partitions has.
constexpr std::uint64_t kReadAheadMin = 4 * kMiB;
constexpr std::uint64_t kReadAheadMax = 128 * kMiB;
// What a connection takes beyond the requests and responses that are counted.
constexpr std::uint64_t kConnectionBytes = 32 << 10;
constexpr std::uint64_t kConnectionsMin = 256;
constexpr std::uint64_t kConnectionsMax = 10'000;

}  // namespace

core::Result<MemoryPlan> plan_memory(std::uint64_t ceiling, std::uint32_t shards,
                                     std::uint32_t stores) {
  const std::uint64_t fixed = kProcessBytes + shards * kShardBytes + stores * kStoreBytes;
  const std::uint64_t least =
      fixed +
      shards * (2 * kFlowMin + kConnectionsMin * kConnectionBytes + kReadAheadMin + kCacheMin) +
      stores * kMemtablesOfStore * kMemtableMin;
  if (ceiling < least) {
    return core::fail(core::Errc::out_of_memory,
                      fmt::format("--memory {}MiB is too little for {} shards and {} stores; it "
                                  "takes {}MiB, or fewer --shards",
                                  ceiling / kMiB, shards, stores, (least + kMiB - 1) / kMiB));
  }
  // Each part takes its share of what the ones before have left, within its own bounds.
  std::uint64_t left = ceiling - least;
  const auto grow = [&left](std::uint64_t from, std::uint64_t to, std::uint64_t count,
                            std::uint64_t divisor) {
    const std::uint64_t more = std::min(to - from, left / divisor / count);
    left -= more * count;
    return from + more;
  };
  MemoryPlan plan;
  plan.connections =
      grow(kConnectionsMin * kConnectionBytes, kConnectionsMax * kConnectionBytes, shards, 8) /
      kConnectionBytes;
  plan.requests = grow(kFlowMin, kFlowMax, shards, 4);
  plan.responses = grow(kFlowMin, kFlowMax, shards, 4);
  plan.read_ahead = grow(kReadAheadMin, kReadAheadMax, shards, 8);
  plan.memtable =
      grow(kMemtableMin * kMemtablesOfStore, kMemtableMax * kMemtablesOfStore, stores, 2) /
      kMemtablesOfStore;
  plan.cache = grow(kCacheMin, ceiling, shards, 1);
  return plan;
}

}  // namespace sentinel::net::kafka
