#include "consensus/data_check.h"

#include <fmt/format.h>

#include <algorithm>

#include "consensus/entry_key.h"
#include "consensus/record_batch.h"

namespace sentinel::consensus {

namespace {

std::optional<std::string> check_batch(const EntryKey& entry, core::ByteSpan value) {
  const auto batch = RecordBatchView::parse(value);
  if (!batch || batch->bytes().size() != value.size()) return "no record batch";
  if (!batch->crc_matches()) return "the checksum of its record batch is wrong";
  if (batch->end_offset() != entry.end_offset) return "its record batch has another offset";
  return std::nullopt;
}

std::optional<std::string> check_entry(core::ByteSpan key, core::ByteSpan value) {
  if (StateKey::decode(key) || is_index_key(key)) return std::nullopt;
  const auto entry = EntryKey::decode(key);
  if (!entry) return "a key of no known form";
  // Compaction by key may leave nothing of a batch.
  if (entry->type != EntryType::records || value.empty()) return std::nullopt;
  const auto wrong = check_batch(*entry, value);
  if (!wrong.has_value()) return std::nullopt;
  return fmt::format("group {}, index {}: {}", entry->group, entry->index, *wrong);
}

}  // namespace

core::Task<core::Result<DataCheck>> check_data(
    core::Shard& shard, std::string path,
    std::function<void(std::uint64_t entries, std::uint64_t bytes)> progress) {
  auto directory = co_await DataDirectory::open_existing(shard, std::move(path));
  if (!directory) co_return std::unexpected(std::move(directory).error());
  DataCheck check{.identity = (*directory)->identity(), .stores = {}};
  // Before it is ready no store need be there, and nothing was acknowledged.
  const std::uint32_t stores = check.identity.ready ? check.identity.numbers.stores : 0;
  for (std::uint32_t store = 0; store < stores; ++store) {
    // What stands there is to be made anew by the next start.
    const auto& to_make = check.identity.to_make;
    if (std::ranges::find(to_make, store) != to_make.end()) continue;
    lsm::StoreCheckOptions options;
    options.directory = fmt::format("{}/store-{}", (*directory)->path(), store);
    options.store_id = check.identity.store_id(store);
    options.check_entry = &check_entry;
    options.progress = progress;
    check.stores.push_back(co_await lsm::check_store(shard, std::move(options)));
  }
  co_await (*directory)->close();
  co_return check;
}

}  // namespace sentinel::consensus
