#pragma once
/// The cluster's metadata: topics and their partitions, as replicated state.
///
/// The controller (group 0) proposes commands; applying them, in log order, is the only way the
/// image changes, so every replica has the same one. The image is immutable once published: shards
/// hold shared_ptr<const MetadataImage> and swap it whole.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "consensus/data_directory.h"
#include "consensus/types.h"
#include "core/codec.h"
#include "core/result.h"
#include "core/uuid.h"

namespace sentinel::consensus {

inline constexpr GroupId kControllerGroup{0};
inline constexpr std::int32_t kPartitionsPerTopicMax = 10'000;
inline constexpr std::size_t kPartitionsMax = 200'000;
inline constexpr std::size_t kTopicNameBytesMax = 249;

struct ConfigEntry {
  std::string name;
  std::string value;
  static void fields(auto& self, auto& visit) {
    visit(self.name);
    visit(self.value);
  }
};

/// A server of the cluster.
struct BrokerNode {
  NodeId id;
  core::Uuid disk_id;
  StoreNumbers numbers;  ///< Asked for in a registration, and given in its answer.
  Boot boot;             ///< The last start that it has reported.
  std::string host;      ///< Where clients reach it.
  std::uint16_t port = 0;
  std::string peer_host;  ///< Where other nodes do.
  std::uint16_t peer_port = 0;
  bool removed = false;  ///< For good; its number stays taken, so that no disk gets it again.

  [[nodiscard]] MemberId member(GroupId group) const { return numbers.member(id, group); }
  friend bool operator==(const BrokerNode&, const BrokerNode&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.id);
    visit(self.disk_id.bytes);
    visit(self.numbers);
    visit(self.boot);
    visit(self.host);
    visit(self.port);
    visit(self.peer_host);
    visit(self.peer_port);
    visit(self.removed);
  }
};

/// Groups that belong to partitions of one topic, in their order.
struct GroupRange {
  GroupId first;
  std::int32_t count = 0;
  friend bool operator==(const GroupRange&, const GroupRange&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.first);
    visit(self.count);
  }
};

/// A partition on its way from where it was.
struct PartitionMove {
  std::int32_t partition = 0;
  std::vector<MemberId> before;   ///< Where it was when it last was where it was to be.
  std::vector<MemberId> leaving;  ///< Those that are to go once all replicas have it.
  std::uint32_t fewest = 0;  ///< Replicas that it was to have at any time since it was settled.
  /// The image's version when this was decided: it may go to and fro, and each time is another.
  std::uint64_t version = 0;
  friend bool operator==(const PartitionMove&, const PartitionMove&) = default;
  static void fields(auto& self, auto& visit) {
    visit(self.partition);
    visit(self.before);
    visit(self.leaving);
    visit(self.fewest);
    visit(self.version);
  }
};

struct Topic {
  std::string name;
  core::Uuid id;
  /// Of the partitions: one range from the topic's creation, one more for each time that it grew.
  /// Ascending. Groups are never used twice.
  std::vector<GroupRange> groups;
  std::int32_t partition_count = 0;
  /// Of each partition, the one that is to lead first.
  std::vector<std::vector<MemberId>> replicas;
  std::vector<PartitionMove> moves;  ///< Ascending, at most one of a partition.
  std::vector<ConfigEntry> configs;

  /// Of a group that the topic has.
  [[nodiscard]] PartitionIndex partition_of(GroupId group) const;
  [[nodiscard]] const std::vector<MemberId>& replicas_of(GroupId group) const {
    return replicas[static_cast<std::size_t>(partition_of(group).value())];
  }
  /// Null when the partition is where it is to be.
  [[nodiscard]] const PartitionMove* move_of(PartitionIndex partition) const;
  [[nodiscard]] bool is_moving(GroupId group) const {
    return move_of(partition_of(group)) != nullptr;
  }
  /// Whether a member keeps the group's data: it has them, or is to have them, or is about to go.
  [[nodiscard]] bool is_placed_on(GroupId group, MemberId member) const;

  /// Whether it has a partition of this number, as a client gave it.
  [[nodiscard]] bool has(std::int32_t partition) const {
    return partition >= 0 && partition < partition_count;
  }
  [[nodiscard]] GroupId group(PartitionIndex partition) const;
  static void fields(auto& self, auto& visit) {
    visit(self.name);
    visit(self.id.bytes);
    visit(self.groups);
    visit(self.partition_count);
    visit(self.replicas);
    visit(self.moves);
    visit(self.configs);
  }
};

struct CreateTopicCommand {
  Topic topic;  ///< Its groups are given when the command is applied.
  static void fields(auto& self, auto& visit) { visit(self.topic); }
};
/// More partitions for a topic; without effect when it has not the ones before them.
struct GrowTopicCommand {
  core::Uuid id;
  std::int32_t partitions_before = 0;
  std::vector<std::vector<MemberId>> replicas;  ///< Of the new ones.
  static void fields(auto& self, auto& visit) {
    visit(self.id.bytes);
    visit(self.partitions_before);
    visit(self.replicas);
  }
};
struct DeleteTopicCommand {
  core::Uuid id;
  static void fields(auto& self, auto& visit) { visit(self.id.bytes); }
};
struct ReserveProducerIdsCommand {
  std::uint32_t count = 0;
  static void fields(auto& self, auto& visit) { visit(self.count); }
};

