#pragma once
/// The manifest: which files make up the store. A block log (lsm/block_log.h) of edits; replaying
/// them gives the state.
///
///   record 1  header   magic, format version, store id, file size, number of state edits
///   record 2  edit     what changed; the first ones after the header are the whole state
///
/// Every start reads the manifest, and once the store has been found sound writes a fresh one
/// (temporary file, sync, rename, directory sync) before anything else changes, so that a torn tail
/// of the old one never matters again. A full manifest is replaced the same way.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/io.h"
#include "core/sync.h"
#include "lsm/block_log.h"
#include "lsm/format.h"
#include "lsm/table_info.h"

namespace sentinel::lsm {

/// Written into every file of the store; a later format that this program can't read has a higher
/// number.
inline constexpr std::uint32_t kFormatVersion = 7;

/// Whether this program reads files of this format; if not, Errc::newer_format or unsupported,
/// naming the file.
core::Status check_format(const std::string& path, std::uint32_t version);

inline constexpr std::uint64_t kManifestMagic = 0x534e544c4d414e46;  // "SNTLMANF"

/// What the header record says.
struct ManifestHeader {
  std::uint64_t magic = kManifestMagic;
  std::uint32_t format_version = kFormatVersion;
  std::uint64_t store_id = 0;
  std::uint64_t file_bytes = 0;
  std::uint32_t state_edits = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.magic);
    visit(self.format_version);
    visit(self.store_id);
    visit(self.file_bytes);
    visit(self.state_edits);
  }
};

struct WalInfo {
  FileNumber number;
  std::uint64_t size_bytes = 0;
  /// Whether something in it has been acknowledged; until then it may hold nothing.
  bool started = false;

  static void fields(auto& self, auto& visit) {
    visit(self.number);
    visit(self.size_bytes);
    visit(self.started);
  }
};

/// A change of the file set. Applied whole or not at all.
struct VersionEdit {
  FileNumber next_file_number;  ///< Set by Manifest.
  SequenceNumber
      flushed_sequence;  ///< Everything up to here is in tables; zero leaves it as it is.
  std::vector<TableInfo> tables_added;
  /// A run that moves to another level is removed and added by one edit. A table goes with the last
  /// of its runs.
  std::vector<RunId> runs_removed;
  std::vector<RunInfo> runs_added;
  std::vector<WalInfo> wals_added;
  std::vector<FileNumber> wals_started;
  std::vector<FileNumber> wals_removed;

  static void fields(auto& self, auto& visit) {
    visit(self.next_file_number);
    visit(self.flushed_sequence);
    visit(self.tables_added);
    visit(self.runs_removed);
    visit(self.runs_added);
    visit(self.wals_added);
    visit(self.wals_started);
    visit(self.wals_removed);
  }
};

/// The file set that the edits add up to.
struct FileSet {
  struct Table {
    TableInfo info;
    std::uint32_t runs = 0;
  };

  FileNumber next_file_number{1};
  SequenceNumber flushed_sequence{0};
  std::map<FileNumber, Table> tables;
  std::map<RunId, std::shared_ptr<const RunInfo>> runs;
  std::map<FileNumber, WalInfo> wals;

  /// Errc::corruption when the edit does not fit the state, e.g. removes what is not there.
  core::Status apply(const VersionEdit& edit);
  /// The edits that make this state out of nothing, each of a bounded size.
  [[nodiscard]] std::vector<VersionEdit> snapshot() const;

 private:
  core::Status remove_run(RunId id);
  core::Status add_run(const RunInfo& run);
};

class Manifest {
 public:
  struct Options {
    std::string directory;
    std::uint64_t store_id = 0;
  };

  /// Reads the newest manifest in the directory and changes nothing. Without `create` a directory
  /// that has none is Errc::corruption: a store never starts empty by accident.
  static core::Task<core::Result<std::unique_ptr<Manifest>>> open(core::Shard& shard,
                                                                  Options options, bool create);
  ~Manifest();
  /// Writes the fresh manifest and removes the files that it does not name. Before any other
  /// change.
  core::Task<core::Status> start();

  [[nodiscard]] const FileSet& files() const { return files_; }
  FileNumber new_file_number() {
    return std::exchange(next_file_number_, next_file_number_.next());
  }
  /// Resolves when the edit is durable; files() then shows it. A failure has been reported to the
  /// shard and is final.
  core::Task<core::Status> apply(VersionEdit edit);
  core::Task<void> close();
  /// Bytes of a torn last edit that the start left behind.
  [[nodiscard]] std::uint64_t torn_bytes() const { return torn_bytes_; }

 private:
  Manifest(core::Shard& shard, Options options);

  core::Task<core::Status> read_existing(FileNumber number);
  core::Task<core::Status> sync_existing();
  core::Task<core::Status> start_new_file();
  core::Task<core::Status> write_edit(const VersionEdit& edit);
  core::Task<core::Status> write_record(std::uint8_t type, core::Bytes body);
  core::Task<core::Status> remove_unnamed();
  core::Task<core::Status> remove_old_manifests();
  [[nodiscard]] std::string path(const std::string& name) const {
    return options_.directory + "/" + name;
  }

  core::Shard& shard_;
  const Options options_;
  core::Semaphore turn_;

  FileSet files_;
  FileNumber next_file_number_{1};
  FileNumber read_number_{0};  // Of the manifest that was found; 0 if there was none.
  std::uint64_t torn_bytes_ = 0;

  core::File file_;
  FileNumber file_number_;
  std::uint64_t file_bytes_ = 0;
  std::uint64_t next_block_ = 0;
  std::uint32_t write_number_ = 0;
};

}  // namespace sentinel::lsm
