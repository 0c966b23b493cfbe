#pragma once
/// What is on a simulated disk at one moment: the newest contents as the running system sees them,
/// what of it is durable, and everything in between that a crash may keep or lose.
///
/// Contents and names are durable separately, as POSIX has it: a synced file whose directory was
/// not synced may be gone, and a durable name may lead to a file without its contents. A name that
/// was changed and not synced leaves its change in a journal. Images are cheap to copy.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "test/support/sim_contents.h"

namespace sentinel::test {

using InodeId = std::uint64_t;

/// A change to one file that is not durable. Torn at multiples of kSectorBytes while in flight.
struct PendingWrite {
  enum class Kind : std::uint8_t { write, truncate, allocate };
  Kind kind = Kind::write;
  bool data_sync = false;       ///< Durable once complete.
  bool forced = false;          ///< Durable, but replayed behind older pending changes.
  std::uint64_t id = 0;         ///< In the order of submission.
  std::uint64_t completed = 0;  ///< In the order of completion; 0 while in flight.
  std::uint64_t offset = 0;     ///< For truncate and allocate: the new size.
  std::shared_ptr<const std::vector<std::byte>> data{};

  [[nodiscard]] std::uint64_t end() const { return offset + (data ? data->size() : 0); }
  [[nodiscard]] std::size_t sector_count() const;
};
inline constexpr std::size_t kSectorBytes = 512;

/// A change of names that is not durable. `from` is empty for a new name, `to` for a removed one.
struct NameChange {
  std::uint64_t id = 0;
  InodeId from_directory = 0;
  std::string from{};
  InodeId to_directory = 0;
  std::string to{};
  InodeId inode = 0;

  [[nodiscard]] bool touches(InodeId directory) const {
    return (!from.empty() && from_directory == directory) ||
           (!to.empty() && to_directory == directory);
  }
  /// Whether the order of the two can be told from the names.
  [[nodiscard]] bool depends_on(const NameChange& earlier) const;
};

/// How much of one pending change a crash leaves.
struct Survival {
  enum class Part : std::uint8_t { none, all, size_only, sectors };
  Part part = Part::none;
  std::vector<bool> sectors;  ///< For Part::sectors: one a sector of the write.
};

/// One pending change as the crash enumeration sees it.
struct PendingUnit {
  bool is_name = false;
  bool in_flight = false;
  bool extends = false;  ///< A write behind the durable end of its file.
  InodeId inode = 0;
  std::uint64_t id = 0;
  std::size_t sectors = 0;
};

class DiskImage {
 public:
  DiskImage();

  // As the running system sees it. Paths are absolute; errors are negative errno values.

  static constexpr InodeId kRoot = 1;
  struct Place {
    std::int64_t error = 0;
    InodeId directory = 0;
    std::string name{};  ///< Empty for the root.
    InodeId inode = 0;   ///< 0 when there is nothing of that name.
  };
  [[nodiscard]] Place find(std::string_view path) const;
  [[nodiscard]] bool exists(InodeId inode) const { return inodes_.contains(inode); }
  [[nodiscard]] bool is_directory(InodeId inode) const { return at(inode).directory; }
  [[nodiscard]] bool is_linked(InodeId inode) const { return at(inode).linked; }
  [[nodiscard]] std::uint64_t size(InodeId inode) const { return at(inode).visible.size(); }
  [[nodiscard]] std::vector<std::string> names(InodeId directory) const;
  [[nodiscard]] std::vector<InodeId> inodes() const;
  std::size_t read(InodeId inode, std::uint64_t offset, std::span<std::byte> into) const;

  InodeId create(const Place& place, bool directory);
  void unlink(const Place& place);
  /// Both places exist as far as find() is concerned; what stood at `to` is replaced.
  void rename(const Place& from, const Place& to);

  /// Puts a change in flight; returns its id.
  std::uint64_t begin(InodeId inode, PendingWrite change);
  /// The change is visible from now on.
  void complete(InodeId inode, std::uint64_t id);
  void drop(InodeId inode, std::uint64_t id);

  /// A point in the order of completions. A sync covers what came before the point at which it was
  /// submitted.
  [[nodiscard]] std::uint64_t now() const { return completions_; }
  void sync_file(InodeId inode, std::uint64_t until);
  void sync_directory(InodeId inode, std::uint64_t until);
  /// The sync failed: what it would have covered stays visible and never becomes durable.
  void fail_sync(InodeId inode, std::uint64_t until);
  /// Forgets files that have no name, no change in flight, and are not in `open`.
  void sweep(const std::set<InodeId>& open);

  // For tests: durable at once.

  void make_directories(std::string_view path);
  /// Replaces or creates a file.
  void put(std::string_view path, std::string_view contents);
  /// The visible contents, or nothing.
  [[nodiscard]] std::optional<std::string> get(std::string_view path) const;
  /// Flips the bits of `mask` in one stored byte: rot.
  void flip(std::string_view path, std::uint64_t offset, std::uint8_t mask);
  /// All files as "path=contents", sorted; directories end in a slash.
  [[nodiscard]] std::vector<std::string> listing() const;

  // Crashes.

  /// What a crash may keep or lose: changes of files in order of completion, those in flight last,
  /// then names in their order.
  [[nodiscard]] std::vector<PendingUnit> pending() const;
  /// The disk after a crash that left `survival[i]` of pending()[i]. A name change whose
  /// predecessors are lost is lost.
  [[nodiscard]] DiskImage after_crash(std::span<const Survival> survival) const;
  /// Equal for equal trees of names and contents; of the visible state.
  [[nodiscard]] std::uint64_t hash() const;

 private:
  struct Inode {
    bool directory = false;
    bool linked = true;        ///< Has a visible name.
    bool sync_failed = false;  ///< What is visible will never be what is durable.
    SimContents visible;
    std::optional<SimContents> durable;  ///< Nothing: as visible.
    std::vector<PendingWrite> in_flight;
    std::vector<PendingWrite> pending;  ///< Completed, in order.
    std::map<std::string, InodeId, std::less<>> names;
    std::map<std::string, InodeId, std::less<>> durable_names;
  };
  [[nodiscard]] const Inode& at(InodeId inode) const { return *inodes_.at(inode); }
  Inode& writable(InodeId inode);
  static void apply(SimContents& contents, const PendingWrite& change);
  static void apply_part(SimContents& contents, const PendingWrite& change, const Survival& part);
  void apply(const NameChange& change);
  void record(NameChange change);
  void reset_to_durable(Inode& inode) const;
  void hash_directory(InodeId inode, std::uint64_t path, std::uint64_t& sum) const;
  void list_directory(InodeId inode, const std::string& path, std::vector<std::string>& out) const;
  void collect_reachable(InodeId inode, bool durable, std::set<InodeId>& reached) const;

  std::map<InodeId, std::shared_ptr<Inode>> inodes_;
  std::vector<NameChange> journal_;
  InodeId next_inode_ = kRoot + 1;
  std::uint64_t changes_ = 0;
  std::uint64_t completions_ = 0;
};

}  // namespace sentinel::test
