#include "lsm/compaction.h"

#include "core/sync.h"

namespace sentinel::lsm {

namespace {
constexpr ReadOptions kInputReads{.read_ahead_bytes = std::size_t{512} << 10};
// Entries that are dropped before others run; those that are written count for themselves.
constexpr std::size_t kDroppedPerYield = 512;
}  // namespace

Compaction::Compaction(core::Shard& shard, SSTableWriter::Options options, Manifest& manifest,
                       const CompactionPlan& plan, const KeyRanges& discarded)
    : shard_(shard),
      options_(std::move(options)),
      manifest_(manifest),
      plan_(plan),
      discarded_(discarded) {}

core::Task<core::Result<VersionEdit>> Compaction::run(const bool& stop) {
  for (const Run* input : plan_.inputs) edit_.runs_removed.push_back(input->info->id);
  EntryMerger inputs = open_inputs();
  core::Status merged = co_await merge(inputs, stop);
  if (merged && writer_ != nullptr) merged = co_await finish_table();
  if (merged) co_return std::move(edit_);
  co_await remove_output();
  co_return std::unexpected(std::move(merged).error());
}

core::Task<void> Compaction::remove_output() {
  if (writer_ != nullptr) co_await writer_->abandon();
  for (const TableInfo& table : edit_.tables_added) {
    const core::Status removed = co_await core::unlink_file(
        shard_, options_.directory + "/" + table_file_name(table.number));
    static_cast<void>(removed.has_value());  // If not, the next start removes it.
  }
}

/// Runs of level 0 may overlap; those of any other level are one walk.
EntryMerger Compaction::open_inputs() const {
  EntryMerger inputs;
  const std::span<const Run* const> all(plan_.inputs);
  for (const Run* run : all.first(plan_.upper_count)) inputs.add(RunCursor(*run, kInputReads));
  if (all.size() > plan_.upper_count)
    inputs.add(LevelCursor(all.subspan(plan_.upper_count), kInputReads));
  return inputs;
}

core::Task<core::Status> Compaction::merge(EntryMerger& inputs, const bool& stop) {
  const KeyTarget start{core::ByteSpan()};
  SENTINEL_CO_CHECK(co_await inputs.seek(start));
  std::size_t dropped = 0;
  while (inputs.valid()) {
    if (stop) co_return core::fail(core::Errc::cancelled);
    if (keeps(inputs)) {
      SENTINEL_CO_CHECK(co_await write(inputs));
    } else if (++dropped % kDroppedPerYield == 0) {
      co_await core::yield(shard_);
    }
    if (!inputs.try_next()) {
      SENTINEL_CO_CHECK(co_await inputs.load_next());
    }
  }
  co_return core::Status();
}

/// Of a key only the newest entry counts. It is dropped as well if it says that the key is deleted,
/// and nothing below can have it.
bool Compaction::keeps(const EntryMerger& inputs) {
  const core::ByteSpan key = inputs.key();
  if (any_key_ && core::equal(key, last_key_.view())) return false;
  any_key_ = true;
  last_key_.clear();
  last_key_.bytes(key);
  if (discarded_.contains(key)) return false;
  if (inputs.tag().kind == EntryKind::value) return true;
  const auto below = static_cast<std::uint8_t>(plan_.output_level + 1);
  return plan_.version->overlaps(below, key, key);
}

core::Task<core::Status> Compaction::write(const EntryMerger& inputs) {
  if (writer_ != nullptr && writer_->data_bytes() >= kCompactedTableBytes) {
    SENTINEL_CO_CHECK(co_await finish_table());
  }
  if (writer_ == nullptr) {
    auto writer = co_await SSTableWriter::create(shard_, options_, manifest_.new_file_number());
    if (!writer) co_return std::unexpected(std::move(writer).error());
    writer_ = std::move(*writer);
  }
  co_return co_await writer_->add(inputs.key(), inputs.tag(), inputs.value());
}

core::Task<core::Status> Compaction::finish_table() {
  const std::unique_ptr<SSTableWriter> writer = std::move(writer_);
  auto table = co_await writer->finish();
  if (!table) co_return std::unexpected(std::move(table).error());
  describe(std::move(*table));
  co_return core::Status();
}

/// What overlaps nothing below goes to the bottom at once.
void Compaction::describe(NewTable table) {
  edit_.tables_added.push_back(table.info);
  const auto below = static_cast<std::uint8_t>(plan_.output_level + 1);
  for (RunInfo& run : table.runs) {
    const bool free = !plan_.version->overlaps(below, core::as_bytes(run.smallest_key),
                                               core::as_bytes(run.largest_key));
    run.level = free ? kBottomLevel : plan_.output_level;
    edit_.runs_added.push_back(std::move(run));
  }
}

}  // namespace sentinel::lsm
