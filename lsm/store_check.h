#pragma once
/// Checks a store that nobody uses: every checksum, the order of entries, indexes, and what the
/// manifest says. Reads everything and changes nothing.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/shard.h"
#include "core/task.h"

namespace sentinel::lsm {

struct StoreCheckOptions {
  std::string directory;
  std::uint64_t store_id = 0;
  /// What is wrong with an entry, by what the floor above knows of it; may be empty.
  std::function<std::optional<std::string>(core::ByteSpan key, core::ByteSpan value)> check_entry;
  /// Called now and then with the entries and bytes seen since the last call; may be empty.
  std::function<void(std::uint64_t entries, std::uint64_t bytes)> progress;
};

struct StoreCheck {
  std::uint64_t tables = 0;
  std::uint64_t table_bytes = 0;
  std::uint64_t table_entries = 0;
  std::uint64_t logs = 0;
  std::uint64_t log_batches = 0;  ///< Beyond the tables.
  std::uint64_t torn_bytes = 0;   ///< Of a last, unacknowledged write: what a crash may leave.
  /// Each names file and offset. Of each table, and of the logs together, the first.
  std::vector<std::string> problems;
  /// Files that the manifest does not name, as a crash may leave them; the next start removes them.
  std::vector<std::string> unnamed;
};

core::Task<StoreCheck> check_store(core::Shard& shard, StoreCheckOptions options);

}  // namespace sentinel::lsm
