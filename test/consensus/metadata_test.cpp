// The metadata of a cluster: what its commands do to it.

#include "consensus/metadata.h"

#include <doctest/doctest.h>

namespace sentinel::consensus {

namespace {

using Members = std::vector<MemberId>;

MemberId member(std::int32_t node, std::int32_t disk = 1) { return member_of(NodeId(node), disk); }

class Image {
 public:
  template <typename Command>
  void apply(CommandType type, const Command& command) {
    REQUIRE(image_.apply(encode_command(type, command)).has_value());
    // What is stored says the same.
    auto again = MetadataImage::decode(image_.encode());
    REQUIRE(again.has_value());
    CHECK(core::equal(again->encode(), image_.encode()));
    image_ = std::move(*again);
  }
  void create(const std::string& name, std::vector<Members> replicas) {
    CreateTopicCommand command;
    command.topic.name = name;
    command.topic.id.bytes[0] = static_cast<std::uint8_t>(name.back());
    command.topic.partition_count = static_cast<std::int32_t>(replicas.size());
    command.topic.replicas = std::move(replicas);
    apply(CommandType::create_topic, command);
  }
  void grow(const std::string& name, std::int32_t before, std::vector<Members> replicas) {
    apply(CommandType::grow_topic, GrowTopicCommand{topic(name).id, before, std::move(replicas)});
  }
  void place(GroupId group, Members replicas) {
    apply(CommandType::place_group, PlaceGroupCommand{group, std::move(replicas)});
  }
  void register_node(std::int32_t id, std::uint8_t disk, Boot boot, StoreNumbers numbers = {}) {
    RegisterNodeCommand command;
    command.node.numbers = std::move(numbers);
    command.node.id = NodeId(id);
    command.node.disk_id.bytes[0] = disk;
    command.node.boot = boot;
    apply(CommandType::register_node, command);
  }
  [[nodiscard]] const Topic& topic(const std::string& name) const { return *image_.find(name); }
  [[nodiscard]] const BrokerNode& node(std::int32_t id) const {
    return image_.nodes().at(NodeId(id));
  }
  [[nodiscard]] const MetadataImage& operator*() const { return image_; }

