#pragma once
/// The runs of a store on their levels: as they stand at one moment (Version), and as they change
/// (VersionSet).
///
/// Newer entries for a key are never on a deeper level than older ones. A reader keeps the version
/// that it began with; a run leaves the disk when no version has it any more.

#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "core/scope.h"
#include "core/sync.h"
#include "lsm/manifest.h"
#include "lsm/run_cursor.h"
#include "lsm/table_file.h"

namespace sentinel::lsm {

class VersionSet;

/// Constant. Readers hold it by shared_ptr, and may outlive the store that it belonged to.
class Version {
 public:
  using Runs = std::vector<const Run*>;

  ~Version();
  Version(const Version&) = delete;
  Version& operator=(const Version&) = delete;

  /// Level 0 has the newest table first; deeper levels are in the order of keys.
  [[nodiscard]] const Runs& level(std::uint8_t level) const { return levels_[level]; }
  /// Bytes of data on a level.
  [[nodiscard]] std::uint64_t bytes(std::uint8_t level) const { return bytes_[level]; }
  /// The runs of a level below level 0 with keys in [smallest, largest].
  [[nodiscard]] std::span<const Run* const> overlapping(std::uint8_t level, core::ByteSpan smallest,
                                                        core::ByteSpan largest) const;
  /// The runs of a level below level 0 with keys in [begin, end); an empty bound is none.
  [[nodiscard]] std::span<const Run* const> between(std::uint8_t level, core::ByteSpan begin,
                                                    core::ByteSpan end) const;
  /// Those of a level that may have keys in [smallest, largest]: of level 0 all.
  [[nodiscard]] std::span<const Run* const> candidates(std::uint8_t level, core::ByteSpan smallest,
                                                       core::ByteSpan largest) const {
    return level == 0 ? std::span<const Run* const>(levels_[0])
                      : overlapping(level, smallest, largest);
  }
  /// Whether any run on a level from `first` on has keys in [smallest, largest].
  [[nodiscard]] bool overlaps(std::uint8_t first, core::ByteSpan smallest,
                              core::ByteSpan largest) const;

 private:
  friend class VersionSet;
  struct Registry;
  Version(std::uint64_t number, std::shared_ptr<Registry> registry);

  const std::uint64_t number_;
  const std::shared_ptr<Registry> registry_;
  std::array<Runs, kLevels> levels_;
  std::array<std::uint64_t, kLevels> bytes_{};
};

class VersionSet {
 public:
  /// All references outlive the set.
  VersionSet(core::Shard& shard, TableFile::Options options, Manifest& manifest);
  ~VersionSet();

  /// Opens the tables that the manifest names.
  core::Task<core::Status> open();
  /// Starts to remove what no version needs.
  void start();

  [[nodiscard]] std::shared_ptr<const Version> current() const { return current_; }
  /// Makes the edit durable, then current. Opens the tables that it adds.
  core::Task<core::Status> apply(VersionEdit edit);
  [[nodiscard]] std::size_t table_count() const { return tables_.size(); }
  /// Removes what is not needed any more and closes the rest. No reader uses a version after that.
  core::Task<void> close();

 private:
  struct Table {
    std::unique_ptr<TableFile> file;
    std::size_t runs = 0;  // Of all versions.
  };
  struct Retired {
    std::uint64_t version = 0;  // The first one without it.
    std::unique_ptr<const Run> run;
    bool moved = false;  // Another one stands for the same data.
  };
  /// What gives space back: removes a file that no run lies in any more, or the data of dropped
  /// runs from one that others still use.
  struct Chore {
    std::unique_ptr<TableFile> dead;
    std::string path;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> holes;  // Begin and end.
  };

  core::Task<core::Status> open_table(TableInfo info);
  void install(const VersionEdit& edit);
  void remove_runs(Version& next, const VersionEdit& edit);
  void add_runs(Version& next, const std::vector<RunInfo>& added);
  void collect();
  void dispose(const Retired& retired);
  void punch_gaps(FileNumber number, std::vector<const RunInfo*> runs);
  core::Task<void> give_space_back();
  core::Task<void> punch(const Chore& chore);
  friend class Version;

  core::Shard& shard_;
  const TableFile::Options options_;
  Manifest& manifest_;
  std::map<FileNumber, Table> tables_;
  std::map<RunId, std::unique_ptr<const Run>> runs_;
  std::deque<Retired> retired_;
  std::shared_ptr<Version::Registry> registry_;
  std::shared_ptr<const Version> current_;
  std::uint64_t last_version_ = 0;

  std::deque<Chore> chores_;
  bool can_punch_ = true;
  bool closing_ = false;
  core::Signal chore_added_;
  core::TaskScope scope_;
};

}  // namespace sentinel::lsm
