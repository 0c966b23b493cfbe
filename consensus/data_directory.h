#pragma once
/// The data directory of one node: who owns it, whose it is, and how it is divided.
///
///   LOCK        held while a process uses the directory
///   identity    magic, format version, CRC-32C, then: cluster id, node id, disk id, store count,
///   whether the first start was completed store-N/    one storage engine each (lsm/db.h)
///
/// The identity is written before anything else and marked ready once all stores exist; a directory
/// that has stores but no identity is damaged, never new.

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "core/bytes.h"
#include "core/io.h"
#include "core/uuid.h"

namespace sentinel::consensus {

struct Identity {
  core::Uuid cluster_id;
  std::int32_t node_id = 1;
  core::Uuid disk_id;
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
    visit(self.store_count);
    visit(self.ready);
  }
};

class DataDirectory {
 public:
  /// Locks the directory, made if need be, and reads its identity or gives it one with
  /// `new_store_count` stores. Errors: busy (another process has it), not_permitted, newer_format,
  /// corruption, no_space; the message says what to do.
  static core::Task<core::Result<std::unique_ptr<DataDirectory>>> open(
      core::Shard& shard, std::string path, std::int32_t node_id, std::uint32_t new_store_count);
  /// Locks a directory that has an identity. Errors as open(), and not_found.
  static core::Task<core::Result<std::unique_ptr<DataDirectory>>> open_existing(core::Shard& shard,
                                                                                std::string path);
  ~DataDirectory();

  [[nodiscard]] const Identity& identity() const { return identity_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Records that all stores exist.
  core::Task<core::Status> mark_ready();
  core::Task<void> close();

 private:
  DataDirectory(core::Shard& shard, std::string path) : shard_(shard), path_(std::move(path)) {}
  core::Task<core::Status> take_lock();
  core::Task<core::Status> read_identity();
  core::Task<core::Status> make_identity(std::int32_t node_id, std::uint32_t store_count);
  core::Task<core::Status> write_identity();

  core::Shard& shard_;
  const std::string path_;
  core::File lock_;
  Identity identity_;
};

}  // namespace sentinel::consensus
