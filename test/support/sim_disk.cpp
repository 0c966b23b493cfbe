#include "test/support/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <utility>

#include "core/assert.h"

namespace sentinel::test {

using core::Handle;
using core::OpCode;
using core::Operation;
namespace open_flags = core::open_flags;

namespace {

constexpr std::uint64_t kBlock = SimContents::kBlockBytes;
constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 44;

std::uint64_t total_length(const Operation& operation) {
  std::uint64_t length = 0;
  for (unsigned i = 0; i < operation.vector_count; ++i) length += operation.vectors[i].iov_len;
  return length;
}

/// What a device demands of direct access: memory, offset and lengths in whole blocks.
bool is_aligned(const Operation& operation) {
  if (operation.offset % kBlock != 0) return false;
  return std::ranges::all_of(std::span(operation.vectors, operation.vector_count),
                             [](const iovec& each) {
                               return each.iov_len % kBlock == 0 &&
                                      reinterpret_cast<std::uintptr_t>(each.iov_base) % kBlock == 0;
                             });
}

bool is_transfer(OpCode code) { return code == OpCode::read || code == OpCode::write; }
bool is_sync(OpCode code) { return code == OpCode::sync_data || code == OpCode::sync_all; }
bool is_resize(OpCode code) {
  return code == OpCode::allocate || code == OpCode::truncate || code == OpCode::punch_hole;
}
bool names_path(OpCode code) {
  return !is_transfer(code) && !is_sync(code) && !is_resize(code) && code != OpCode::close_handle &&
         code != OpCode::lock_file && code != OpCode::advise_random;
}

bool may_change(const Operation& operation) {
  const OpCode code = operation.code;
  if (code == OpCode::open_file) {
    return (operation.flags & (open_flags::create | open_flags::truncate)) != 0;
  }
  return code == OpCode::write || is_sync(code) || is_resize(code) || code == OpCode::rename_file ||
         code == OpCode::unlink_file || code == OpCode::make_directory ||
         code == OpCode::remove_directory;
}

const LatencyModel& latency_of(const DiskOptions& options, OpCode code) {
  if (code == OpCode::read) return options.read;
  if (code == OpCode::write) return options.write;
  return is_sync(code) ? options.sync : options.metadata;
}

std::shared_ptr<const std::vector<std::byte>> copy_of(const Operation& operation,
                                                      std::uint64_t length) {
  auto bytes = std::make_shared<std::vector<std::byte>>();
  bytes->reserve(length);
  for (unsigned i = 0; i < operation.vector_count && bytes->size() < length; ++i) {
    const auto* from = static_cast<const std::byte*>(operation.vectors[i].iov_base);
    const std::size_t part = std::min(operation.vectors[i].iov_len, length - bytes->size());
    bytes->insert(bytes->end(), from, from + part);
  }
  return bytes;
}

}  // namespace

SimDisk::SimDisk(DiskOptions disk_options, core::Random random, DiskImage image)
    : options(disk_options), image_(std::move(image)), random_(random) {}

void SimDisk::fail_next(OpCode code, std::string path, int nth, int error) {
  faults_.push_back({.code = code, .path = std::move(path), .nth = nth, .error = error});
}

void SimDisk::delay_next(OpCode code, std::string path, int nth, core::Duration longer) {
  faults_.push_back({.code = code, .path = std::move(path), .nth = nth, .longer = longer});
}

bool SimDisk::take_back(OpCode code) {
  return std::erase_if(faults_, [code](const Fault& fault) { return fault.code == code; }) > 0;
}

void SimDisk::crash(const CrashPolicy& policy) {
  image_ = test::crash(image_, policy, random_);
  handles_.clear();
}

void SimDisk::release_handles() {
  handles_.clear();
  sweep();
}

void SimDisk::note_write_point() {
  ++write_points_;
  if (observer_) observer_(image_, write_points_);
}

// Submission.

bool SimDisk::handles(OpCode code) { return code <= OpCode::free_space; }

SimDisk::Ticket SimDisk::begin(const Operation& operation, Handle handle) {
  Ticket ticket;
  ticket.latency = latency_of(options, operation.code).draw(random_);
  ticket.write_point = may_change(operation);
  std::int64_t error = 0;
  if (const auto fault = next_fault(operation); fault.has_value()) {
    error = -fault->error;
    ticket.latency += fault->longer;
  }
  if (is_sync(operation.code)) {
    ticket.result = begin_sync(operation, error, ticket);
  } else if (error != 0) {
    ticket.result = error;
  } else {
    execute(operation, handle, ticket);
  }
  if (ticket.write_point) note_write_point();
  return ticket;
}

/// What is to happen to this operation; it happens once.
std::optional<SimDisk::Fault> SimDisk::next_fault(const Operation& operation) {
  if (faults_.empty()) return std::nullopt;
  std::string_view path;
  if (names_path(operation.code)) {
    path = operation.path;
  } else if (const auto open = handles_.find(operation.handle); open != handles_.end()) {
    path = open->second.path;
  }
  for (Fault& fault : faults_) {
    if (fault.code != operation.code || !path.contains(fault.path) || --fault.nth > 0) continue;
    const auto at = faults_.begin() + (&fault - faults_.data());
    Fault found = std::move(fault);
    faults_.erase(at);
    return found;
  }
  return std::nullopt;
}

void SimDisk::execute(const Operation& operation, Handle handle, Ticket& ticket) {
  switch (operation.code) {
    case OpCode::open_file: ticket.result = open(operation, handle); return;
    case OpCode::close_handle: ticket.result = close(operation.handle); return;
    case OpCode::rename_file: ticket.result = rename(operation); return;
    case OpCode::unlink_file: ticket.result = unlink(operation); return;
    case OpCode::make_directory: ticket.result = make_directory(operation); return;
    case OpCode::remove_directory: ticket.result = remove_directory(operation); return;
    case OpCode::lock_file: ticket.result = lock(operation.handle); return;
    case OpCode::read:
    case OpCode::write: begin_transfer(operation, ticket); return;
    case OpCode::allocate:
    case OpCode::truncate: begin_resize(operation, ticket); return;
    case OpCode::punch_hole: begin_hole(operation, ticket); return;
    case OpCode::advise_random:
    case OpCode::list_directory:
    case OpCode::stat_path:
    case OpCode::free_space: return;  // All of it happens in finish().
    case OpCode::sync_data:
    case OpCode::sync_all:
    case OpCode::listen_tcp:
    case OpCode::accept_tcp:
    case OpCode::connect_tcp:
    case OpCode::receive:
    case OpCode::send:
    case OpCode::shutdown_socket:
    case OpCode::resolve_host:
    case OpCode::nop: break;
  }
  SENTINEL_ASSERT(false, "{} is not an operation of a disk", to_string(operation.code));
}

std::int64_t SimDisk::open(const Operation& operation, Handle handle) {
  const std::uint32_t flags = operation.flags;
  DiskImage::Place place = image_.find(operation.path);
  if (place.error != 0) return place.error;
  const bool direct = (flags & open_flags::direct) != 0;
  if (direct && !options.direct) return -EINVAL;
  if (place.inode == 0) {
    if ((flags & open_flags::create) == 0) return -ENOENT;
    if (used_bytes() >= options.capacity_bytes) return -ENOSPC;
    place.inode = image_.create(place, false);
  } else {
    const std::int64_t refused = open_existing(place, flags);
    if (refused != 0) return refused;
  }
  handles_.emplace(handle, OpenFile{place.inode, flags, operation.path});
  return handle;
}

std::int64_t SimDisk::open_existing(const DiskImage::Place& place, std::uint32_t flags) {
  if ((flags & open_flags::create) != 0 && (flags & open_flags::exclusive) != 0) return -EEXIST;
  const bool writes = (flags & (open_flags::write | open_flags::create)) != 0;
  if (image_.is_directory(place.inode)) return writes ? -EISDIR : 0;
  if ((flags & open_flags::directory) != 0) return -ENOTDIR;
  if ((flags & open_flags::truncate) != 0 && image_.size(place.inode) > 0) {
    image_.complete(place.inode, image_.begin(place.inode, {.kind = PendingWrite::Kind::truncate}));
  }
  return 0;
}

void SimDisk::begin_transfer(const Operation& operation, Ticket& ticket) {
  const bool writes = operation.code == OpCode::write;
  const auto found = handles_.find(operation.handle);
  const std::uint32_t needed = writes ? open_flags::write : open_flags::read;
  const bool reads_by_default =
      !writes && found != handles_.end() && (found->second.flags & open_flags::write) == 0;
  ticket.result = -EBADF;
  if (found == handles_.end()) return;
  const OpenFile& file = found->second;
  if ((file.flags & needed) == 0 && !reads_by_default) return;
  ticket.result = -EISDIR;
  if (image_.is_directory(file.inode)) return;
  ticket.result = -EINVAL;
  const bool direct = (file.flags & open_flags::direct) != 0;
  if (direct && !is_aligned(operation)) return;

  std::uint64_t length = total_length(operation);
  // The model of a disk: a sector is written whole or not at all, also where a write was short. The
  // log takes a sector that is torn in itself for rot.
  const std::uint64_t unit = direct ? kBlock : writes ? kSectorBytes : 1;
  if (length > unit && options.short_transfer_probability > 0 &&
      random_.chance(options.short_transfer_probability)) {
    length = (1 + random_.below(length / unit - (length % unit == 0 ? 1 : 0))) * unit;
  }
  ticket.inode = file.inode;
  ticket.result = static_cast<std::int64_t>(length);
  if (!writes || length == 0) return;
  const std::uint64_t end = operation.offset + length;
  if (operation.offset > kFileBytesMax || end > kFileBytesMax) {
    ticket.result = -EFBIG;
  } else if (!fits(file.inode, end)) {
    ticket.result = -ENOSPC;
  } else {
    ticket.change =
        image_.begin(file.inode, {.data_sync = (file.flags & open_flags::data_sync) != 0,
                                  .offset = operation.offset,
                                  .data = copy_of(operation, length)});
  }
}

void SimDisk::begin_resize(const Operation& operation, Ticket& ticket) {
  const auto found = handles_.find(operation.handle);
  if (found == handles_.end() || (found->second.flags & open_flags::write) == 0) {
    ticket.result = -EBADF;
  } else if (operation.offset > kFileBytesMax) {
    ticket.result = -EFBIG;
  } else if (!fits(found->second.inode, operation.offset)) {
    ticket.result = -ENOSPC;
  } else {
    ticket.inode = found->second.inode;
    ticket.change = image_.begin(
        ticket.inode, {.kind = operation.code == OpCode::truncate ? PendingWrite::Kind::truncate
                                                                  : PendingWrite::Kind::allocate,
                       .offset = operation.offset});
  }
}

/// A hole is a write of zeros that a crash may leave undone.
void SimDisk::begin_hole(const Operation& operation, Ticket& ticket) {
  const auto found = handles_.find(operation.handle);
  if (found == handles_.end() || (found->second.flags & open_flags::write) == 0) {
    ticket.result = -EBADF;
    return;
  }
  ticket.inode = found->second.inode;
  const std::uint64_t size = image_.size(ticket.inode);
  if (operation.offset >= size) return;
  const std::uint64_t length = std::min(operation.length, size - operation.offset);
  ticket.change = image_.begin(
      ticket.inode,
      {.offset = operation.offset, .data = std::make_shared<const std::vector<std::byte>>(length)});
}

std::int64_t SimDisk::begin_sync(const Operation& operation, std::int64_t error, Ticket& ticket) {
  const auto found = handles_.find(operation.handle);
  if (found == handles_.end()) return -EBADF;
  ticket.inode = found->second.inode;
  ticket.sync_until = image_.now();
  return error;
}

std::int64_t SimDisk::rename(const Operation& operation) {
  const DiskImage::Place from = image_.find(operation.path);
  const DiskImage::Place to = image_.find(operation.path2);
  if (from.error != 0 || to.error != 0) return from.error != 0 ? from.error : to.error;
  if (from.inode == 0) return -ENOENT;
  if (from.name.empty() || to.name.empty()) return -EBUSY;
  if (to.inode != 0 && to.inode != from.inode) {
    const bool directory = image_.is_directory(from.inode);
    if (image_.is_directory(to.inode) && !directory) return -EISDIR;
    if (!image_.is_directory(to.inode) && directory) return -ENOTDIR;
    if (directory && !image_.names(to.inode).empty()) return -ENOTEMPTY;
  }
  image_.rename(from, to);
  return 0;
}

std::int64_t SimDisk::unlink(const Operation& operation) {
  const DiskImage::Place place = image_.find(operation.path);
  if (place.error != 0) return place.error;
  if (place.inode == 0) return -ENOENT;
  if (image_.is_directory(place.inode)) return -EISDIR;
  image_.unlink(place);
  return 0;
}

std::int64_t SimDisk::make_directory(const Operation& operation) {
  const DiskImage::Place place = image_.find(operation.path);
  if (place.error != 0) return place.error;
  if (place.inode != 0) return -EEXIST;
  if (used_bytes() >= options.capacity_bytes) return -ENOSPC;
  image_.create(place, true);
  return 0;
}

std::int64_t SimDisk::remove_directory(const Operation& operation) {
  const DiskImage::Place place = image_.find(operation.path);
  if (place.error != 0) return place.error;
  if (place.inode == 0) return -ENOENT;
  if (!image_.is_directory(place.inode)) return -ENOTDIR;
  if (!image_.names(place.inode).empty()) return -ENOTEMPTY;
  image_.unlink(place);
  return 0;
}

std::int64_t SimDisk::close(Handle handle) {
  const auto found = handles_.find(handle);
  if (found == handles_.end()) return -EBADF;
  const InodeId inode = found->second.inode;
  handles_.erase(found);
  if (!image_.is_linked(inode)) sweep();
  return 0;
}

std::int64_t SimDisk::lock(Handle handle) {
  const auto found = handles_.find(handle);
  if (found == handles_.end()) return -EBADF;
  for (const auto& [other, open] : handles_) {
    if (other != handle && open.inode == found->second.inode && open.locked) return -EWOULDBLOCK;
  }
  found->second.locked = true;
  return 0;
}

// Completion.

std::int64_t SimDisk::finish(const Ticket& ticket, const Operation& operation) {
  std::int64_t result = ticket.result;
  if (is_sync(operation.code)) {
    if (!image_.exists(ticket.inode)) return result;
    if (result < 0) {
      image_.fail_sync(ticket.inode, ticket.sync_until);
    } else if (image_.is_directory(ticket.inode)) {
      image_.sync_directory(ticket.inode, ticket.sync_until);
      sweep();
    } else {
      image_.sync_file(ticket.inode, ticket.sync_until);
    }
  } else if (result < 0) {
    return result;
  } else if (ticket.change != 0) {
    image_.complete(ticket.inode, ticket.change);
  } else if (operation.code == OpCode::read) {
    result = read(ticket, operation);
  } else if (operation.code == OpCode::list_directory) {
    result = list(operation);
  } else if (operation.code == OpCode::stat_path) {
    result = stat(operation);
  } else if (operation.code == OpCode::free_space) {
    const DiskImage::Place place = image_.find(operation.path);
    if (place.error != 0 || place.inode == 0) return place.error != 0 ? place.error : -ENOENT;
    const std::uint64_t used = std::min(used_bytes(), options.capacity_bytes);
    result = static_cast<std::int64_t>(options.capacity_bytes - used);
  }
  if (ticket.write_point) note_write_point();
  return result;
}

std::int64_t SimDisk::read(const Ticket& ticket, const Operation& operation) {
  auto left = static_cast<std::size_t>(ticket.result);
  std::int64_t done = 0;
  for (unsigned i = 0; i < operation.vector_count && left > 0; ++i) {
    const std::size_t wanted = std::min(operation.vectors[i].iov_len, left);
    auto* into = static_cast<std::byte*>(operation.vectors[i].iov_base);
    const std::uint64_t at = operation.offset + static_cast<std::uint64_t>(done);
    const std::size_t length = image_.read(ticket.inode, at, {into, wanted});
    done += static_cast<std::int64_t>(length);
    left -= wanted;
    if (length < wanted) break;
  }
  return done;
}

std::int64_t SimDisk::list(const Operation& operation) const {
  operation.names->clear();
  const DiskImage::Place place = image_.find(operation.path);
  if (place.error != 0) return place.error;
  if (place.inode == 0) return -ENOENT;
  if (!image_.is_directory(place.inode)) return -ENOTDIR;
  *operation.names = image_.names(place.inode);
  return 0;
}

std::int64_t SimDisk::stat(const Operation& operation) const {
  const DiskImage::Place place = image_.find(operation.path);
  if (place.error != 0) return place.error;
  if (place.inode == 0) return -ENOENT;
  const bool directory = image_.is_directory(place.inode);
  *operation.stat = {.size_bytes = directory ? 0 : image_.size(place.inode),
                     .is_directory = directory};
  return 0;
}

// Space.

namespace {
std::uint64_t charge_of(std::uint64_t size) { return (size + kBlock - 1) / kBlock * kBlock; }
}  // namespace

std::uint64_t SimDisk::used_bytes() const {
  std::uint64_t used = 0;
  for (const InodeId inode : image_.inodes()) {
    const bool charged = image_.is_linked(inode) || is_in_use(inode);
    if (charged && !image_.is_directory(inode)) used += charge_of(image_.size(inode));
  }
  return used;
}

bool SimDisk::is_in_use(InodeId inode) const {
  return std::ranges::any_of(handles_,
                             [&](const auto& each) { return each.second.inode == inode; });
}

bool SimDisk::fits(InodeId inode, std::uint64_t size) const {
  const std::uint64_t before = charge_of(image_.size(inode));
  const std::uint64_t after = charge_of(size);
  return after <= before || used_bytes() + (after - before) <= options.capacity_bytes;
}

void SimDisk::sweep() {
  std::set<InodeId> open;
  for (const auto& [handle, file] : handles_) open.insert(file.inode);
  image_.sweep(open);
}

}  // namespace sentinel::test
