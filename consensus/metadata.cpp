#include "consensus/metadata.h"

#include <algorithm>

namespace sentinel::consensus {

namespace {

GroupId end_of(const GroupRange& range) {
  return range.first + static_cast<std::uint64_t>(range.count);
}

struct FirstReplicas {
  GroupId group;
  std::vector<MemberId> replicas;
  static void fields(auto& self, auto& visit) {
    visit(self.group);
    visit(self.replicas);
  }
};

struct StoredImage {
  std::vector<Topic> topics;
  std::vector<BrokerNode> nodes;
  std::vector<FirstReplicas> first_replicas;
  GroupId next_group;
  ProducerId next_producer_id;
  std::uint64_t version = 0;

  static void fields(auto& self, auto& visit) {
    visit(self.topics);
    visit(self.nodes);
    visit(self.first_replicas);
    visit(self.next_group);
    visit(self.next_producer_id);
    visit(self.version);
  }
};

bool sound(const Topic& topic) {
  return is_legal_topic_name(topic.name) && topic.partition_count > 0 &&
         topic.partition_count <= kPartitionsPerTopicMax &&
         std::ssize(topic.replicas) == topic.partition_count &&
         std::ranges::is_sorted(topic.moves, std::ranges::less(), &PartitionMove::partition) &&
         std::ranges::all_of(
             topic.moves, [&](const PartitionMove& move) { return topic.has(move.partition); }) &&
         std::ranges::none_of(topic.replicas, &std::vector<MemberId>::empty);
}

/// Also the ranges of its groups, which a topic gets when it is made.
bool has_sound_groups(const Topic& topic) {
  std::int64_t count = 0;
  for (const GroupRange& range : topic.groups) {
    if (range.count < 1) return false;
    count += range.count;
  }
  return count == topic.partition_count;
}

bool contains(const std::vector<MemberId>& members, MemberId member) {
  return std::ranges::find(members, member) != members.end();
}

}  // namespace

const Topic* MetadataImage::find(std::string_view name) const {
  const auto found = topics_.find(name);
  return found == topics_.end() ? nullptr : &found->second;
}

const Topic* MetadataImage::find(const core::Uuid& id) const {
  const auto found = names_.find(id);
  return found == names_.end() ? nullptr : find(found->second);
}

const Topic* MetadataImage::topic_of(GroupId group) const {
  auto at = by_group_.upper_bound(group);
  if (at == by_group_.begin()) return nullptr;
  --at;
  const Topic* topic = find(at->second);
  const auto range = std::ranges::find(topic->groups, at->first, &GroupRange::first);
  return group < end_of(*range) ? topic : nullptr;
}

std::vector<std::pair<GroupId, GroupId>> MetadataImage::deleted_groups() const {
  std::vector<std::pair<GroupId, GroupId>> gaps;
  GroupId seen = kControllerGroup.next();
  for (const auto& [first, id] : by_group_) {
    if (seen < first) gaps.emplace_back(seen, first);
    seen = end_of(*std::ranges::find(find(id)->groups, first, &GroupRange::first));
  }
  if (seen < next_group_) gaps.emplace_back(seen, next_group_);
  return gaps;
}

core::Status MetadataImage::apply(core::ByteSpan command) {
  core::ByteReader reader(command);
  const std::uint8_t type = reader.u8();
  const core::ByteSpan body = reader.rest();
  ++version_;
  switch (type) {
    case static_cast<std::uint8_t>(CommandType::create_topic): {
      SENTINEL_TRY(create_topic, core::decode_fields<CreateTopicCommand>(body));
      if (!sound(create_topic.topic)) return core::fail(core::Errc::corruption, "malformed topic");
      create(std::move(create_topic.topic));
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::delete_topic): {
      SENTINEL_TRY(delete_topic, core::decode_fields<DeleteTopicCommand>(body));
      remove(delete_topic.id);
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::reserve_producer_ids): {
      SENTINEL_TRY(reserve, core::decode_fields<ReserveProducerIdsCommand>(body));
      next_producer_id_ = next_producer_id_ + static_cast<std::int64_t>(reserve.count);
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::register_node): {
      SENTINEL_TRY(registration, core::decode_fields<RegisterNodeCommand>(body));
      if (!registration.node.numbers.sound())
        return core::fail(core::Errc::corruption, "malformed node");
      register_node(std::move(registration.node));
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::place_group): {
      SENTINEL_TRY(placement, core::decode_fields<PlaceGroupCommand>(body));
      bring_up_to_date(placement.group, placement.replicas);
      place(placement.group, std::move(placement.replicas));
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::settle_group): {
      SENTINEL_TRY(settled, core::decode_fields<SettleGroupCommand>(body));
      settle(settled);
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::grow_topic): {
      SENTINEL_TRY(growth, core::decode_fields<GrowTopicCommand>(body));
      if (std::ranges::any_of(growth.replicas, &std::vector<MemberId>::empty))
        return core::fail(core::Errc::corruption, "malformed partitions");
      grow(std::move(growth));
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::remove_node): {
      SENTINEL_TRY(removal, core::decode_fields<RemoveNodeCommand>(body));
      remove_node(removal.id);
      return {};
    }
    default: return core::fail(core::Errc::corruption, "unknown metadata command");
  }
}

void MetadataImage::create(Topic topic) {
  const auto count = static_cast<std::size_t>(topic.partition_count);
  if (topics_.contains(topic.name) || names_.contains(topic.id)) return;
  if (partition_count_ + count > kPartitionsMax) return;
  topic.groups = {{.first = next_group_, .count = topic.partition_count}};
  GroupId group = next_group_;
  for (auto& replicas : topic.replicas)
    bring_up_to_date(std::exchange(group, group.next()), replicas);
  next_group_ = next_group_ + count;
  insert(std::move(topic));
}

void MetadataImage::grow(GrowTopicCommand command) {
  const auto name = names_.find(command.id);
  if (name == names_.end()) return;
  Topic& topic = topics_.find(name->second)->second;
  const std::size_t count = command.replicas.size();
  const bool fits = count > 0 && partition_count_ + count <= kPartitionsMax &&
                    topic.replicas.size() + count <= kPartitionsPerTopicMax;
  if (!fits || topic.partition_count != command.partitions_before) return;
  const GroupRange added{.first = next_group_, .count = core::narrow<std::int32_t>(count)};
  GroupId group = next_group_;
  for (auto& replicas : command.replicas)
    bring_up_to_date(std::exchange(group, group.next()), replicas);
  next_group_ = next_group_ + count;
  by_group_.emplace(added.first, topic.id);
  partition_count_ += count;
  topic.groups.push_back(added);
  topic.partition_count += added.count;
  std::ranges::move(command.replicas, std::back_inserter(topic.replicas));
}

void MetadataImage::insert(Topic topic) {
  partition_count_ += static_cast<std::size_t>(topic.partition_count);
  names_.emplace(topic.id, topic.name);
  for (const GroupRange& range : topic.groups) by_group_.emplace(range.first, topic.id);
  std::string name = topic.name;
  topics_.emplace(std::move(name), std::move(topic));
}

void MetadataImage::remove(const core::Uuid& id) {
  const auto found = names_.find(id);
  if (found == names_.end()) return;
  const auto topic = topics_.find(found->second);
  partition_count_ -= static_cast<std::size_t>(topic->second.partition_count);
  for (const GroupRange& range : topic->second.groups) {
    first_replicas_.erase(first_replicas_.lower_bound(range.first),
                          first_replicas_.lower_bound(end_of(range)));
    by_group_.erase(range.first);
  }
  topics_.erase(topic);
  names_.erase(found);
}

GroupId Topic::group(PartitionIndex partition) const {
  std::int32_t left = partition.value();
  auto range = groups.begin();
  while (left >= range->count) left -= (range++)->count;
  return range->first + static_cast<std::uint64_t>(left);
}

PartitionIndex Topic::partition_of(GroupId group) const {
  std::int32_t before = 0;
  auto range = groups.begin();
  while (end_of(*range) <= group) before += (range++)->count;
  return PartitionIndex(before + core::narrow<std::int32_t>(group - range->first));
}

const PartitionMove* Topic::move_of(PartitionIndex partition) const {
  const auto found =
      std::ranges::lower_bound(moves, partition.value(), {}, &PartitionMove::partition);
  return found == moves.end() || found->partition != partition.value() ? nullptr : &*found;
}

bool Topic::is_placed_on(GroupId group, MemberId member) const {
  if (contains(replicas_of(group), member)) return true;
  const PartitionMove* move = move_of(partition_of(group));
  return move != nullptr && contains(move->leaving, member);
}

std::vector<MemberId> MetadataImage::first_replicas_of(GroupId group) const {
  const auto moved = first_replicas_.find(group);
  if (moved != first_replicas_.end()) return moved->second;
  const Topic* topic = topic_of(group);
  return topic == nullptr ? std::vector<MemberId>() : topic->replicas_of(group);
}

bool MetadataImage::is_gone(GroupId group, MemberId member) const {
  const auto node = nodes_.find(node_of(member));
  // Numbers only grow: a member that is not known yet is there.
  return node != nodes_.end() && (node->second.removed || member < node->second.member(group));
}

bool MetadataImage::is_in_use(NodeId node) const {
  const auto names_it = [&](const std::vector<MemberId>& members) {
    return std::ranges::find(members, node, node_of) != members.end();
  };
  return std::ranges::any_of(topics_, [&](const auto& each) {
    const Topic& topic = each.second;
    return std::ranges::any_of(topic.replicas, names_it) ||
           std::ranges::any_of(topic.moves, names_it, &PartitionMove::leaving);
  });
}

Topic* MetadataImage::topic_to_change(GroupId group) {
  const Topic* topic = topic_of(group);
  return topic == nullptr ? nullptr : &topics_.find(topic->name)->second;
}

void MetadataImage::place(GroupId group, std::vector<MemberId> replicas) {
  Topic* topic = topic_to_change(group);
  if (topic == nullptr || replicas.empty()) return;
  const std::int32_t partition = topic->partition_of(group).value();
  std::vector<MemberId>& now = topic->replicas[static_cast<std::size_t>(partition)];
  if (now == replicas) return;
  auto move = std::ranges::lower_bound(topic->moves, partition, {}, &PartitionMove::partition);
  if (move == topic->moves.end() || move->partition != partition)
    move = topic->moves.insert(move, {.partition = partition,
                                      .before = now,
                                      .leaving = {},
                                      .fewest = static_cast<std::uint32_t>(now.size()),
                                      .version = 0});
  move->fewest = std::min(move->fewest, static_cast<std::uint32_t>(replicas.size()));
  move->version = version_;
  std::vector<MemberId>& leaving = move->leaving;
  leaving.insert(leaving.end(), now.begin(), now.end());
  std::ranges::sort(leaving);
  leaving.erase(std::ranges::unique(leaving).begin(), leaving.end());
  std::erase_if(leaving, [&](MemberId member) { return contains(replicas, member); });
  first_replicas_.emplace(group, now);  // Unless it is there: it has moved before.
  now = std::move(replicas);
}

void MetadataImage::settle(const SettleGroupCommand& command) {
  Topic* topic = topic_to_change(command.group);
  if (topic == nullptr) return;
  const std::int32_t partition = topic->partition_of(command.group).value();
  std::erase_if(topic->moves, [&](const PartitionMove& move) {
    return move.partition == partition && move.version == command.version;
  });
}

/// A disk or a store that is not known gets a number that none of the node had.
void MetadataImage::register_node(BrokerNode node) {
  const auto known = nodes_.find(node.id);
  const StoreNumbers asked = node.numbers;
  if (known == nodes_.end()) {
    node.numbers.renewed.clear();
    if (asked.disk == 0) node.numbers.disk = 2;  // The first one is a founder's.
  } else if (known->second.disk_id == node.disk_id) {
    if (known->second.removed || !known->second.boot.allows(node.boot)) return;
    node.numbers = known->second.numbers;
  } else {
    if (asked.disk != 0) return;
    node.numbers.renewed.clear();
    node.numbers.disk = known->second.numbers.highest() + 1;
  }
  const BrokerNode before = known == nodes_.end() ? node : known->second;
  if (asked.disk != 0) {
    for (const std::uint32_t store : asked.asked()) {
      if (store < node.numbers.stores) node.numbers.set(store, node.numbers.highest() + 1);
    }
  }
  node.removed = false;
  nodes_[node.id] = node;
  replace_members(before, node);
}

void MetadataImage::remove_node(NodeId id) {
  const auto known = nodes_.find(id);
  if (known != nodes_.end() && !is_in_use(id)) known->second.removed = true;
}

/// Whoever chose these may not have known that a node has another disk by now.
void MetadataImage::bring_up_to_date(GroupId group, std::vector<MemberId>& members) const {
  for (MemberId& member : members) {
    const auto node = nodes_.find(node_of(member));
    if (node != nodes_.end()) member = node->second.member(group);
  }
}

/// What a disk or a store had comes onto the one that has taken its place.
void MetadataImage::replace_members(const BrokerNode& before, const BrokerNode& now) {
  if (before.numbers == now.numbers) return;
  std::vector<std::pair<GroupId, std::vector<MemberId>>> changed;
  for (const auto& [name, topic] : topics_) {
    for (std::size_t at = 0; at < topic.replicas.size(); ++at) {
      const GroupId group = topic.group(PartitionIndex(core::narrow<std::int32_t>(at)));
      std::vector<MemberId> replicas = topic.replicas[at];
      const auto found = std::ranges::find(replicas, before.member(group));
      if (found == replicas.end() || *found == now.member(group)) continue;
      *found = now.member(group);
      changed.emplace_back(group, std::move(replicas));
    }
  }
  for (auto& [group, replicas] : changed) place(group, std::move(replicas));
}

core::Bytes MetadataImage::encode() const {
  StoredImage stored{.topics = {},
                     .nodes = {},
                     .first_replicas = {},
                     .next_group = next_group_,
                     .next_producer_id = next_producer_id_,
                     .version = version_};
  for (const auto& [name, topic] : topics_) stored.topics.push_back(topic);
  for (const auto& [id, node] : nodes_) stored.nodes.push_back(node);
  for (const auto& [group, replicas] : first_replicas_)
    stored.first_replicas.push_back({group, replicas});
  return core::encode_fields(stored);
}

core::Result<MetadataImage> MetadataImage::decode(core::ByteSpan bytes) {
  SENTINEL_TRY(stored, core::decode_fields<StoredImage>(bytes));
  MetadataImage image;
  for (Topic& topic : stored.topics) {
    if (!sound(topic) || !has_sound_groups(topic))
      return core::fail(core::Errc::corruption, "malformed topic");
    image.insert(std::move(topic));
  }
  for (BrokerNode& node : stored.nodes) {
    if (!node.numbers.sound()) return core::fail(core::Errc::corruption, "malformed node");
    const NodeId id = node.id;
    image.nodes_.emplace(id, std::move(node));
  }
  for (FirstReplicas& each : stored.first_replicas)
    image.first_replicas_.emplace(each.group, std::move(each.replicas));
  image.next_group_ = stored.next_group;
  image.next_producer_id_ = stored.next_producer_id;
  image.version_ = stored.version;
  return image;
}

bool is_legal_topic_name(std::string_view name) {
  if (name.empty() || name.size() > kTopicNameBytesMax || name == "." || name == "..") return false;
  return std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
  });
}

}  // namespace sentinel::consensus
