#include "test/support/sim_disk_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "core/assert.h"

namespace sentinel::test {

std::size_t PendingWrite::sector_count() const {
  if (kind != Kind::write || data->empty()) return 0;
  return (end() + kSectorBytes - 1) / kSectorBytes - offset / kSectorBytes;
}

bool NameChange::depends_on(const NameChange& earlier) const {
  const auto same = [](InodeId a, const std::string& x, InodeId b, const std::string& y) {
    return !x.empty() && a == b && x == y;
  };
  return same(from_directory, from, earlier.from_directory, earlier.from) ||
         same(from_directory, from, earlier.to_directory, earlier.to) ||
         same(to_directory, to, earlier.from_directory, earlier.from) ||
         same(to_directory, to, earlier.to_directory, earlier.to);
}

DiskImage::DiskImage() {
  auto root = std::make_shared<Inode>();
  root->directory = true;
  inodes_.emplace(kRoot, std::move(root));
}

DiskImage::Inode& DiskImage::writable(InodeId inode) {
  std::shared_ptr<Inode>& slot = inodes_.at(inode);
  if (slot.use_count() > 1) slot = std::make_shared<Inode>(*slot);
  return *slot;
}

// Names.

DiskImage::Place DiskImage::find(std::string_view path) const {
  Place place{.directory = kRoot, .inode = kRoot};
  while (!path.empty()) {
    const std::size_t slash = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, slash);
    path.remove_prefix(std::min(slash + 1, path.size()));
    if (name.empty() || name == ".") continue;
    if (place.inode == 0) return {.error = -ENOENT};
    if (!at(place.inode).directory) return {.error = -ENOTDIR};
    place.directory = place.inode;
    place.name = name;
    const auto& names = at(place.directory).names;
    const auto entry = names.find(name);
    place.inode = entry == names.end() ? 0 : entry->second;
  }
  return place;
}

std::vector<std::string> DiskImage::names(InodeId directory) const {
  std::vector<std::string> names;
  for (const auto& [name, inode] : at(directory).names) names.push_back(name);
  return names;
}

std::vector<InodeId> DiskImage::inodes() const {
  std::vector<InodeId> ids;
  for (const auto& [id, inode] : inodes_) ids.push_back(id);
  return ids;
}

InodeId DiskImage::create(const Place& place, bool directory) {
  auto inode = std::make_shared<Inode>();
  inode->directory = directory;
  const InodeId id = next_inode_++;
  inodes_.emplace(id, std::move(inode));
  writable(place.directory).names[place.name] = id;
  record({.to_directory = place.directory, .to = place.name, .inode = id});
  return id;
}

void DiskImage::unlink(const Place& place) {
  writable(place.directory).names.erase(place.name);
  writable(place.inode).linked = false;
  record({.from_directory = place.directory, .from = place.name, .inode = place.inode});
}

void DiskImage::rename(const Place& from, const Place& to) {
  if (from.inode == to.inode) return;
  if (to.inode != 0) writable(to.inode).linked = false;
  writable(from.directory).names.erase(from.name);
  writable(to.directory).names[to.name] = from.inode;
  record({.from_directory = from.directory,
          .from = from.name,
          .to_directory = to.directory,
          .to = to.name,
          .inode = from.inode});
}

void DiskImage::record(NameChange change) {
  change.id = ++completions_;
  journal_.push_back(std::move(change));
}

void DiskImage::apply(const NameChange& change) {
  // The directory itself may be gone: its own name was lost, and with it all in it.
  if (!change.from.empty() && inodes_.contains(change.from_directory)) {
    writable(change.from_directory).durable_names.erase(change.from);
  }
  if (!change.to.empty() && inodes_.contains(change.to_directory)) {
    writable(change.to_directory).durable_names[change.to] = change.inode;
  }
}

void DiskImage::sync_directory(InodeId inode, std::uint64_t until) {
  std::vector<bool> chosen(journal_.size());
  for (std::size_t i = journal_.size(); i-- > 0;) {
    if (journal_[i].id <= until && journal_[i].touches(inode)) chosen[i] = true;
    if (!chosen[i]) continue;
    for (std::size_t j = 0; j < i; ++j) {
      if (journal_[i].depends_on(journal_[j])) chosen[j] = true;
    }
  }
  std::vector<NameChange> left;
  for (std::size_t i = 0; i < journal_.size(); ++i) {
    if (chosen[i]) {
      apply(journal_[i]);
    } else {
      left.push_back(std::move(journal_[i]));
    }
  }
  journal_ = std::move(left);
}

// Contents.

std::size_t DiskImage::read(InodeId inode, std::uint64_t offset, std::span<std::byte> into) const {
  return exists(inode) ? at(inode).visible.read(offset, into) : 0;
}

void DiskImage::apply(SimContents& contents, const PendingWrite& change) {
  switch (change.kind) {
    case PendingWrite::Kind::write: contents.write(change.offset, *change.data); return;
    case PendingWrite::Kind::truncate: contents.resize(change.offset); return;
    case PendingWrite::Kind::allocate:
      contents.resize(std::max(contents.size(), change.offset));
      return;
  }
}

