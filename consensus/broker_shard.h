#pragma once
/// All that one shard of one node owns: its stores, the partitions in them, and on shard 0 the
/// controller.
///
/// A data directory has a fixed number of stores, written down when it is made; group g lives in
/// store g % stores, and store s on shard s % shards. So a directory can move to a machine with
/// another number of cores. Partitions are opened when they are first used.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "consensus/cleaner.h"
#include "consensus/controller.h"
#include "consensus/data_directory.h"
#include "consensus/leader_table.h"
#include "consensus/membership_keeper.h"
#include "consensus/metadata.h"
#include "consensus/multi_raft.h"
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
  /// Of the controller's group before its first entry; empty for a node that joined later.
  Configuration controllers = {.voters = {member_of(NodeId(1), 1)}, .learners = {}};
  bool create = false;  ///< Stores may be made; false once the directory has been initialised.
  std::size_t memtable_bytes = std::size_t{32} << 20;
  std::size_t cache_bytes = std::size_t{64} << 20;  ///< Blocks of tables, for each shard.
  lsm::ReadAheadOptions read_ahead = {};            ///< For each shard.
  lsm::WalOptions wal;
  RaftOptions raft = {};  ///< Without `self`.
  core::Duration cleaning_gather = kCleaningGather;
  core::Duration sequence_patience = kSequencePatience;
  core::Log* log = nullptr;  ///< May be null.

  [[nodiscard]] NodeId node() const { return NodeId(identity.node_id); }
};

/// A store that can't be relied on any more, and why.
struct StoreDamage {
  std::uint32_t store = 0;
  std::string what;
};

class BrokerShard final : private CommitObserver, private LeadershipObserver {
 public:
  /// Opens the stores that belong to this shard, and makes those anew that are to be. `layout`
  /// outlives it, and so does `transport`, the way to other nodes, which is null on a node without;
  /// with one, stores that are found damaged are left out, see damaged().
  static core::Task<core::Result<std::unique_ptr<BrokerShard>>> open(
      core::Shard& shard, const BrokerLayout& layout, std::uint32_t shard_count,
      PeerTransport* transport = nullptr);
  ~BrokerShard();
  /// Second step, once all shards are open: `peers[i]` belongs to shard i. On shard 0 starts the
  /// controller.
  core::Task<core::Status> start(std::vector<BrokerShard*> peers);
  core::Task<void> close();

  /// What open() has left out: the groups of these stores are not served.
  [[nodiscard]] const std::vector<StoreDamage>& damaged() const { return damaged_; }
  /// Called when damage shows later, maybe again and again; where another node may make up for it.
  std::function<void(StoreDamage)> on_damage;
  /// Runs in the background what on_damage() or on_settled() begins.
  void run(core::Task<void> task) {
    if (!scope_.cancelled()) scope_.spawn(std::move(task));
  }

  [[nodiscard]] core::Shard& shard() { return shard_; }
  [[nodiscard]] const std::shared_ptr<const MetadataImage>& image() const { return image_; }
  /// Only on shard 0, once that has started.
  [[nodiscard]] Controller& controller() { return *controller_; }
  [[nodiscard]] bool has_controller() const { return controller_ != nullptr; }

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

  /// The oldest record batch, or its place, in the log of a group that lives here; without opening
  /// the partition.
  core::Task<Result<std::optional<EntryKey>>> oldest_batch(GroupId group);

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

  /// The replicas that live here.
  [[nodiscard]] MultiRaft& raft() { return raft_; }
  [[nodiscard]] NodeId node() const { return layout_.node(); }

  // Who leads, on shard 0.

  /// Term 0 while nobody is known to lead.
  [[nodiscard]] GroupLeader leader_of(GroupId group) const;
  /// Whether a node is there at the moment: this one, or one that is heard.
  [[nodiscard]] bool is_alive(NodeId node) const;
  /// What other nodes say, or replicas of this one.
  static core::Task<bool> note_leaders(BrokerShard* self, std::vector<GroupLeader> news);
  [[nodiscard]] std::vector<GroupLeader> led_here() const { return leaders_.led_by(node()); }
  struct ClusterState {
    std::vector<GroupLeader> leaders;  ///< Of the groups that were asked for.
    std::vector<NodeId> alive;         ///< Ascending.
    NodeId controller;                 ///< 0 while none is known.
  };
  static core::Task<ClusterState> describe_cluster(BrokerShard* self, std::vector<GroupId> groups);
  /// Hands the groups that this node leads to others, as far as there are others that can. After it
  /// nothing here waits for other nodes any more.
  core::Task<void> hand_over(core::Deadline deadline);
  /// Lets another member lead a group that is led here. Errc::not_leader; invalid_members when that
  /// one can't take it now.
  static core::Task<Result<void>> transfer_group(BrokerShard* self, GroupId group, MemberId to);
  /// What this node has is what the cluster knows: data that are placed elsewhere may go.
  static core::Task<bool> note_caught_up(BrokerShard* self);
  /// Another node can be reached again.
  void note_link_up() { keeper_.look_at_all(); }
  /// Runs what on_settled() began, a few at a time.
  void report_settled(core::Task<void> report);
  /// Called where a group has the members that the metadata want, until those say so too.
  std::function<void(GroupId, std::uint64_t version)> on_settled;
  /// Resolves to true once the image is as new as the metadata were when it was called; to false
  /// when the controller could not be reached. Not set on a node that is alone.
  std::function<core::Task<bool>()> catch_up;
  /// Called on each shard when it has another image.
  std::function<void(const MetadataImage&)> on_image;
  /// Called on shard 0 when this node has begun to lead groups; set before start().
  std::function<void(const std::vector<GroupLeader>&)> on_led;

