#include "consensus/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace sentinel::consensus {

namespace {

// A restart loses at most this many ids of the 2^63 there are, and one commit serves as many
// producers.
constexpr std::uint32_t kProducerIdBlock = 1000;
// The log is replayed at each start; a snapshot bounds it.
constexpr std::uint64_t kEntriesPerSnapshot = 4096;
// Who leads learns from a majority that it does.
constexpr core::Duration kConfirmTime = std::chrono::seconds(2);
// What is lost with one disk is still on two.
constexpr std::int32_t kReplicasDefault = 3;

/// As the client has chosen, if all of it can be.
Result<std::vector<std::vector<MemberId>>> placed_as_asked(
    const NewTopic& topic, const std::vector<PlaceableNode>& nodes) {
  if (std::ssize(topic.assignment) != topic.partition_count)
    return std::unexpected(Errc::invalid_members);
  std::vector<std::vector<MemberId>> placed;
  for (const std::vector<NodeId>& asked : topic.assignment) {
    std::vector<MemberId>& replicas = placed.emplace_back();
    for (const NodeId id : asked) {
      const auto node = std::ranges::find(nodes, id, &PlaceableNode::id);
      const bool usable =
          node != nodes.end() && std::ranges::find(replicas, node->member) == replicas.end();
      if (!usable) return std::unexpected(Errc::invalid_members);
      replicas.push_back(node->member);
    }
    if (replicas.empty()) return std::unexpected(Errc::invalid_members);
  }
  return placed;
}

/// How many replicas, and first ones, each node has.
class PlacementLoad {
 public:
  PlacementLoad(const std::vector<PlaceableNode>& nodes, const MetadataImage& image) {
    for (const PlaceableNode& node : nodes)
      loads_.push_back({.member = node.member, .away = !node.alive});
    for (const auto& [name, topic] : image.topics()) {
      for (const std::vector<MemberId>& replicas : topic.replicas) {
        for (const MemberId member : replicas) note(node_of(member), member == replicas.front());
      }
    }
  }

  /// The nodes for one more partition: to lead who leads least, then who has least.
  std::vector<MemberId> choose(std::size_t count) {
    const auto first = std::ranges::min_element(loads_, {}, [](const Load& load) {
      return std::tuple(load.away, load.leads, load.has, load.member);
    });
    std::vector<MemberId> chosen{first->member};
    note(node_of(chosen.front()), true);
    while (chosen.size() < count) {
      const auto next = std::ranges::min_element(loads_, {}, [&](const Load& load) {
        return std::tuple(std::ranges::find(chosen, load.member) != chosen.end(), load.away,
                          load.has, load.member);
      });
      chosen.push_back(next->member);
      note(node_of(next->member), false);
    }
    return chosen;
  }

 private:
  struct Load {
    MemberId member;
    bool away = false;
    std::size_t leads = 0;
    std::size_t has = 0;
  };
  void note(NodeId node, bool leads) {
    const auto found = std::ranges::find_if(
        loads_, [node](const Load& load) { return node_of(load.member) == node; });
    if (found == loads_.end()) return;
    ++found->has;
    if (leads) ++found->leads;
  }

  std::vector<Load> loads_;
};

}  // namespace

Controller::Controller(core::Shard& shard, RaftHost& host, lsm::Db& db, Publish publish,
                       IsAlive is_alive)
    : shard_(shard),
      replica_(shard, host, db, kControllerGroup, *this),
      self_(node_of(host.self(kControllerGroup))),
      publish_(std::move(publish)),
      is_alive_(std::move(is_alive)),
      reserving_(shard, 1),
      renewing_(shard, 1),
      changing_(shard, 1),
      changed_(shard),
      published_(shard),
      scope_(shard) {}

Controller::~Controller() = default;

