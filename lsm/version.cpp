#include "lsm/version.h"

#include <algorithm>
#include <unordered_set>

namespace sentinel::lsm {

/// Which versions are alive. Shared, because a reader may let go of its version after the set is
/// gone.
struct Version::Registry {
  VersionSet* owner = nullptr;
  std::set<std::uint64_t> alive;
};

namespace {

bool is_before(const Run* a, const Run* b) {
  return compare_keys(core::as_bytes(a->info->smallest_key),
                      core::as_bytes(b->info->smallest_key)) < 0;
}

/// Level 0: what is newer comes first.
bool is_newer(const Run* a, const Run* b) {
  return a->info->largest_sequence > b->info->largest_sequence;
}

}  // namespace

Version::Version(std::uint64_t number, std::shared_ptr<Registry> registry)
    : number_(number), registry_(std::move(registry)) {
  registry_->alive.insert(number_);
}

Version::~Version() {
  registry_->alive.erase(number_);
  if (registry_->owner != nullptr) registry_->owner->collect();
}

std::span<const Run* const> Version::overlapping(std::uint8_t level, core::ByteSpan smallest,
                                                 core::ByteSpan largest) const {
  const Runs& runs = levels_[level];
  const auto first = std::ranges::partition_point(runs, [&](const Run* run) {
    return compare_keys(core::as_bytes(run->info->largest_key), smallest) < 0;
  });
  const auto behind = std::partition_point(first, runs.end(), [&](const Run* run) {
    return compare_keys(core::as_bytes(run->info->smallest_key), largest) <= 0;
  });
  return {first, behind};
}

std::span<const Run* const> Version::between(std::uint8_t level, core::ByteSpan begin,
                                             core::ByteSpan end) const {
  const Runs& runs = levels_[level];
  const auto first = std::ranges::partition_point(runs, [&](const Run* run) {
    return compare_keys(core::as_bytes(run->info->largest_key), begin) < 0;
  });
  const auto behind = std::partition_point(
      first, runs.end(), [&](const Run* run) { return run->info->reaches_into(begin, end); });
  return {first, behind};
}

bool Version::overlaps(std::uint8_t first, core::ByteSpan smallest, core::ByteSpan largest) const {
  for (std::uint8_t level = first; level < kLevels; ++level) {
    if (level > 0 && !overlapping(level, smallest, largest).empty()) return true;
  }
  return first == 0 && std::ranges::any_of(levels_[0], [&](const Run* run) {
           return run->info->overlaps(smallest, largest);
         });
}

VersionSet::VersionSet(core::Shard& shard, TableFile::Options options, Manifest& manifest)
    : shard_(shard),
      options_(std::move(options)),
      manifest_(manifest),
      registry_(std::make_shared<Version::Registry>()),
      chore_added_(shard),
      scope_(shard) {
  registry_->owner = this;
}

VersionSet::~VersionSet() { registry_->owner = nullptr; }

core::Task<core::Status> VersionSet::open() {
  for (const auto& [number, table] : manifest_.files().tables) {
    SENTINEL_CO_CHECK(co_await open_table(table.info));
  }
  std::shared_ptr<Version> first(new Version(++last_version_, registry_));
  for (const auto& [id, info] : manifest_.files().runs) {
    Table& table = tables_.at(id.file);
    ++table.runs;
    const auto& run = runs_[id] = std::make_unique<const Run>(info, table.file.get());
    first->levels_[info->level].push_back(run.get());
    first->bytes_[info->level] += info->size_bytes();
  }
  std::map<FileNumber, std::vector<const RunInfo*>> by_table;
  for (const auto& [id, info] : manifest_.files().runs) by_table[id.file].push_back(info.get());
  for (auto& [number, runs] : by_table) punch_gaps(number, std::move(runs));
  std::ranges::sort(first->levels_[0], is_newer);
  for (std::uint8_t level = 1; level < kLevels; ++level) {
    std::ranges::sort(first->levels_[level], is_before);
  }
  current_ = std::move(first);
  co_return core::Status();
}

void VersionSet::start() { scope_.spawn(give_space_back()); }

core::Task<core::Status> VersionSet::open_table(TableInfo info) {
  SENTINEL_CO_TRY(file, co_await TableFile::open(shard_, options_, info));
  tables_[info.number].file = std::move(file);
  co_return core::Status();
}

core::Task<core::Status> VersionSet::apply(VersionEdit edit) {
  for (const TableInfo& table : edit.tables_added) {
    SENTINEL_CO_CHECK(co_await open_table(table));
  }
  const VersionEdit change = edit;
  SENTINEL_CO_CHECK(co_await manifest_.apply(std::move(edit)));
  install(change);
  co_return core::Status();
}

void VersionSet::install(const VersionEdit& edit) {
  if (edit.runs_removed.empty() && edit.runs_added.empty()) return;
  std::shared_ptr<Version> next(new Version(++last_version_, registry_));
  next->levels_ = current_->levels_;
  next->bytes_ = current_->bytes_;
  remove_runs(*next, edit);
  add_runs(*next, edit.runs_added);
  current_ = std::move(next);
}

void VersionSet::remove_runs(Version& next, const VersionEdit& edit) {
  std::set<RunId> moving;
  for (const RunInfo& run : edit.runs_added) moving.insert(run.id);
  std::unordered_set<const Run*> gone;
  std::array<bool, kLevels> touched{};
  for (const RunId id : edit.runs_removed) {
    const auto found = runs_.find(id);
    const std::uint8_t level = found->second->info->level;
    gone.insert(found->second.get());
    touched[level] = true;
    next.bytes_[level] -= found->second->info->size_bytes();
    retired_.push_back(
        {.version = next.number_, .run = std::move(found->second), .moved = moving.contains(id)});
    runs_.erase(found);
  }
  for (std::uint8_t level = 0; level < kLevels; ++level) {
    if (touched[level]) {
      std::erase_if(next.levels_[level], [&](const Run* run) { return gone.contains(run); });
    }
  }
}

void VersionSet::add_runs(Version& next, const std::vector<RunInfo>& added) {
  std::array<Version::Runs, kLevels> fresh;
  for (const RunInfo& info : added) {
    Table& table = tables_.at(info.id.file);
    ++table.runs;
    auto run = std::make_unique<const Run>(manifest_.files().runs.at(info.id), table.file.get());
    fresh[info.level].push_back(run.get());
    next.bytes_[info.level] += info.size_bytes();
    runs_[info.id] = std::move(run);
  }
  for (std::uint8_t level = 0; level < kLevels; ++level) {
    if (fresh[level].empty()) continue;
    const auto order = level == 0 ? is_newer : is_before;
    std::ranges::sort(fresh[level], order);
    Version::Runs merged;
    merged.reserve(next.levels_[level].size() + fresh[level].size());
    std::ranges::merge(next.levels_[level], fresh[level], std::back_inserter(merged), order);
    next.levels_[level] = std::move(merged);
  }
}

/// Lets go of the runs that no version has any more.
void VersionSet::collect() {
  while (!retired_.empty()) {
    const bool needed =
        !registry_->alive.empty() && *registry_->alive.begin() < retired_.front().version;
    if (needed) return;
    dispose(retired_.front());
    retired_.pop_front();
  }
}

void VersionSet::dispose(const Retired& retired) {
  const RunInfo& run = *retired.run->info;
  const auto table = tables_.find(run.id.file);
  Chore chore;
  chore.path = table->second.file->path();
  if (--table->second.runs == 0) {
    chore.dead = std::move(table->second.file);
    tables_.erase(table);
  } else if (retired.moved) {
    return;
  } else {
    chore.holes.emplace_back(run.data_begin, run.data_end);
  }
  chores_.push_back(std::move(chore));
  chore_added_.notify_one();
}

/// A crash may have come between dropping runs and giving their space back.
void VersionSet::punch_gaps(FileNumber number, std::vector<const RunInfo*> runs) {
  std::ranges::sort(runs, {}, &RunInfo::data_begin);
  Chore chore;
  chore.path = tables_.at(number).file->path();
  std::uint64_t live_end = 0;
  std::uint64_t data_end = UINT64_MAX;
  for (const RunInfo* run : runs) {
    if (run->data_begin > live_end) chore.holes.emplace_back(live_end, run->data_begin);
    live_end = run->data_end;
    data_end = std::min(data_end, run->tail_begin());
  }
  // Filters and indexes stand behind all data.
  if (data_end > live_end) chore.holes.emplace_back(live_end, data_end);
  if (!chore.holes.empty()) chores_.push_back(std::move(chore));
}

core::Task<void> VersionSet::give_space_back() {
  for (;;) {
    while (chores_.empty()) {
      if (closing_) co_return;
      co_await chore_added_.wait();
    }
    const Chore chore = std::move(chores_.front());
    chores_.pop_front();
    if (chore.dead == nullptr) {
      co_await punch(chore);
      continue;
    }
    co_await chore.dead->close();
    // The manifest does not name it any more: if this fails, the next start removes it.
    const core::Status removed = co_await core::unlink_file(shard_, chore.path);
    static_cast<void>(removed.has_value());
  }
}

/// Only whole blocks of the file system can be given back. Failing means that the space comes back
/// with the file.
core::Task<void> VersionSet::punch(const Chore& chore) {
  if (!can_punch_ || closing_) co_return;
  auto file = co_await core::File::open(shard_, chore.path, core::open_flags::write);
  if (!file) co_return;
  for (const auto& [begin, end] : chore.holes) {
    const std::uint64_t first = (begin + kTableFileAlignment - 1) / kTableFileAlignment;
    const std::uint64_t behind = end / kTableFileAlignment;
    if (first >= behind) continue;
    const core::Status punched = co_await file->punch_hole(first * kTableFileAlignment,
                                                           (behind - first) * kTableFileAlignment);
    if (!punched) can_punch_ = punched.error().code != core::Errc::unsupported;
  }
  co_await file->close();
}

core::Task<void> VersionSet::close() {
  closing_ = true;
  chore_added_.notify_all();
  co_await scope_.close();
  for (auto& [number, table] : tables_) {
    if (table.file != nullptr) co_await table.file->close();
  }
  for (const Chore& chore : chores_) {
    if (chore.dead != nullptr) co_await chore.dead->close();
  }
}

}  // namespace sentinel::lsm
