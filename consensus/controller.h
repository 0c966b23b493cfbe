#pragma once
/// The controller: decides on topics and producer ids, and is the only one who changes the
/// metadata.
///
/// Runs on the home shard of group 0. A decision is proposed to the group's log; applying the
/// committed command changes the image, and the answer is given once every shard has that image, so
/// that a client that was told "created" finds the topic wherever it asks.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "consensus/membership.h"
#include "consensus/metadata.h"
#include "consensus/replica.h"
#include "core/random.h"
#include "core/scope.h"
#include "core/sync.h"

namespace sentinel::consensus {

struct NewTopic {
  std::string name;
  std::int32_t partition_count = 1;
  /// On how many nodes each partition is kept; -1: on three, or as many as there are.
  std::int32_t replication_factor = -1;
  /// Of each partition, if the client has chosen; its first node is to lead.
  std::vector<std::vector<NodeId>> assignment;
  std::vector<ConfigEntry> configs;

  static void fields(auto& self, auto& visit) {
    visit(self.name);
    visit(self.partition_count);
    visit(self.replication_factor);
    visit(self.assignment);
    visit(self.configs);
  }
};

/// A node that partitions can be placed on.
struct PlaceableNode {
  NodeId id;
  MemberId member;
  bool alive = false;
};

class Controller final : public StateMachine {
 public:
  /// Hands a new image to every shard of this node; resolves when all have it.
  using Publish = std::function<core::Task<void>(std::shared_ptr<const MetadataImage>)>;
  /// Whether a node is there at the moment.
  using IsAlive = std::function<bool(NodeId)>;

  /// References outlive the controller. Publishes the recovered image before it returns.
  /// `base`: Replica::open().
  static core::Task<core::Result<std::unique_ptr<Controller>>> open(core::Shard& shard,
                                                                    RaftHost& host, lsm::Db& db,
                                                                    Configuration base,
                                                                    Publish publish,
                                                                    IsAlive is_alive);
  ~Controller();

  /// Whether this node leads the group. Else all that decides answers not_leader; timed_out when
  /// that is lost meanwhile: what was asked for may then still come about.
  [[nodiscard]] bool leads() const { return replica_.is_leader(); }
  [[nodiscard]] const MetadataImage& image() const { return image_; }
  [[nodiscard]] Replica& replica() { return replica_; }
  /// Resolves when every shard of this node has an image at least as new; false at the deadline.
  core::Task<bool> until_published(std::uint64_t version, core::Deadline deadline);

  /// Errc::topic_already_exists, invalid_topic (name), invalid_partitions (count, or too many in
  /// all), invalid_replication_factor (more than there are nodes), invalid_members (an assignment
  /// to nodes that are not there).
  core::Task<Result<Topic>> create_topic(NewTopic topic);
  /// Only checks what create_topic() would answer now.
  [[nodiscard]] Result<void> check_new_topic(const NewTopic& topic) const;
  /// Takes a node in, or notes that it has started. Errc::stale_disk for a copy of one that has
  /// been used since, node_removed for one that is to be no more. For a store that is to be made
  /// anew: recovering while others get what they lack, only_copy when they are too few.
  core::Task<Result<BrokerNode>> register_node(BrokerNode node);
  /// Errc::unknown_topic_or_partition.
  core::Task<Result<Topic>> delete_topic(core::Uuid id);
  /// Where a partition is to be. Errc::unknown_topic_or_partition; invalid_members when a node is
  /// not there.
  core::Task<Result<void>> place_group(GroupId group, std::vector<NodeId> nodes);
  /// Where a partition was before it began to move, it is to stay. Errc::not_moving.
  core::Task<Result<void>> cancel_move(GroupId group);
  /// Gives a topic more partitions, `count` in all. Errc::unknown_topic_or_partition,
  /// invalid_partitions (not more than there are, or too many), invalid_members (an assignment of
  /// the new ones that does not fit).
  core::Task<Result<Topic>> grow_topic(core::Uuid id, std::int32_t count,
                                       std::vector<std::vector<NodeId>> assignment);
  /// Only checks what grow_topic() would answer now.
  [[nodiscard]] Result<void> check_growth(core::Uuid id, std::int32_t count,
                                          const std::vector<std::vector<NodeId>>& assignment) const;
  /// A node that is stopped and has no partitions goes for good. Errc::unknown_node, node_in_use,
  /// node_is_alive.
  core::Task<Result<void>> remove_node(NodeId id);
  /// A group has the members that were wanted.
  core::Task<Result<void>> settle_group(SettleGroupCommand settled);
  /// Who is to take part in the controller's own group: a few nodes vote, all others learn.
  [[nodiscard]] std::optional<WantedMembers> wanted_members() const;
  /// An id that was never given out before, also across restarts.
  core::Task<Result<ProducerId>> new_producer_id();
  core::Task<void> close();

 private:
  Controller(core::Shard& shard, RaftHost& host, lsm::Db& db, Publish publish, IsAlive is_alive);
  void apply(const CommittedEntry& entry) override;
  void on_leading(bool leads) override;
  core::Status restore(const Snapshot& snapshot, const LogStart& start) override;
  core::Task<core::Status> recover(Configuration base);
  core::Task<Result<void>> propose(core::Bytes command);
  [[nodiscard]] Result<std::vector<std::vector<MemberId>>> place(const NewTopic& topic) const;
  [[nodiscard]] Result<std::vector<std::vector<MemberId>>> place_growth(
      core::Uuid id, std::int32_t count, const std::vector<std::vector<NodeId>>& assignment) const;
  [[nodiscard]] std::vector<PlaceableNode> placeable_nodes() const;
  core::Task<Result<Topic>> delete_alone(core::Uuid id);
  core::Task<Result<Topic>> grow_alone(core::Uuid id, std::int32_t count,
                                       std::vector<std::vector<NodeId>> assignment);
  core::Task<Result<BrokerNode>> take_in(BrokerNode node);
  [[nodiscard]] bool is_there(NodeId id) const { return id == self_ || is_alive_(id); }
  [[nodiscard]] Result<void> may_renew(const BrokerNode& node, std::uint32_t store) const;
  core::Task<void> publish_loop();

  core::Shard& shard_;
  Replica replica_;
  const NodeId self_;
  const Publish publish_;
  const IsAlive is_alive_;
  MetadataImage image_;
  std::uint64_t published_version_ = 0;
  EntryKey last_applied_;
  std::uint64_t entries_since_snapshot_ = 0;

  ProducerId next_producer_id_{0};  // Of the reserved block that is being given out.
  ProducerId reserved_end_{0};
  core::Semaphore reserving_;
  // One store, and one topic, at a time: what is asked next depends on what was done. Of two that
  // delete a topic at the same time only one does.
  core::Semaphore renewing_;
  core::Semaphore changing_;

  bool closing_ = false;
  core::Signal changed_;
  core::Signal published_;
  core::TaskScope scope_;
};

}  // namespace sentinel::consensus