/// A node has started, or has another address.
struct RegisterNodeCommand {
  BrokerNode node;  ///< Number 0: of a disk, or a store, that the cluster does not know.
  static void fields(auto& self, auto& visit) { visit(self.node); }
};

/// Where a partition is to be from now on. The first of `replicas` is to lead.
struct PlaceGroupCommand {
  GroupId group;
  std::vector<MemberId> replicas;
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.replicas);
  }
};
/// A partition is where it was to be; without effect if that has changed meanwhile.
struct SettleGroupCommand {
  GroupId group;
  std::uint64_t version = 0;  ///< PartitionMove::version
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.version);
  }
};

/// A node is gone for good; without effect while partitions are placed on it.
struct RemoveNodeCommand {
  NodeId id;
  static void fields(auto& self, auto& visit) { visit(self.id); }
};

/// First byte of a command's payload.
enum class CommandType : std::uint8_t {
  create_topic = 1,
  delete_topic = 2,
  reserve_producer_ids = 3,
  register_node = 4,
  place_group = 5,
  settle_group = 6,
  grow_topic = 7,
  remove_node = 8,
};

class MetadataImage {
 public:
  [[nodiscard]] const Topic* find(std::string_view name) const;
  [[nodiscard]] const Topic* find(const core::Uuid& id) const;
  [[nodiscard]] const std::map<std::string, Topic, std::less<>>& topics() const { return topics_; }
  /// The topic that has this group; null when none has.
  [[nodiscard]] const Topic* topic_of(GroupId group) const;
  [[nodiscard]] bool has_group(GroupId group) const { return topic_of(group) != nullptr; }
  /// Who the group was made of: what its configuration is before its first entry.
  [[nodiscard]] std::vector<MemberId> first_replicas_of(GroupId group) const;
  /// Whether the disk of a group's member has been replaced by another one, or its store been made
  /// anew, or its node been removed.
  [[nodiscard]] bool is_gone(GroupId group, MemberId member) const;
  /// Empty for a node that is a cluster of its own and takes in no others. With those that were
  /// removed.
  [[nodiscard]] const std::map<NodeId, BrokerNode>& nodes() const { return nodes_; }
  /// Whether a partition is, or is to be, or has just been on the node.
  [[nodiscard]] bool is_in_use(NodeId node) const;
  /// Whether the group's topic has been deleted. Of a group that is not known nothing is: this
  /// image may be older than the group.
  [[nodiscard]] bool is_deleted(GroupId group) const {
    return group != kControllerGroup && group < next_group_ && !has_group(group);
  }
  /// The first group that is not known.
  [[nodiscard]] GroupId next_group() const { return next_group_; }
  /// Ranges [first, behind the last) of groups whose topics have been deleted.
  [[nodiscard]] std::vector<std::pair<GroupId, GroupId>> deleted_groups() const;
  [[nodiscard]] std::size_t partition_count() const { return partition_count_; }
  [[nodiscard]] ProducerId next_producer_id() const { return next_producer_id_; }
  /// Counts applied commands.
  [[nodiscard]] std::uint64_t version() const { return version_; }

  /// Applies one committed command. A command that no longer fits (the topic exists, or is gone)
  /// changes nothing: who proposed it looks at the outcome. Errc::corruption for bytes that are no
  /// command: the state must not go on from there.
  core::Status apply(core::ByteSpan command);

  [[nodiscard]] core::Bytes encode() const;
  static core::Result<MetadataImage> decode(core::ByteSpan bytes);

 private:
  void create(Topic topic);
  void grow(GrowTopicCommand command);
  void insert(Topic topic);
  void remove(const core::Uuid& id);
  void register_node(BrokerNode node);
  void remove_node(NodeId id);
  void place(GroupId group, std::vector<MemberId> replicas);
  void settle(const SettleGroupCommand& command);
  void bring_up_to_date(GroupId group, std::vector<MemberId>& members) const;
  void replace_members(const BrokerNode& before, const BrokerNode& now);
  Topic* topic_to_change(GroupId group);

  std::map<NodeId, BrokerNode> nodes_;
  std::map<GroupId, std::vector<MemberId>> first_replicas_;  // Of groups that have moved.
  std::map<std::string, Topic, std::less<>> topics_;
  std::map<core::Uuid, std::string> names_;
  std::map<GroupId, core::Uuid> by_group_;  // Of the first one of each of the topics' ranges.
  std::size_t partition_count_ = 0;
  GroupId next_group_{1};
  ProducerId next_producer_id_{0};
  std::uint64_t version_ = 0;
};

template <core::Described Command>
core::Bytes encode_command(CommandType type, const Command& command) {
  core::ByteWriter out;
  out.u8(static_cast<std::uint8_t>(type));
  core::encode_fields(out, command);
  return out.to_bytes();
}

/// Whether Kafka allows the name: 1 to 249 of [a-zA-Z0-9._-], not "." or "..".
bool is_legal_topic_name(std::string_view name);

}  // namespace sentinel::consensus
