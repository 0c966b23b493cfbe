#include "consensus/metadata.h"

#include <algorithm>

namespace sentinel::consensus {

namespace {

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
         (topic.leaving.empty() || topic.leaving.size() == topic.replicas.size()) &&
         std::ranges::none_of(topic.replicas, &std::vector<MemberId>::empty);
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
  const auto count = static_cast<std::uint64_t>(topic->partition_count);
  return group < topic->first_group + count ? topic : nullptr;
}

std::vector<std::pair<GroupId, GroupId>> MetadataImage::deleted_groups() const {
  std::vector<std::pair<GroupId, GroupId>> gaps;
  GroupId seen = kControllerGroup.next();
  for (const auto& [first, id] : by_group_) {
    if (seen < first) gaps.emplace_back(seen, first);
    seen = first + static_cast<std::uint64_t>(find(id)->partition_count);
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
      register_node(std::move(registration.node));
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::place_group): {
      SENTINEL_TRY(placement, core::decode_fields<PlaceGroupCommand>(body));
      place(placement.group, std::move(placement.replicas));
      return {};
    }
    case static_cast<std::uint8_t>(CommandType::settle_group): {
      SENTINEL_TRY(settled, core::decode_fields<SettleGroupCommand>(body));
      settle(settled);
      return {};
    }
    default: return core::fail(core::Errc::corruption, "unknown metadata command");
  }
}

void MetadataImage::create(Topic topic) {
  const auto count = static_cast<std::size_t>(topic.partition_count);
  if (topics_.contains(topic.name) || names_.contains(topic.id)) return;
  if (partition_count_ + count > kPartitionsMax) return;
  topic.first_group = next_group_;
  next_group_ = next_group_ + count;
  insert(std::move(topic));
}

void MetadataImage::insert(Topic topic) {
  partition_count_ += static_cast<std::size_t>(topic.partition_count);
  names_.emplace(topic.id, topic.name);
  by_group_.emplace(topic.first_group, topic.id);
  std::string name = topic.name;
  topics_.emplace(std::move(name), std::move(topic));
}

void MetadataImage::remove(const core::Uuid& id) {
  const auto found = names_.find(id);
  if (found == names_.end()) return;
  const auto topic = topics_.find(found->second);
  partition_count_ -= static_cast<std::size_t>(topic->second.partition_count);
  const GroupId first = topic->second.first_group;
  const GroupId end = first + static_cast<std::uint64_t>(topic->second.partition_count);
  first_replicas_.erase(first_replicas_.lower_bound(first), first_replicas_.lower_bound(end));
  by_group_.erase(first);
  topics_.erase(topic);
  names_.erase(found);
}

bool Topic::is_placed_on(GroupId group, MemberId member) const {
  const std::size_t at = group - first_group;
  const auto has = [&](const std::vector<MemberId>& members) {
    return std::ranges::find(members, member) != members.end();
  };
  return has(replicas[at]) || (!leaving.empty() && has(leaving[at]));
}

std::vector<MemberId> MetadataImage::first_replicas_of(GroupId group) const {
  const auto moved = first_replicas_.find(group);
  if (moved != first_replicas_.end()) return moved->second;
  const Topic* topic = topic_of(group);
  return topic == nullptr ? std::vector<MemberId>() : topic->replicas_of(group);
}

bool MetadataImage::is_gone(MemberId member) const {
  const auto node = nodes_.find(node_of(member));
  return node != nodes_.end() && node->second.member() != member;
}

Topic* MetadataImage::topic_to_change(GroupId group) {
  const Topic* topic = topic_of(group);
  return topic == nullptr ? nullptr : &topics_.find(topic->name)->second;
}

void MetadataImage::place(GroupId group, std::vector<MemberId> replicas) {
  Topic* topic = topic_to_change(group);
  if (topic == nullptr || replicas.empty()) return;
  const std::size_t at = group - topic->first_group;
  std::vector<MemberId>& now = topic->replicas[at];
  if (now == replicas) return;
  if (topic->leaving.empty()) topic->leaving.resize(topic->replicas.size());
  std::vector<MemberId>& leaving = topic->leaving[at];
  leaving.insert(leaving.end(), now.begin(), now.end());
  std::ranges::sort(leaving);
  leaving.erase(std::ranges::unique(leaving).begin(), leaving.end());
  std::erase_if(leaving, [&](MemberId member) {
    return std::ranges::find(replicas, member) != replicas.end();
  });
  first_replicas_.emplace(group, now);  // Unless it is there: it has moved before.
  now = std::move(replicas);
}

void MetadataImage::settle(const SettleGroupCommand& command) {
  Topic* topic = topic_to_change(command.group);
  if (topic == nullptr || topic->leaving.empty()) return;
  const std::size_t at = command.group - topic->first_group;
  if (topic->replicas[at] != command.replicas) return;
  topic->leaving[at].clear();
  const bool any =
      std::ranges::any_of(topic->leaving, [](const auto& leaving) { return !leaving.empty(); });
  if (!any) topic->leaving.clear();
}

/// A disk that is not known gets a number that no disk of the node had.
void MetadataImage::register_node(BrokerNode node) {
  const auto known = nodes_.find(node.id);
  if (known != nodes_.end()) {
    const bool same = known->second.disk_id == node.disk_id;
    if (same ? node.boot < known->second.boot : node.disk_number != 0) return;
    const MemberId before = known->second.member();
    node.disk_number = known->second.disk_number + (same ? 0 : 1);
    // What the disk had comes onto the new one.
    if (!same) replace_member(before, node.member());
  } else if (node.disk_number == 0) {
    node.disk_number = 2;  // The first one is a founder's.
  }
  nodes_[node.id] = std::move(node);
}

void MetadataImage::replace_member(MemberId before, MemberId now) {
  std::vector<std::pair<GroupId, std::vector<MemberId>>> changed;
  for (const auto& [name, topic] : topics_) {
    for (std::size_t at = 0; at < topic.replicas.size(); ++at) {
      std::vector<MemberId> replicas = topic.replicas[at];
      const auto found = std::ranges::find(replicas, before);
      if (found == replicas.end()) continue;
      *found = now;
      changed.emplace_back(topic.first_group + at, std::move(replicas));
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
    if (!sound(topic)) return core::fail(core::Errc::corruption, "malformed topic");
    image.insert(std::move(topic));
  }
  for (BrokerNode& node : stored.nodes) {
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