  /// Takes over a new image; called by the controller's publication only.
  static core::Task<bool> install_image(BrokerShard* self,
                                        std::shared_ptr<const MetadataImage> image);

 private:
  using Slot = Use::Slot;
  BrokerShard(core::Shard& shard, const BrokerLayout& layout, std::uint32_t shard_count,
              PeerTransport* transport);
  core::Task<core::Status> open_store(std::uint32_t store);
  core::Task<core::Result<std::unique_ptr<lsm::Db>>> open_db(std::uint32_t store,
                                                             std::string directory, bool create);
  core::Task<core::Status> set_aside(std::uint32_t store, std::string directory);
  void remove_aside();
  core::Task<void> remove_aside_of(std::uint32_t store);
  [[nodiscard]] bool is_made_up_for(std::uint32_t store) const;
  void note_damage(std::uint32_t store, const core::Error& error);
  [[nodiscard]] MemberId self(GroupId group) const { return layout_.identity.member(group); }
  [[nodiscard]] Configuration base_of(GroupId group) const;
  [[nodiscard]] bool is_placed_here(GroupId group) const;
  void on_role(const Replica& replica) override;
  void on_lost_entries(const Replica& replica) override;
  void note_lost_entries(GroupId group);
  core::Task<void> tell_leaders();
  core::Task<void> open_replicated(std::vector<GroupId> groups);
  void note_placement(const MetadataImage& before);
  core::Task<void> release_partition(GroupId group);
  core::Task<void> close_slot(Slot* slot);
  core::Task<bool> bring_up_to_date();
  core::Task<bool> may_erase(GroupId group, const Slot* slot);
  core::Task<void> release_strays();
  core::Task<void> run_report(core::Task<void> report);
  MembershipKeeper::Rules keeper_rules();
  [[nodiscard]] std::optional<WantedMembers> wanted_members(GroupId group) const;
  void on_committed(const Partition& partition) override;
  core::Task<void> publish(std::shared_ptr<const MetadataImage> image);
  core::Task<void> open_partition(Slot* slot, GroupId group);
  static core::Task<void> look_ahead_in(Use partition, ReadRequest request);
  void drop_partitions_of(const Topic& topic);
  core::Task<void> drop_partition(GroupId group);
  core::Task<void> erase_partition(GroupId group);
  void add_partition(const Topic& topic, GroupId group, bool is_new);
  core::Task<void> give_up_again();
  core::Task<core::Status> give_up_again_in(lsm::Db& db);
  [[nodiscard]] bool is_home_of(GroupId group) const;
  [[nodiscard]] lsm::Db& store_of(GroupId group) const;

  core::Shard& shard_;
  const BrokerLayout& layout_;
  const std::uint32_t shard_count_;
  const bool has_others_;
  std::vector<BrokerShard*> peers_;
  lsm::BlockCache cache_;
  lsm::ReadAhead read_ahead_;
  std::map<std::uint32_t, std::unique_ptr<lsm::Db>> stores_;
  std::vector<StoreDamage> damaged_;
  std::set<std::uint32_t> set_aside_;  ///< Stores whose damaged ones may still be there.
  MultiRaft raft_;
  std::unique_ptr<Controller> controller_;
  std::shared_ptr<const MetadataImage> image_;
  /// Groups that the image's topics have, with those that are in use.
  std::unordered_map<GroupId, std::unique_ptr<Slot>> slots_;
  std::unordered_map<std::uint64_t, core::CancelSource*> waits_;
  std::uint64_t wait_keys_ = 0;
  // Of bring_up_to_date(). Before those whose tasks wait for it.
  std::uint64_t questions_begun_ = 0;
  std::uint64_t questions_ended_ = 0;
  bool last_answer_ = false;
  core::Signal question_ended_;
  MembershipKeeper keeper_;
  bool caught_up_ = false;
  std::vector<GroupId> lost_entries_;  // Of these groups, as was told before.
  std::size_t reports_ = 0;
  LeaderTable leaders_;  // On shard 0.
  std::vector<GroupLeader> leaders_news_;
  bool telling_ = false;
  bool has_image_ = false;
  Retention retention_;
  Cleaner cleaner_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
