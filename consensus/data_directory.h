#pragma once
/// The data directory of one node: who owns it, whose it is, and how it is divided.
///
///   LOCK        held while a process uses the directory
///   identity    magic, format version, CRC-32C, then: cluster, node, disk, store count, whether
///               the first start was completed
///   store-N/    one storage engine each (lsm/db.h)
///   damaged-store-N-NUMBER/  what store N was before it was made anew with that number
///
/// The identity is written before anything else and marked ready once all stores exist; a directory
/// that has stores but no identity is damaged, never new.

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "consensus/store_number.h"
#include "core/bytes.h"
#include "core/io.h"
#include "core/sync.h"
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

/// A start of another node's disk that this one has been told of by that node itself.
struct MetDisk {
  core::Uuid disk_id;
  Boot boot;
  static void fields(auto& self, auto& visit) {
    visit(self.disk_id.bytes);
    visit(self.boot);
  }
};

struct Identity {
  core::Uuid cluster_id;  ///< Zero while it belongs to none.
  std::int32_t node_id = 1;
  core::Uuid disk_id;
  StoreNumbers numbers;
  Boot boot;                      ///< The last start in a cluster, so that a copy is told.
  std::vector<Founder> founders;  ///< First members of the controller's group.
  /// Stores that are to be made anew: what lies there is damaged, or a half of the new one.
  std::vector<std::uint32_t> to_make;
  std::vector<MetDisk> met;  ///< The latest one last, of each disk its last start.
  bool ready = false;

  [[nodiscard]] MemberId member(GroupId group) const {
    return numbers.member(NodeId(node_id), group);
  }
  /// Written into every file of the store, so that a store of another directory is recognised, and
  /// one that another has taken the place of.
  [[nodiscard]] std::uint64_t store_id(std::uint32_t store) const {
    const bool first = numbers.number_of(store) == numbers.disk;
    const auto renewal = first ? 0 : static_cast<std::uint64_t>(numbers.number_of(store)) << 16;
    return core::load_be<std::uint64_t>(std::as_bytes(std::span(disk_id.bytes)).data()) + renewal +
           store;
  }

  static void fields(auto& self, auto& visit) {
    visit(self.cluster_id.bytes);
    visit(self.node_id);
    visit(self.disk_id.bytes);
    visit(self.numbers);
    visit(self.boot);
    visit(self.founders);
    visit(self.to_make);
    visit(self.met);
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
  /// A store is to be made anew at the next start, with a number that the cluster has given.
  core::Task<core::Status> renew_store(std::uint32_t store, std::int32_t number);
  /// Those that are to be made anew have been.
  core::Task<core::Status> note_made();
  /// Remembers a start of another node's disk; durable when it resolves. Who has been answered once
  /// is told from an older copy of its disk by that.
  core::Task<core::Status> note_met(core::Uuid disk, Boot boot);
  /// Counts another start.
  core::Task<core::Status> note_boot();
  /// From now on it belongs to a cluster.
  core::Task<core::Status> join(core::Uuid cluster_id, std::vector<Founder> founders,
                                std::int32_t disk_number);
  core::Task<void> close();

 private:
  DataDirectory(core::Shard& shard, std::string path)
      : shard_(shard), path_(std::move(path)), writing_(shard, 1) {}
  core::Task<core::Status> take_lock();
  core::Task<core::Status> read_identity();
  core::Task<core::Status> make_identity(Options options);
  [[nodiscard]] core::Status check_owner(const Options& options) const;
  core::Task<core::Status> write_identity();

  core::Shard& shard_;
  const std::string path_;
  core::File lock_;
  Identity identity_;
  core::Semaphore writing_;
};

}  // namespace sentinel::consensus