 private:
  MetadataImage image_;
};

const Members kAll{member(1), member(2), member(3)};

}  // namespace

TEST_CASE("a topic that grows gets groups behind those that others have got meanwhile") {
  Image image;
  image.create("a", {kAll, kAll});
  image.create("b", {kAll});
  image.grow("a", 2, {{member(3)}, {member(2)}});
  const Topic topic = image.topic("a");
  CHECK(topic.partition_count == 4);
  for (std::int32_t i = 0; i < 4; ++i) {
    const GroupId group = topic.group(PartitionIndex(i));
    CHECK(group ==
          GroupId(i < 2 ? 1 + static_cast<std::uint64_t>(i) : 2 + static_cast<std::uint64_t>(i)));
    CHECK(topic.partition_of(group) == PartitionIndex(i));
    CHECK((*image).topic_of(group)->name == "a");
  }
  CHECK((*image).topic_of(GroupId(3))->name == "b");
  CHECK(topic.replicas_of(GroupId(4)) == Members{member(3)});
  CHECK((*image).partition_count() == 5);
  // Asked for twice at the same time.
  image.grow("a", 2, {{member(1)}});
  CHECK(image.topic("a").partition_count == 4);
  image.apply(CommandType::delete_topic, DeleteTopicCommand{topic.id});
  CHECK((*image).is_deleted(GroupId(5)));
  CHECK_FALSE((*image).is_deleted(GroupId(3)));
  CHECK((*image).deleted_groups() == std::vector<std::pair<GroupId, GroupId>>{
                                         {GroupId(1), GroupId(3)}, {GroupId(4), GroupId(6)}});
}

TEST_CASE("a partition that moves remembers where it was, until it is there") {
  Image image;
  image.create("a", {kAll, kAll});
  const Members there{member(4), member(2), member(3)};
  image.place(GroupId(2), there);
  const PartitionMove* move = image.topic("a").move_of(PartitionIndex(1));
  REQUIRE(move != nullptr);
  CHECK(move->before == kAll);
  CHECK(move->leaving == Members{member(1)});
  CHECK(image.topic("a").is_placed_on(GroupId(2), member(1)));
  CHECK(image.topic("a").is_placed_on(GroupId(2), member(4)));
  CHECK_FALSE(image.topic("a").is_placed_on(GroupId(1), member(4)));

  const std::uint64_t first = move->version;
  // Elsewhere before it has arrived: all that have a part of it are to give it up in the end.
  image.place(GroupId(2), {member(5), member(2), member(3)});
  move = image.topic("a").move_of(PartitionIndex(1));
  CHECK(move->before == kAll);
  CHECK(move->leaving == Members{member(1), member(4)});

  // Where it was to be before is not where it is to be; also when it is to be there once more.
  const std::uint64_t second = move->version;
  REQUIRE(second != first);
  image.apply(CommandType::settle_group, SettleGroupCommand{GroupId(2), first});
  CHECK(image.topic("a").is_moving(GroupId(2)));
  image.place(GroupId(2), there);
  image.place(GroupId(2), {member(5), member(2), member(3)});
  image.apply(CommandType::settle_group, SettleGroupCommand{GroupId(2), second});
  CHECK(image.topic("a").is_moving(GroupId(2)));
  image.apply(CommandType::settle_group,
              SettleGroupCommand{GroupId(2), image.topic("a").move_of(PartitionIndex(1))->version});
  CHECK_FALSE(image.topic("a").is_moving(GroupId(2)));
  CHECK((*image).first_replicas_of(GroupId(2)) == kAll);
}

TEST_CASE("of two starts that count the same only the one that is known is let in") {
  Image image;
  image.register_node(1, 7, {.count = 3, .tag = 100});
  CHECK(image.node(1).boot.allows({.count = 3, .tag = 100}));
  CHECK_FALSE(image.node(1).boot.allows({.count = 3, .tag = 101}));
  CHECK_FALSE(image.node(1).boot.allows({.count = 2, .tag = 100}));
  image.register_node(1, 7, {.count = 3, .tag = 101});
  CHECK(image.node(1).boot.tag == 100);
  image.register_node(1, 7, {.count = 4, .tag = 5});
  CHECK(image.node(1).boot.count == 4);
}

TEST_CASE("partitions come onto the disk that a node has when that is decided") {
  Image image;
  image.register_node(3, 7, {.count = 1, .tag = 1});
  const MemberId lost = image.node(3).member(GroupId(1));
  image.register_node(3, 8, {.count = 1, .tag = 2});
  const MemberId now = image.node(3).member(GroupId(1));
  REQUIRE(lost != now);
  image.create("a", {{member(1), lost}});
  image.grow("a", 1, {{lost, member(2)}});
  CHECK(image.topic("a").replicas_of(GroupId(1)) == Members{member(1), now});
  CHECK(image.topic("a").replicas_of(GroupId(2)) == Members{now, member(2)});
  image.place(GroupId(1), {member(2), lost});
  CHECK(image.topic("a").replicas_of(GroupId(1)) == Members{member(2), now});
}

TEST_CASE("a store that is made anew is another member in its groups, and only in those") {
  Image image;
  const Boot boot{.count = 1, .tag = 1};
  image.register_node(3, 7, boot, {.disk = 1, .stores = 2, .renewed = {}});
  image.create("a", {kAll, kAll});
  image.register_node(3, 7, boot, {.disk = 1, .stores = 2, .renewed = {{1, 0}}});
  const MemberId anew = member(3, 2);
  CHECK(image.node(3).numbers.renewed == std::vector<StoreNumber>{{1, 2}});
  CHECK(image.topic("a").replicas_of(GroupId(1)) == Members{member(1), member(2), anew});
  CHECK(image.topic("a").replicas_of(GroupId(2)) == kAll);
  CHECK(image.topic("a").is_moving(GroupId(1)));
  CHECK_FALSE(image.topic("a").is_moving(GroupId(2)));
  CHECK((*image).is_gone(GroupId(1), member(3)));
  CHECK_FALSE((*image).is_gone(GroupId(1), anew));
  CHECK_FALSE((*image).is_gone(GroupId(2), member(3)));

  // Whoever places something does not know of it.
  image.create("b", {kAll, kAll});
  CHECK(image.topic("b").replicas_of(GroupId(3)) == Members{member(1), member(2), anew});
  CHECK(image.topic("b").replicas_of(GroupId(4)) == kAll);
  image.place(GroupId(4), {member(3, 2), member(1)});
  CHECK(image.topic("b").replicas_of(GroupId(4)) == Members{member(3), member(1)});

  // What a start says of numbers is what it was given, and what it asks for is new each time.
  image.register_node(3, 7, {.count = 2, .tag = 1}, {.disk = 1, .stores = 2, .renewed = {{1, 2}}});
  CHECK(image.node(3).numbers.number_of(1) == 2);
  image.register_node(3, 7, {.count = 2, .tag = 1},
                      {.disk = 1, .stores = 2, .renewed = {{0, 0}, {1, 2}}});
  CHECK(image.node(3).numbers.renewed == std::vector<StoreNumber>{{0, 3}, {1, 2}});
  CHECK(image.topic("a").replicas_of(GroupId(2)).back() == member(3, 3));

  // Another disk is another member everywhere.
  image.register_node(3, 8, boot, {.disk = 0, .stores = 4, .renewed = {}});
  CHECK(image.node(3).numbers == StoreNumbers{.disk = 4, .stores = 4, .renewed = {}});
  CHECK(image.topic("a").replicas_of(GroupId(1)).back() == member(3, 4));
  CHECK(image.topic("a").replicas_of(GroupId(2)).back() == member(3, 4));
}

TEST_CASE("numbers of stores that make no sense are not applied") {
  MetadataImage image;
  for (const StoreNumbers& numbers :
       {StoreNumbers{.disk = 1, .stores = 0, .renewed = {}},
        StoreNumbers{.disk = 1, .stores = 2, .renewed = {{2, 0}}},
        StoreNumbers{.disk = 1, .stores = 2, .renewed = {{1, 0}, {0, 0}}},
        StoreNumbers{.disk = 1, .stores = 2, .renewed = {{1, -1}}}}) {
    RegisterNodeCommand command;
    command.node.id = NodeId(1);
    command.node.numbers = numbers;
    CHECK_FALSE(image.apply(encode_command(CommandType::register_node, command)).has_value());
  }
}

TEST_CASE("a node goes only when nothing is on it, and comes back only with another disk") {
  Image image;
  image.register_node(1, 7, {.count = 1, .tag = 1});
  const MemberId first = image.node(1).member(GroupId(1));
  image.create("a", {{first}});
  image.apply(CommandType::remove_node, RemoveNodeCommand{NodeId(1)});
  CHECK_FALSE(image.node(1).removed);
  image.place(GroupId(1), {member(2)});
  image.apply(CommandType::remove_node, RemoveNodeCommand{NodeId(1)});
  CHECK_FALSE(image.node(1).removed);  // It is leaving, and has not left.
  image.apply(CommandType::settle_group,
              SettleGroupCommand{GroupId(1), image.topic("a").moves.front().version});
  image.apply(CommandType::remove_node, RemoveNodeCommand{NodeId(1)});
  CHECK(image.node(1).removed);
  CHECK((*image).is_gone(GroupId(1), first));
  image.register_node(1, 7, {.count = 2, .tag = 2});
  CHECK(image.node(1).removed);
  image.register_node(1, 8, {.count = 1, .tag = 3});
  CHECK_FALSE(image.node(1).removed);
  CHECK(image.node(1).member(GroupId(1)) != first);
}

}  // namespace sentinel::consensus
