#include "consensus/data_directory.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/codec.h"
#include "core/crc32c.h"
#include "lsm/manifest.h"

namespace sentinel::consensus {

namespace {

constexpr std::uint64_t kMagic = 0x534e544c44415441;  // "SNTLDATA"
constexpr std::size_t kIdentityBytesMax = std::size_t{64} << 10;
constexpr std::uint32_t kStoresMax = 1024;
// A node has a few other nodes, and each of those a disk.
constexpr std::size_t kMetMax = 256;

std::string parent_of(const std::string& path) {
  const std::size_t name_end = path.find_last_not_of('/');
  const std::size_t slash = name_end == std::string::npos ? 0 : path.rfind('/', name_end);
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

core::Result<Identity> decode_identity(core::ByteSpan bytes, const std::string& file) {
  core::ByteReader reader(bytes);
  const std::uint64_t magic = reader.u64();
  const std::uint32_t version = reader.u32();
  const std::uint32_t crc = reader.u32();
  if (reader.failed() || magic != kMagic) {
    return core::fail(core::Errc::corruption,
                      fmt::format("{} is damaged at offset 0: it is no identity file", file));
  }
  if (version > lsm::kFormatVersion) {
    return core::fail(core::Errc::newer_format,
                      fmt::format("{} has format {}, this release reads up to {}; use the release "
                                  "that wrote it, or a later one",
                                  file, version, lsm::kFormatVersion));
  }
  if (core::crc32c(reader.rest()) != crc) {
    return core::fail(core::Errc::corruption,
                      fmt::format("{} is damaged: its checksum is wrong", file));
  }
  SENTINEL_CHECK(lsm::check_format(file, version));
  SENTINEL_TRY(identity, core::decode_fields<Identity>(reader.rest()));
  if (!identity.numbers.sound() || identity.numbers.stores > kStoresMax) {
    return core::fail(core::Errc::corruption,
                      fmt::format("{} is damaged: {} stores", file, identity.numbers.stores));
  }
  return identity;
}

core::Bytes encode_identity(const Identity& identity) {
  const core::Bytes fields = core::encode_fields(identity);
  core::ByteWriter out;
  out.u64(kMagic);
  out.u32(lsm::kFormatVersion);
  out.u32(core::crc32c(fields));
  out.bytes(fields);
  return out.to_bytes();
}

}  // namespace

DataDirectory::~DataDirectory() = default;

core::Task<core::Result<std::unique_ptr<DataDirectory>>> DataDirectory::open(core::Shard& shard,
                                                                             std::string path,
                                                                             Options options) {
  std::unique_ptr<DataDirectory> directory(new DataDirectory(shard, std::move(path)));
  SENTINEL_CO_CHECK(co_await core::make_directory(shard, directory->path_));
  core::Status status = co_await directory->take_lock();
  if (status) {
    const auto stat = co_await core::stat_path(shard, directory->path_ + "/identity");
    if (stat) {
      status = co_await directory->read_identity();
      if (status) status = directory->check_owner(options);
    } else if (stat.error().code == core::Errc::not_found) {
      status = co_await directory->make_identity(options);
    } else {
      status = std::unexpected(stat.error());
    }
  }
  if (!status) {
    co_await directory->close();
    co_return std::unexpected(std::move(status).error());
  }
  co_return directory;
}

core::Task<core::Result<std::unique_ptr<DataDirectory>>> DataDirectory::open_existing(
    core::Shard& shard, std::string path) {
  const auto stat = co_await core::stat_path(shard, path + "/identity");
  if (!stat && stat.error().code == core::Errc::not_found) {
    co_return core::fail(core::Errc::not_found,
                         fmt::format("{} is no data directory: it has no identity file", path));
  }
  if (!stat) co_return std::unexpected(stat.error());
  std::unique_ptr<DataDirectory> directory(new DataDirectory(shard, std::move(path)));
  core::Status status = co_await directory->take_lock();
  if (status) status = co_await directory->read_identity();
  if (!status) {
    co_await directory->close();
    co_return std::unexpected(std::move(status).error());
  }
  co_return directory;
}

core::Task<core::Status> DataDirectory::take_lock() {
  auto file = co_await core::File::open(shard_, path_ + "/LOCK",
                                        core::open_flags::write | core::open_flags::create);
  if (!file) co_return std::unexpected(std::move(file).error());
  lock_ = std::move(*file);
  core::Status locked = co_await lock_.lock();
  if (!locked && locked.error().code == core::Errc::busy) {
    co_return core::fail(
        core::Errc::busy,
        fmt::format(
            "data directory {} is in use by another process; stop it, or give another --data",
            path_));
  }
  co_return locked;
}

core::Task<core::Status> DataDirectory::read_identity() {
  const std::string file = path_ + "/identity";
  SENTINEL_CO_TRY(bytes, co_await core::read_file(shard_, file, kIdentityBytesMax));
  SENTINEL_CO_TRY(identity, decode_identity(bytes, file));
  identity_ = identity;
  co_return core::Status();
}

core::Status DataDirectory::check_owner(const Options& options) const {
  if (options.node_id.has_value() && *options.node_id != identity_.node_id) {
    return core::fail(core::Errc::refused,
                      fmt::format("{} belongs to node {}; start it with --node-id {}, or give "
                                  "another --data",
                                  path_, identity_.node_id, identity_.node_id));
  }
  if (!options.alone || identity_.founders.size() == 1) return {};
  return core::fail(
      core::Errc::refused,
      fmt::format("{} belongs to node {} of a cluster; give its --node-id and --peers", path_,
                  identity_.node_id));
}

core::Task<core::Status> DataDirectory::make_identity(Options options) {
  SENTINEL_CO_TRY(names, co_await core::list_directory(shard_, path_));
  for (const std::string& name : names) {
    if (!name.starts_with("store-")) continue;
    co_return core::fail(
        core::Errc::corruption,
        fmt::format("{} holds {} but no identity file; restore the file, or give an empty --data",
                    path_, name));
  }
  // The directory may be new: without its name on disk all that will be acknowledged would be lost.
  SENTINEL_CO_CHECK(co_await core::sync_directory(shard_, parent_of(path_)));
  identity_ = Identity();
  identity_.node_id = options.node_id.value_or(1);
  identity_.disk_id = core::Uuid::make(shard_.random());
  identity_.numbers.stores = options.new_store_count;
  if (options.alone) {
    identity_.cluster_id = core::Uuid::make(shard_.random());
    identity_.founders = {{identity_.node_id, identity_.disk_id}};
    identity_.numbers.disk = 1;
  }
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::note_met(core::Uuid disk, Boot boot) {
  std::vector<MetDisk>& met = identity_.met;
  const auto known = std::ranges::find(met, disk, &MetDisk::disk_id);
  if (known != met.end()) {
    if (!known->boot.allows(boot)) co_return core::Status();
    met.erase(known);
  } else if (met.size() >= kMetMax) {
    met.erase(met.begin());
  }
  met.push_back({disk, boot});
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::note_boot() {
  ++identity_.boot.count;
  identity_.boot.tag = shard_.random().next();
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::join(core::Uuid cluster_id, std::vector<Founder> founders,
                                             std::int32_t disk_number) {
  identity_.cluster_id = cluster_id;
  identity_.founders = std::move(founders);
  identity_.numbers.disk = disk_number;
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::renew_store(std::uint32_t store, std::int32_t number) {
  identity_.numbers.set(store, number);
  if (std::ranges::find(identity_.to_make, store) == identity_.to_make.end())
    identity_.to_make.push_back(store);
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::note_made() {
  identity_.to_make.clear();
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::mark_ready() {
  identity_.ready = true;
  co_return co_await write_identity();
}

core::Task<core::Status> DataDirectory::write_identity() {
  co_await writing_.acquire(1);
  core::Status written =
      co_await core::replace_file(shard_, path_, "identity", encode_identity(identity_));
  writing_.release(1);
  co_return written;
}

core::Task<void> DataDirectory::close() { co_await lock_.close(); }

}  // namespace sentinel::consensus