std::uint64_t DiskImage::begin(InodeId inode, PendingWrite change) {
  change.id = ++changes_;
  writable(inode).in_flight.push_back(std::move(change));
  return changes_;
}

void DiskImage::drop(InodeId inode, std::uint64_t id) {
  std::erase_if(writable(inode).in_flight,
                [id](const PendingWrite& each) { return each.id == id; });
}

void DiskImage::complete(InodeId inode, std::uint64_t id) {
  Inode& file = writable(inode);
  const auto found = std::ranges::find(file.in_flight, id, &PendingWrite::id);
  SENTINEL_ASSERT(found != file.in_flight.end());
  PendingWrite change = std::move(*found);
  file.in_flight.erase(found);
  change.completed = ++completions_;
  const bool simple = file.pending.empty();
  if (change.data_sync && change.kind == PendingWrite::Kind::write) {
    if (simple) {
      if (file.durable) apply(*file.durable, change);
      apply(file.visible, change);
      return;
    }
    change.forced = true;
    // A durable write takes the file's metadata along.
    for (PendingWrite& each : file.pending) each.forced |= each.kind != PendingWrite::Kind::write;
  }
  if (simple && !file.durable) file.durable = file.visible;
  apply(file.visible, change);
  file.pending.push_back(std::move(change));
}

void DiskImage::sync_file(InodeId inode, std::uint64_t until) {
  if (!inodes_.contains(inode) || at(inode).pending.empty()) return;
  Inode& file = writable(inode);
  std::size_t covered = 0;
  while (covered < file.pending.size() && file.pending[covered].completed <= until) ++covered;
  if (covered == file.pending.size() && !file.sync_failed) {
    file.durable.reset();
  } else {
    for (std::size_t i = 0; i < covered; ++i) apply(*file.durable, file.pending[i]);
  }
  file.pending.erase(file.pending.begin(),
                     file.pending.begin() + static_cast<std::ptrdiff_t>(covered));
}

void DiskImage::fail_sync(InodeId inode, std::uint64_t until) {
  Inode& file = writable(inode);
  if (file.directory) {
    std::erase_if(journal_,
                  [&](const NameChange& each) { return each.id <= until && each.touches(inode); });
    return;
  }
  const auto covered = [until](const PendingWrite& each) {
    return each.completed <= until && !each.forced;
  };
  if (std::erase_if(file.pending, covered) > 0) file.sync_failed = true;
}

void DiskImage::collect_reachable(InodeId inode, bool durable, std::set<InodeId>& reached) const {
  if (!inodes_.contains(inode) || !reached.insert(inode).second) return;
  const Inode& found = at(inode);
  for (const auto& [name, below] : durable ? found.durable_names : found.names) {
    collect_reachable(below, durable, reached);
  }
}

void DiskImage::sweep(const std::set<InodeId>& open) {
  std::set<InodeId> visible;
  collect_reachable(kRoot, false, visible);
  std::set<InodeId> kept;
  collect_reachable(kRoot, true, kept);
  for (const NameChange& each : journal_) collect_reachable(each.inode, true, kept);
  std::erase_if(inodes_, [&](const auto& entry) {
    return !visible.contains(entry.first) && !kept.contains(entry.first) &&
           !open.contains(entry.first) && entry.second->in_flight.empty();
  });
}

// For tests.

void DiskImage::make_directories(std::string_view path) {
  std::size_t end = 0;
  while (end < path.size()) {
    end = std::min(path.find('/', end + 1), path.size());
    const Place place = find(path.substr(0, end));
    if (place.inode == 0) create(place, true);
    sync_directory(place.directory, now());
  }
}

void DiskImage::put(std::string_view path, std::string_view contents) {
  Place place = find(path);
  SENTINEL_ASSERT(place.error == 0 && !place.name.empty(), "no place for {}", path);
  if (place.inode == 0) place.inode = create(place, false);
  sync_directory(place.directory, now());
  Inode& file = writable(place.inode);
  file.visible = SimContents();
  file.visible.write(0, std::as_bytes(std::span(contents)));
  file.durable.reset();
  file.pending.clear();
}

std::optional<std::string> DiskImage::get(std::string_view path) const {
  const Place place = find(path);
  if (place.error != 0 || place.inode == 0 || at(place.inode).directory) return std::nullopt;
  std::string text(size(place.inode), '\0');
  read(place.inode, 0, std::as_writable_bytes(std::span(text)));
  return text;
}

void DiskImage::flip(std::string_view path, std::uint64_t offset, std::uint8_t mask) {
  const Place place = find(path);
  SENTINEL_ASSERT(place.inode != 0 && offset < size(place.inode), "no byte {} in {}", offset, path);
  Inode& file = writable(place.inode);
  const auto flip_in = [&](SimContents& contents) {
    std::byte value{};
    contents.read(offset, {&value, 1});
    value ^= std::byte{mask};
    contents.write(offset, {&value, 1});
  };
  flip_in(file.visible);
  if (file.durable && offset < file.durable->size()) flip_in(*file.durable);
}

