#pragma once
/// Decides how the blocks of a table file are grouped into runs.
///
/// A part of the keys that begins with the same few bytes, a group, gets runs of its own as soon as
/// it is large enough: an append-only group never overlaps anything older, so that its runs need
/// not be written again. Small groups share a run. A large stretch is cut now and then, so that a
/// compaction rewrites little at a time, and so that retention frees what it drops.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lsm/table_info.h"

namespace sentinel::lsm {

struct RunRules {
  /// The first bytes of a key that name its group; with 0 all keys are one group.
  std::size_t group_bytes = 0;
  /// A group of this size has its own runs.
  std::uint64_t own_bytes = std::uint64_t{64} << 10;
  /// A run is ended behind the block that reaches this size.
  std::uint64_t run_bytes = std::uint64_t{4} << 20;
  /// A run that has no key before this one gets a filter: where keys are looked up one by one, and
  /// are often not there. Elsewhere a filter would never be asked.
  std::optional<std::string> filters_from = std::nullopt;
};

/// One data block as the writer of a table remembers it.
struct BlockInfo {
  TableHandle handle;
  std::string first_key;
  std::string last_key;
  EntryTag last_tag;
  std::uint64_t entry_count = 0;
  std::uint64_t tombstone_count = 0;
  SequenceNumber smallest_sequence;
  SequenceNumber largest_sequence;
  std::vector<std::uint64_t> key_hashes;  ///< For the filter of its run (lsm/bloom.h).
};

/// The first `bytes` of a key, or all of a shorter one.
inline std::string_view group_of(std::string_view key, std::size_t bytes) {
  return key.substr(0, bytes);
}

/// The number of each run's first block, ascending, beginning with 0. The versions of one key stay
/// in one run.
std::vector<std::size_t> plan_runs(const std::vector<BlockInfo>& blocks, const RunRules& rules);

}  // namespace sentinel::lsm
