#pragma once
/// The data directory of one node: who owns it, whose it is, and how it is divided.
///
///   LOCK        held while a process uses the directory
///   identity    magic, format version, CRC-32C, then: cluster, node, disk, store count, whether
///               the first start was completed
///   store-N/    one storage engine each (lsm/db.h)
///
/// The identity is written before anything else and marked ready once all stores exist; a directory
/// that has stores but no identity is damaged, never new.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/io.h"
#include "core/uuid.h"

namespace sentinel::consensus {

/// A node that was there when the cluster was founded, and the disk that it had.
struct Founder {
  std::int32_t node_id = 0;
  core::Uuid disk_id;
  friend bool operator==(const Founder&, const Founder&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.node_id);
    visit(self.disk_id.bytes);
  }
};

/// One start of a node in a cluster.
struct Boot {
  std::uint64_t count = 0;
  std::uint64_t tag = 0;  ///< Drawn at each start: of two copies of a disk both may count the same.

  /// Whether a start of the same disk comes after this one, or is this one.
  [[nodiscard]] bool allows(const Boot& start) const {
    return start.count > count || (start.count == count && start.tag == tag);
  }
  friend bool operator==(const Boot&, const Boot&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.count);
    visit(self.tag);
  }
};

struct Identity {
  core::Uuid cluster_id;  ///< Zero while it belongs to none.
  std::int32_t node_id = 1;
  core::Uuid disk_id;
  std::int32_t disk_number =
      0;      ///< Of the node's disks, from 1; 0 until the cluster has given one.
  Boot boot;  ///< The last start in a cluster, so that a copy is told.
  std::vector<Founder> founders;  ///< First members of the controller's group.
  std::uint32_t store_count = 1;
  bool ready = false;

  /// Written into every file of the store, so that a store of another directory is recognised.
  [[nodiscard]] std::uint64_t store_id(std::uint32_t store) const {
    return core::load_be<std::uint64_t>(std::as_bytes(std::span(disk_id.bytes)).data()) + store;
  }

  static void fields(auto& self, auto& visit) {
    visit(self.cluster_id.bytes);
    visit(self.node_id);
    visit(self.disk_id.bytes);
    visit(self.disk_number);
    visit(self.boot);
    visit(self.founders);
    visit(self.store_count);
    visit(self.ready);
  }
};

class DataDirectory {
 public:
  struct Options {
    /// Who is to own it; nothing: who does, and node 1 if it is new.
    std::optional<std::int32_t> node_id;
    std::uint32_t new_store_count = 1;
    bool alone = true;  ///< A new one is a cluster of its own.
  };
  /// Locks the directory, made if need be, and reads its identity or gives it one. Errors: busy
  /// (another process has it), not_permitted, refused (it belongs to another node, or to a cluster
  /// while it is to be alone), newer_format, corruption, no_space; the message says what to
  /// do.
  static core::Task<core::Result<std::unique_ptr<DataDirectory>>> open(core::Shard& shard,
                                                                       std::string path,
                                                                       Options options);
  /// Locks a directory that has an identity. Errors as open(), and not_found.
  static core::Task<core::Result<std::unique_ptr<DataDirectory>>> open_existing(core::Shard& shard,
                                                                                std::string path);
  ~DataDirectory();

  [[nodiscard]] const Identity& identity() const { return identity_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Records that all stores exist.
  core::Task<core::Status> mark_ready();
  /// Counts another start.
  core::Task<core::Status> note_boot();
  /// From now on it belongs to a cluster.
  core::Task<core::Status> join(core::Uuid cluster_id, std::vector<Founder> founders,
                                std::int32_t disk_number);
  core::Task<void> close();

 private:
  DataDirectory(core::Shard& shard, std::string path) : shard_(shard), path_(std::move(path)) {}
  core::Task<core::Status> take_lock();
  core::Task<core::Status> read_identity();
  core::Task<core::Status> make_identity(Options options);
  [[nodiscard]] core::Status check_owner(const Options& options) const;
  core::Task<core::Status> write_identity();

  core::Shard& shard_;
  const std::string path_;
  core::File lock_;
  Identity identity_;
};

}  // namespace sentinel::consensus
