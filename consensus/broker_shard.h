#pragma once
/// All that one shard of one node owns: its stores, the partitions in them, and on shard 0 the
/// controller.
///
/// A data directory has a fixed number of stores, written down when it is made; group g lives in
/// store g % stores, and store s on shard s % shards. So a directory can move to a machine with
/// another number of cores. Partitions are opened when they are first used.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "consensus/cleaner.h"
#include "consensus/controller.h"
#include "consensus/data_directory.h"
#include "consensus/metadata.h"
#include "consensus/partition.h"
#include "consensus/retention.h"
#include "core/log.h"
#include "core/scope.h"
#include "lsm/db.h"

namespace sentinel::consensus {

/// Shared by all shards of a node, constant after start.
struct BrokerLayout {
  std::string data_directory;
  Identity identity;
  bool create = false;  ///< Stores may be made; false once the directory has been initialised.
  std::size_t memtable_bytes = std::size_t{32} << 20;
  std::size_t cache_bytes = std::size_t{64} << 20;  ///< Blocks of tables, for each shard.
  lsm::ReadAheadOptions read_ahead = {};            ///< For each shard.
  lsm::WalOptions wal;
  core::Log* log = nullptr;  ///< May be null.
};

class BrokerShard final : private CommitObserver {
 public:
  /// Opens the stores that belong to this shard. `layout` outlives it.
  static core::Task<core::Result<std::unique_ptr<BrokerShard>>> open(core::Shard& shard,
                                                                     const BrokerLayout& layout,
                                                                     std::uint32_t shard_count);
  ~BrokerShard();
  /// Second step, once all shards are open: `peers[i]` belongs to shard i. On shard 0 starts the
  /// controller.
  core::Task<core::Status> start(std::vector<BrokerShard*> peers);
  core::Task<void> close();

  [[nodiscard]] core::Shard& shard() { return shard_; }
  [[nodiscard]] const std::shared_ptr<const MetadataImage>& image() const { return image_; }
  /// Only on shard 0.
  [[nodiscard]] Controller& controller() { return *controller_; }

  /// The shard where a group lives; the same on every shard.
  [[nodiscard]] BrokerShard& home_of(GroupId group) const;

  /// Keeps a partition from being taken away while it is used.
  class Use {
   public:
    Use() = default;
    Use(Use&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
    Use& operator=(Use&& other) noexcept {
      std::swap(slot_, other.slot_);
      return *this;
    }
    ~Use();
    Partition* operator->() const;
    Partition& operator*() const;

   private:
    friend class BrokerShard;
    struct Slot;
    explicit Use(Slot& slot);
    Slot* slot_ = nullptr;
  };
  /// The partition of a group that lives here, opened if need be. Callers are served in the order
  /// of their calls, so that what they append first comes first. Errc::unknown_topic_or_partition
  /// when no topic has the group, storage_error when it can't be read.
  core::Task<Result<Use>> partition(GroupId group);

  /// Begins to bring in what a read of the partition will need, if that is open;
  /// Partition::look_ahead(). Nobody waits for it.
  void look_ahead(GroupId group, ReadRequest request);

  /// The oldest entry of the log of a group that lives here, without opening the partition.
  core::Task<Result<std::optional<EntryKey>>> oldest_entry(GroupId group);

  /// Where one partition of a long poll stands.
  struct Awaited {
    GroupId group;
    std::uint64_t seen_committed_bytes = 0;  ///< Partition::committed_bytes() when it was read.
  };
  /// Resolves when `missing_bytes` more have been committed to the partitions together, when one of
  /// them is deleted, at the deadline, or when cancel_wait() is called with the same key. A key is
  /// used once.
  static core::Task<bool> wait_for_data(BrokerShard* self, std::uint64_t key,
                                        std::vector<Awaited> awaited, std::uint64_t missing_bytes,
                                        core::Deadline deadline);
  static core::Task<bool> cancel_wait(BrokerShard* self, std::uint64_t key);
  /// A key for wait_for_data() that no other shard of this node makes.
  std::uint64_t new_wait_key() { return (std::uint64_t{shard_.id()} << 48) | ++wait_keys_; }

  /// The term of a group, without opening it. A cluster of one never holds another election.
  [[nodiscard]] Term term_of(GroupId) const { return kFirstTerm; }

  /// Takes over a new image; called by the controller's publication only.
  static core::Task<bool> install_image(BrokerShard* self,
                                        std::shared_ptr<const MetadataImage> image);

 private:
  using Slot = Use::Slot;
  BrokerShard(core::Shard& shard, const BrokerLayout& layout, std::uint32_t shard_count);
  void on_committed(const Partition& partition) override;
  core::Task<void> publish(std::shared_ptr<const MetadataImage> image);
  core::Task<void> open_partition(Slot* slot, GroupId group);
  static core::Task<void> look_ahead_in(Use partition, ReadRequest request);
  void drop_partitions_of(const Topic& topic);
  core::Task<void> drop_partition(GroupId group);
  core::Task<void> erase_partition(GroupId group);
  void add_partitions_of(const Topic& topic, bool is_new);
  core::Task<void> give_up_again();
  core::Task<core::Status> give_up_again_in(lsm::Db& db);
  [[nodiscard]] bool is_home_of(GroupId group) const;
  [[nodiscard]] lsm::Db& store_of(GroupId group) const;

  core::Shard& shard_;
  const BrokerLayout& layout_;
  const std::uint32_t shard_count_;
  std::vector<BrokerShard*> peers_;
  lsm::BlockCache cache_;
  lsm::ReadAhead read_ahead_;
  std::map<std::uint32_t, std::unique_ptr<lsm::Db>> stores_;
  std::unique_ptr<Controller> controller_;
  std::shared_ptr<const MetadataImage> image_;
  /// Groups that the image's topics have, with those that are in use.
  std::unordered_map<GroupId, std::unique_ptr<Slot>> slots_;
  std::unordered_map<std::uint64_t, core::CancelSource*> waits_;
  std::uint64_t wait_keys_ = 0;
  bool has_image_ = false;
  Retention retention_;
  Cleaner cleaner_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