core::Task<core::Result<std::unique_ptr<Controller>>> Controller::open(core::Shard& shard,
                                                                       RaftHost& host, lsm::Db& db,
                                                                       Configuration base,
                                                                       Publish publish,
                                                                       IsAlive is_alive) {
  std::unique_ptr<Controller> controller(
      new Controller(shard, host, db, std::move(publish), std::move(is_alive)));
  SENTINEL_CO_CHECK(co_await controller->recover(std::move(base)));
  co_await controller->publish_(std::make_shared<const MetadataImage>(controller->image_));
  controller->published_version_ = controller->image_.version();
  controller->scope_.spawn(controller->publish_loop());
  controller->replica_.begin();
  // A new cluster has its first controller at once.
  const Raft& raft = controller->replica_.raft();
  const bool is_new = raft.log().last().index == LogIndex(0) && raft.term() == kFirstTerm;
  const std::vector<MemberId>& voters = raft.configuration().voters;
  if (is_new && !raft.is_leader() && !voters.empty() &&
      voters.front() == host.self(kControllerGroup))
    controller->replica_.campaign();
  co_return controller;
}

core::Task<core::Status> Controller::recover(Configuration base) {
  SENTINEL_CO_CHECK(co_await replica_.open(std::move(base)));
  SENTINEL_CO_TRY(snapshot, co_await replica_.snapshot());
  if (snapshot.index != LogIndex(0)) {
    SENTINEL_CO_TRY(image, MetadataImage::decode(snapshot.state));
    image_ = std::move(image);
  }
  LogCursor cursor = replica_.entries();
  SENTINEL_CO_CHECK(
      co_await cursor.seek(EntryTarget::index(kControllerGroup, snapshot.index.next())));
  while (cursor.valid()) {
    SENTINEL_CO_TRY(key, EntryKey::decode(cursor.key()));
    if (key.index > replica_.commit_index()) break;
    core::Status applied;
    if (key.type == EntryType::command) applied = image_.apply(cursor.value());
    if (!applied) {
      co_return core::fail(applied.error().code, fmt::format("metadata entry {}: {}", key.index,
                                                             applied.error().message));
    }
    last_applied_ = key;
    ++entries_since_snapshot_;
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return core::Status();
}

void Controller::on_leading(bool) {
  // What other leaders have reserved, or an earlier life, may be in use.
  next_producer_id_ = reserved_end_ = ProducerId(0);
}

core::Status Controller::restore(const Snapshot& snapshot, const LogStart& start) {
  SENTINEL_TRY(image, MetadataImage::decode(snapshot.state));
  image_ = std::move(image);
  last_applied_ = start.before;
  entries_since_snapshot_ = 0;
  changed_.notify_all();
  return {};
}

void Controller::apply(const CommittedEntry& entry) {
  if (entry.key.type == EntryType::command) {
    const core::Status applied = image_.apply(entry.payload);
    SENTINEL_ASSERT(applied.has_value(), "a command of our own: {}", applied.error().message);
  }
  ++entries_since_snapshot_;
  last_applied_ = entry.key;
  changed_.notify_all();
}

core::Task<Result<void>> Controller::propose(core::Bytes command) {
  if (!leads()) co_return std::unexpected(Errc::not_leader);
  if (const auto allowed = replica_.may_propose(); !allowed)
    co_return std::unexpected(allowed.error());
  const auto done = co_await replica_.propose({.payload = std::move(command)});
  // It may still be committed, so whoever asked must not ask another one as if nothing was.
  if (!done) co_return std::unexpected(Errc::timed_out);
  co_return Result<void>();
}

core::Task<bool> Controller::until_published(std::uint64_t version, core::Deadline deadline) {
  while (published_version_ < version && !closing_) {
    const core::Wake wake = co_await published_.wait(deadline);
    if (wake != core::Wake::signalled) co_return false;
  }
  co_return !closing_;
}

core::Task<void> Controller::publish_loop() {
  for (;;) {
    while (published_version_ == image_.version()) {
      if (closing_) co_return;
      co_await changed_.wait();
    }
    // Commands that were applied meanwhile travel together.
    auto image = std::make_shared<const MetadataImage>(image_);
    const std::uint64_t version = image->version();
    co_await publish_(std::move(image));
    published_version_ = version;
    published_.notify_all();
    if (entries_since_snapshot_ >= kEntriesPerSnapshot) {
      entries_since_snapshot_ = 0;
      co_await replica_.trim({.offset = last_applied_.end_offset, .before = last_applied_},
                             {.index = last_applied_.index, .state = image_.encode()});
    }
  }
}

Result<void> Controller::check_new_topic(const NewTopic& topic) const {
  if (!is_legal_topic_name(topic.name)) return std::unexpected(Errc::invalid_topic);
  if (image_.find(topic.name) != nullptr) return std::unexpected(Errc::topic_already_exists);
  if (topic.partition_count < 1 || topic.partition_count > kPartitionsPerTopicMax) {
    return std::unexpected(Errc::invalid_partitions);
  }
  if (image_.partition_count() + static_cast<std::size_t>(topic.partition_count) > kPartitionsMax) {
    return std::unexpected(Errc::invalid_partitions);
  }
  const auto placed = place(topic);
  if (!placed) return std::unexpected(placed.error());
  return {};
}

core::Task<Result<Topic>> Controller::create_topic(NewTopic topic) {
  Result<void> allowed = check_new_topic(topic);
  if (!allowed) {
    // Who leads no more, and does not know it, may know a topic that is gone.
    const auto confirmed = co_await replica_.confirm_leadership(shard_.deadline_in(kConfirmTime));
    if (!confirmed) co_return std::unexpected(Errc::not_leader);
    allowed = check_new_topic(topic);
    if (!allowed) co_return std::unexpected(allowed.error());
  }
  auto placed = place(topic);
  CreateTopicCommand command;
  command.topic = {.name = topic.name,
                   .id = core::Uuid::make(shard_.random()),
                   .groups = {},
                   .partition_count = topic.partition_count,
                   .replicas = std::move(*placed),
                   .moves = {},
                   .configs = std::move(topic.configs)};
  const auto done = co_await propose(encode_command(CommandType::create_topic, command));
  if (!done) co_return std::unexpected(done.error());
  // Two requests may have asked for one name; the log decides who made it.
  const Topic* created = image_.find(command.topic.id);
  if (created == nullptr) co_return std::unexpected(Errc::topic_already_exists);
  Topic result = *created;
  co_await until_published(image_.version(), {});
  co_return result;
}

core::Task<Result<Topic>> Controller::delete_topic(core::Uuid id) {
  co_await changing_.acquire(1);
  auto deleted = co_await delete_alone(id);
  changing_.release(1);
  if (deleted) co_await until_published(image_.version(), {});
  co_return deleted;
}

core::Task<Result<Topic>> Controller::delete_alone(core::Uuid id) {
  const Topic* found = image_.find(id);
  if (found == nullptr) co_return std::unexpected(Errc::unknown_topic_or_partition);
  Topic deleted = *found;
  const auto done =
      co_await propose(encode_command(CommandType::delete_topic, DeleteTopicCommand{id}));
  if (!done) co_return std::unexpected(done.error());
  co_return deleted;
}

/// Those that have registered, and those that take part in the controller's group and have not yet.
std::vector<PlaceableNode> Controller::placeable_nodes() const {
  std::vector<PlaceableNode> nodes;
  for (const auto& [id, node] : image_.nodes()) {
    // Which member of the node it is in the group is known once that has its number.
    if (!node.removed)
      nodes.push_back({.id = id, .member = node.member(kControllerGroup), .alive = is_there(id)});
  }
  for (const MemberId member : replica_.raft().configuration().voters) {
    const NodeId id = node_of(member);
    if (!image_.nodes().contains(id))
      nodes.push_back({.id = id, .member = member, .alive = is_there(id)});
  }
  return nodes;
}

/// Spreads replicas, and among them those that lead, over the nodes that are there.
Result<std::vector<std::vector<MemberId>>> Controller::place(const NewTopic& topic) const {
  const std::vector<PlaceableNode> nodes = placeable_nodes();
  if (!topic.assignment.empty()) return placed_as_asked(topic, nodes);
  const auto known = static_cast<std::int32_t>(nodes.size());
  const auto alive =
      static_cast<std::int32_t>(std::ranges::count(nodes, true, &PlaceableNode::alive));
  std::int32_t factor = topic.replication_factor;
  if (factor == -1) factor = std::min(known, kReplicasDefault);
  // A node that is away for a while gets its share; what a majority is missing for could not begin.
  if (factor < 1 || factor > known || factor / 2 + 1 > alive)
    return std::unexpected(Errc::invalid_replication_factor);
  PlacementLoad load(nodes, image_);
  std::vector<std::vector<MemberId>> placed;
  for (std::int32_t i = 0; i < topic.partition_count; ++i)
    placed.push_back(load.choose(static_cast<std::size_t>(factor)));
  return placed;
}

core::Task<Result<BrokerNode>> Controller::register_node(BrokerNode node) {
  if (node.numbers.asked().empty()) co_return co_await take_in(std::move(node));
  co_await renewing_.acquire(1);
  auto taken = co_await take_in(std::move(node));
  renewing_.release(1);
  co_return taken;
}

core::Task<Result<BrokerNode>> Controller::take_in(BrokerNode node) {
  if (!leads()) co_return std::unexpected(Errc::not_leader);
  const auto known = image_.nodes().find(node.id);
  const bool same = known != image_.nodes().end() && known->second.disk_id == node.disk_id;
  if (same && known->second.removed) co_return std::unexpected(Errc::node_removed);
  if (same && !known->second.boot.allows(node.boot)) co_return std::unexpected(Errc::stale_disk);
  // A disk that another one has taken the place of: what it has promised is not known any more.
  if (!same && known != image_.nodes().end() && node.numbers.disk != 0)
    co_return std::unexpected(Errc::stale_disk);
  const std::vector<std::uint32_t> asked = node.numbers.asked();
  BrokerNode before = same ? known->second : node;
  if (!same) before.numbers.renewed.clear();
  for (const std::uint32_t store : asked) {
    const auto allowed = may_renew(before, store);
    if (!allowed) co_return std::unexpected(allowed.error());
  }
  if (same && asked.empty()) node.numbers = known->second.numbers;
  if (same && node == known->second) co_return node;
  const NodeId id = node.id;
  const core::Uuid disk = node.disk_id;
  const auto done = co_await propose(
      encode_command(CommandType::register_node, RegisterNodeCommand{std::move(node)}));
  if (!done) co_return std::unexpected(done.error());
  const auto registered = image_.nodes().find(id);
  if (registered == image_.nodes().end() || registered->second.disk_id != disk)
    co_return std::unexpected(Errc::stale_disk);
  co_return registered->second;
}

/// Whether others have, or are about to have, all that a store has, and can bring it back: a
/// majority of each of its groups is there without it, and none of the other members is being made
/// anew.
Result<void> Controller::may_renew(const BrokerNode& node, std::uint32_t store) const {
  constexpr std::size_t kEnough = 3;
  const auto is_recovering = [&](GroupId group, const std::vector<MemberId>& members) {
    return std::ranges::any_of(members, [&](MemberId member) {
      return node_of(member) != node.id && image_.is_gone(group, member);
    });
  };
  const auto can_go_on = [&](const std::vector<MemberId>& members) {
    const auto others = std::ranges::count_if(members, [&](MemberId member) {
      return node_of(member) != node.id && is_there(node_of(member));
    });
    return static_cast<std::size_t>(others) > members.size() / 2;
  };
  for (const auto& [name, topic] : image_.topics()) {
    for (std::int32_t i = 0; i < topic.partition_count; ++i) {
      const GroupId group = topic.group(PartitionIndex(i));
      const MemberId self = node.member(group);
      if (node.numbers.store_of(group) != store || !topic.is_placed_on(group, self)) continue;
      const PartitionMove* move = topic.move_of(PartitionIndex(i));
      const std::vector<MemberId>& replicas = topic.replicas_of(group);
      const std::size_t fewest = move == nullptr ? replicas.size() : move->fewest;
      if (fewest < kEnough) return std::unexpected(Errc::only_copy);
      if (!can_go_on(replicas)) return std::unexpected(Errc::recovering);
      if (move == nullptr) continue;
      const bool others_recover =
          is_recovering(group, move->before) || is_recovering(group, move->leaving);
      if (others_recover || !can_go_on(move->before)) return std::unexpected(Errc::recovering);
    }
  }
  const std::vector<MemberId>& voters = replica_.raft().configuration().voters;
  const MemberId self = node.member(kControllerGroup);
  const bool votes = std::ranges::find(voters, self) != voters.end();
  if (node.numbers.store_of(kControllerGroup) != store || !votes) return {};
  // Founders are voters before they are registered.
  if (std::max(voters.size(), image_.nodes().size()) < kEnough)
    return std::unexpected(Errc::only_copy);
  if (voters.size() < kEnough || is_recovering(kControllerGroup, voters) || !can_go_on(voters))
    return std::unexpected(Errc::recovering);
  return {};
}

core::Task<Result<void>> Controller::place_group(GroupId group, std::vector<NodeId> nodes) {
  if (image_.topic_of(group) == nullptr)
    co_return std::unexpected(Errc::unknown_topic_or_partition);
  NewTopic one;
  one.assignment = {std::move(nodes)};
  auto placed = placed_as_asked(one, placeable_nodes());
  if (!placed) co_return std::unexpected(placed.error());
  co_return co_await propose(encode_command(CommandType::place_group,
                                            PlaceGroupCommand{group, std::move(placed->front())}));
}

core::Task<Result<void>> Controller::cancel_move(GroupId group) {
  const Topic* topic = image_.topic_of(group);
  if (topic == nullptr) co_return std::unexpected(Errc::unknown_topic_or_partition);
  const PartitionMove* move = topic->move_of(topic->partition_of(group));
  if (move == nullptr) co_return std::unexpected(Errc::not_moving);
  std::vector<MemberId> back;
  for (const MemberId member : move->before) {
    const auto node = image_.nodes().find(node_of(member));
    // What was on a disk that was lost comes onto the one in its place.
    if (node == image_.nodes().end()) {
      back.push_back(member);
    } else if (!node->second.removed) {
      back.push_back(node->second.member(group));
    }
  }
  if (back.empty()) co_return std::unexpected(Errc::not_moving);
  co_return co_await propose(
      encode_command(CommandType::place_group, PlaceGroupCommand{group, std::move(back)}));
}

/// Where the new partitions of a topic are to be: on as many nodes as its first one.
Result<std::vector<std::vector<MemberId>>> Controller::place_growth(
    core::Uuid id, std::int32_t count, const std::vector<std::vector<NodeId>>& assignment) const {
  const Topic* topic = image_.find(id);
  if (topic == nullptr) return std::unexpected(Errc::unknown_topic_or_partition);
  if (count <= topic->partition_count || count > kPartitionsPerTopicMax)
    return std::unexpected(Errc::invalid_partitions);
  NewTopic added;
  added.partition_count = count - topic->partition_count;
  added.replication_factor = core::narrow<std::int32_t>(topic->replicas.front().size());
  added.assignment = assignment;
  if (image_.partition_count() + static_cast<std::size_t>(added.partition_count) > kPartitionsMax)
    return std::unexpected(Errc::invalid_partitions);
  return place(added);
}

Result<void> Controller::check_growth(core::Uuid id, std::int32_t count,
                                      const std::vector<std::vector<NodeId>>& assignment) const {
  const auto placed = place_growth(id, count, assignment);
  if (!placed) return std::unexpected(placed.error());
  return {};
}

core::Task<Result<Topic>> Controller::grow_topic(core::Uuid id, std::int32_t count,
                                                 std::vector<std::vector<NodeId>> assignment) {
  co_await changing_.acquire(1);
  auto grown = co_await grow_alone(id, count, std::move(assignment));
  changing_.release(1);
  if (grown) co_await until_published(image_.version(), {});
  co_return grown;
}

core::Task<Result<Topic>> Controller::grow_alone(core::Uuid id, std::int32_t count,
                                                 std::vector<std::vector<NodeId>> assignment) {
  auto placed = place_growth(id, count, assignment);
  if (!placed) co_return std::unexpected(placed.error());
  const GrowTopicCommand command{id, image_.find(id)->partition_count, std::move(*placed)};
  const auto done = co_await propose(encode_command(CommandType::grow_topic, command));
  if (!done) co_return std::unexpected(done.error());
  // There may be too many partitions by now.
  const Topic* grown = image_.find(id);
  if (grown == nullptr) co_return std::unexpected(Errc::unknown_topic_or_partition);
  if (grown->partition_count != count) co_return std::unexpected(Errc::invalid_partitions);
  co_return *grown;
}

core::Task<Result<void>> Controller::remove_node(NodeId id) {
  if (!leads()) co_return std::unexpected(Errc::not_leader);
  const auto known = image_.nodes().find(id);
  if (known == image_.nodes().end() || known->second.removed)
    co_return std::unexpected(Errc::unknown_node);
  if (image_.is_in_use(id)) co_return std::unexpected(Errc::node_in_use);
  if (is_there(id)) co_return std::unexpected(Errc::node_is_alive);
  const auto done =
      co_await propose(encode_command(CommandType::remove_node, RemoveNodeCommand{id}));
  if (!done) co_return std::unexpected(done.error());
  // A partition may have been placed on it meanwhile.
  const auto removed = image_.nodes().find(id);
  if (!removed->second.removed) co_return std::unexpected(Errc::node_in_use);
  co_return Result<void>();
}

core::Task<Result<void>> Controller::settle_group(SettleGroupCommand settled) {
  co_return co_await propose(encode_command(CommandType::settle_group, settled));
}

/// Those that vote go on, as long as their disks are there; others take the places of those that
/// are gone. More than five would make each decision wait for more disks.
std::optional<WantedMembers> Controller::wanted_members() const {
  constexpr std::size_t kMany = 5;
  constexpr std::size_t kFew = 3;
  const auto& nodes = image_.nodes();
  // Nodes that are there and have not been heard of since their cluster began register soon.
  if (nodes.empty()) return std::nullopt;
  const Configuration& now = replica_.raft().configuration();
  WantedMembers wanted;
  for (const MemberId voter : now.voters) {
    if (!image_.is_gone(kControllerGroup, voter)) wanted.voters.push_back(voter);
  }
  const auto present =
      nodes.size() - static_cast<std::size_t>(std::ranges::count_if(
                         nodes, [](const auto& each) { return each.second.removed; }));
  const std::size_t voters = present >= kMany ? kMany : kFew;
  for (const auto& [id, node] : nodes) {
    const MemberId member = node.member(kControllerGroup);
    if (node.removed || wanted.has(member)) continue;
    auto& to = wanted.voters.size() < voters ? wanted.voters : wanted.learners;
    to.push_back(member);
  }
  return wanted;
}

core::Task<Result<ProducerId>> Controller::new_producer_id() {
  co_await reserving_.acquire(1);
  if (next_producer_id_ == reserved_end_) {
    const auto done = co_await propose(encode_command(CommandType::reserve_producer_ids,
                                                      ReserveProducerIdsCommand{kProducerIdBlock}));
    if (!done) {
      reserving_.release(1);
      co_return std::unexpected(done.error());
    }
    reserved_end_ = image_.next_producer_id();
    next_producer_id_ =
        ProducerId(reserved_end_.value() - static_cast<std::int64_t>(kProducerIdBlock));
  }
  const ProducerId id = next_producer_id_;
  next_producer_id_ = next_producer_id_.next();
  reserving_.release(1);
  co_return id;
}

core::Task<void> Controller::close() {
  closing_ = true;
  changed_.notify_all();
  published_.notify_all();
  co_await replica_.close();
  co_await scope_.close();
}

}  // namespace sentinel::consensus
