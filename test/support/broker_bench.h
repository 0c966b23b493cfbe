#pragma once
/// A broker shard with its stores, its clocks and its disk in a simulated world, without network.

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "consensus/broker_shard.h"
#include "test/support/sim_world.h"

namespace sentinel::test {

/// What a test does with it, it spawns beside it.
class SimBroker final : public NodeProgram {
 public:
  explicit SimBroker(const NodeContext& context) : stop_(*context.shards.front()) {
    layout_.data_directory = "/data";
    layout_.identity.numbers = {.disk = 1, .stores = 1, .renewed = {}};
    layout_.create = context.life == 1;
    layout_.memtable_bytes = 300 << 10;
    layout_.wal.segment_bytes = 512 << 10;
    layout_.wal.first_segment_bytes = 64 << 10;
    layout_.wal.buffer_bytes = 128 << 10;
  }

  core::Task<void> run(core::Shard& shard) override {
    auto opened = co_await consensus::BrokerShard::open(shard, layout_, 1);
    SENTINEL_ASSERT(opened.has_value(), "{}", opened.error().message);
    shard_ = std::move(*opened);
    const core::Status started = co_await shard_->start({shard_.get()});
    SENTINEL_ASSERT(started.has_value(), "{}", started.error().message);
    ready_ = true;
    while (!stopping_) co_await stop_.wait();
    co_await shard_->close();
  }
  void request_stop() override {
    stopping_ = true;
    stop_.notify_all();
  }
  [[nodiscard]] bool ready() const { return ready_; }
  [[nodiscard]] consensus::BrokerShard& shard() { return *shard_; }

 private:
  consensus::BrokerLayout layout_;
  std::unique_ptr<consensus::BrokerShard> shard_;
  bool ready_ = false;
  bool stopping_ = false;
  core::Signal stop_;
};

struct BrokerBench {
  SimWorld world;
  NodeId node = 0;

  explicit BrokerBench(std::uint64_t seed = 7) : world(seed) {
    DiskImage disk;
    disk.make_directories("/data/store-0");
    node = world.add_node(
        {.program = [](const NodeContext& context) { return std::make_unique<SimBroker>(context); },
         .image = disk});
    start();
  }
  void start() {
    world.start(node);
    world.run_until([&] { return broker().ready(); }, std::chrono::seconds(60));
  }
  SimBroker& broker() { return static_cast<SimBroker&>(*world.program(node)); }

  /// Runs a task on the node to its end.
  void run(core::Task<void> task) {
    bool done = false;
    world.spawn(node, 0, [](core::Task<void> inner, bool* ended) -> core::Task<void> {
      co_await std::move(inner);
      *ended = true;
    }(std::move(task), &done));
    REQUIRE(world.run_until([&] { return done; }, std::chrono::seconds(600)) ==
            SimWorld::Outcome::done);
  }
  std::int64_t wall_ms() { return world.shard(node).ring().wall_now().time_since_epoch().count(); }

  consensus::GroupId create(std::string name, std::vector<consensus::ConfigEntry> configs) {
    consensus::GroupId group;
    run([](SimBroker* broker, std::string topic, std::vector<consensus::ConfigEntry> settings,
           consensus::GroupId* made) -> core::Task<void> {
      consensus::NewTopic wanted;
      wanted.name = std::move(topic);
      wanted.configs = std::move(settings);
      auto created = co_await broker->shard().controller().create_topic(std::move(wanted));
      CHECK(created.has_value());
      if (created) *made = created->group(consensus::PartitionIndex(0));
    }(&broker(), std::move(name), std::move(configs), &group));
    return group;
  }
};

}  // namespace sentinel::test