std::vector<std::string> DiskImage::listing() const {
  std::vector<std::string> out;
  list_directory(kRoot, "", out);
  return out;
}

void DiskImage::list_directory(InodeId inode, const std::string& path,
                               std::vector<std::string>& out) const {
  for (const auto& [name, below] : at(inode).names) {
    const std::string full = path + "/" + name;
    if (at(below).directory) {
      out.push_back(full + "/");
      list_directory(below, full, out);
    } else {
      out.push_back(fmt::format("{}={}", full, *get(full)));
    }
  }
}

std::uint64_t DiskImage::hash() const {
  std::uint64_t sum = 0;
  hash_directory(kRoot, 1, sum);
  return sum;
}

void DiskImage::hash_directory(InodeId inode, std::uint64_t path, std::uint64_t& sum) const {
  for (const auto& [name, below] : at(inode).names) {
    std::uint64_t full = mix_hash(path, name.size());
    for (const char c : name) full = mix_hash(full, static_cast<std::uint8_t>(c));
    const Inode& found = at(below);
    sum += mix_hash(full, found.directory ? 1 : found.visible.hash());
    if (found.directory) hash_directory(below, full, sum);
  }
}

// Crashes.

std::vector<PendingUnit> DiskImage::pending() const {
  std::vector<PendingUnit> units;
  const auto add = [&](InodeId inode, const SimContents& durable, const PendingWrite& each) {
    const bool is_write = each.kind == PendingWrite::Kind::write;
    units.push_back({.in_flight = each.completed == 0,
                     .extends = is_write && each.end() > durable.size(),
                     .inode = inode,
                     .id = each.id,
                     .sectors = each.sector_count()});
  };
  for (const auto& [id, inode] : inodes_) {
    const SimContents& durable = inode->durable ? *inode->durable : inode->visible;
    for (const PendingWrite& each : inode->pending) {
      if (!each.forced) add(id, durable, each);
    }
    for (const PendingWrite& each : inode->in_flight) add(id, durable, each);
  }
  for (const NameChange& each : journal_) {
    units.push_back({.is_name = true, .inode = each.inode, .id = each.id});
  }
  return units;
}

void DiskImage::apply_part(SimContents& contents, const PendingWrite& change,
                           const Survival& survival) {
  switch (survival.part) {
    case Survival::Part::none: return;
    case Survival::Part::all: apply(contents, change); return;
    case Survival::Part::size_only:
      contents.resize(std::max(contents.size(), change.end()));
      return;
    case Survival::Part::sectors: break;
  }
  std::uint64_t at = change.offset;
  for (std::size_t i = 0; at < change.end(); ++i) {
    const std::uint64_t next = std::min((at / kSectorBytes + 1) * kSectorBytes, change.end());
    if (survival.sectors.at(i)) {
      contents.write(at, core::ByteSpan(*change.data).subspan(at - change.offset, next - at));
    }
    at = next;
  }
}

void DiskImage::reset_to_durable(Inode& inode) const {
  if (inode.durable) inode.visible = std::move(*inode.durable);
  inode.durable.reset();
  inode.pending.clear();
  inode.in_flight.clear();
  inode.sync_failed = false;
  inode.names = inode.durable_names;
}

DiskImage DiskImage::after_crash(std::span<const Survival> survival) const {
  DiskImage image = *this;
  std::size_t unit = 0;
  for (const auto& [id, before] : inodes_) {
    const bool clean = before->pending.empty() && before->in_flight.empty() && !before->durable &&
                       !before->directory;
    if (clean) continue;
    Inode& inode = image.writable(id);
    if (!inode.durable) inode.durable = inode.visible;
    for (const PendingWrite& each : before->pending) {
      if (each.forced) {
        apply(*inode.durable, each);
      } else {
        apply_part(*inode.durable, each, survival[unit++]);
      }
    }
    for (const PendingWrite& each : before->in_flight) {
      apply_part(*inode.durable, each, survival[unit++]);
    }
  }
  std::vector<bool> kept(journal_.size());
  for (std::size_t i = 0; i < journal_.size(); ++i) {
    kept[i] = survival[unit++].part == Survival::Part::all;
    for (std::size_t j = 0; j < i && kept[i]; ++j) {
      if (!kept[j] && journal_[i].depends_on(journal_[j])) kept[i] = false;
    }
    if (kept[i]) image.apply(journal_[i]);
  }
  image.journal_.clear();
  for (auto& [id, inode] : image.inodes_) {
    const bool clean = inode->linked && !inode->directory && !inode->durable;
    if (clean) continue;
    Inode& changed = image.writable(id);
    changed.linked = true;
    image.reset_to_durable(changed);
  }
  image.sweep({});
  return image;
}

}  // namespace sentinel::test
