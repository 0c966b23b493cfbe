#pragma once
/// A whole cluster in one thread: nodes with their shards, disks and clocks, and the network
/// between them. Everything that happens follows from one seed.
///
///   SimWorld world(seed);
///   const NodeId node = world.add_node({.shards = 2, .program = [](NodeContext& context) {...}});
///   world.start(node);
///   world.run_until([&] { return acked == 10; }, std::chrono::seconds(5));
///   world.crash(node);
///   world.start(node);

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/scope.h"
#include "core/shard.h"
#include "core/task.h"
#include "test/support/sim_disk.h"
#include "test/support/sim_network.h"
#include "test/support/sim_ring.h"
#include "test/support/sim_schedule.h"

namespace sentinel::test {

/// What a program finds when its node starts.
struct NodeContext {
  NodeId node = 0;
  std::uint32_t life = 0;  ///< From 1; one more with each start.
  std::vector<core::Shard*> shards;
};

/// What runs on a node: the composition root of a broker, or a client. It is made when the node
/// starts and destroyed when it stops or crashes; after a crash without any more turns.
class NodeProgram {
 public:
  virtual ~NodeProgram() = default;
  /// Runs on each shard from the start of the node on; the node has stopped when all have returned.
  virtual core::Task<void> run(core::Shard& shard) = 0;
  /// Asks run() to return on all shards. Called between turns.
  virtual void request_stop() = 0;
};
using ProgramFactory = std::function<std::unique_ptr<NodeProgram>(const NodeContext&)>;

struct NodeOptions {
  std::uint32_t shards = 1;
  /// Empty: the node runs only what spawn() gives it. For clients.
  ProgramFactory program{};
  DiskOptions disk{};
  /// What the disk holds at first.
  DiskImage image{};
  core::Duration wall_offset{};
  /// Whether the rings accept register_buffers(), which real ones may decline.
  bool registers_buffers = true;
  /// What one turn of a shard takes.
  core::Duration turn_cost = std::chrono::nanoseconds(500);
  /// What becomes of the disk when the node ends itself with Shard::fail().
  CrashPolicy failure_policy{.writes = CrashPolicy::Writes::keep_all};
};

struct NodeFailure {
  core::ExitCode code = core::ExitCode::ok;
  std::string message;
};

class SimWorld {
 public:
  explicit SimWorld(std::uint64_t seed);
  /// Crashes what is still up.
  ~SimWorld();
  SimWorld(const SimWorld&) = delete;
  SimWorld& operator=(const SimWorld&) = delete;

  // Nodes. They are numbered from 1 and down until started.

  NodeId add_node(NodeOptions options);
  void start(NodeId node);
  enum class Power : std::uint8_t { stays, lost };
  /// Ends a node in mid-work. With the power its peers lose sight of it: they see no reset until it
  /// is up again.
  void crash(NodeId node, CrashPolicy policy = {}, Power power = Power::stays);
  /// Asks the program to end and runs the world until it has, and then everything it left closed is
  /// checked. False when it is still up after `limit`.
  bool stop(NodeId node, core::Duration limit = std::chrono::seconds(60));
  [[nodiscard]] bool is_up(NodeId node) const;
  [[nodiscard]] std::uint32_t life(NodeId node) const;
  /// Why the node ended itself, in this life or the last one.
  [[nodiscard]] const std::optional<NodeFailure>& failure(NodeId node) const;
  /// The running shards of a node.
  [[nodiscard]] core::Shard& shard(NodeId node, std::uint32_t index = 0);
  /// The running program, as what the factory made.
  [[nodiscard]] NodeProgram* program(NodeId node);
  /// Runs a task on a node beside its program. It ends, or dies with the node; a stop waits for it.
  void spawn(NodeId node, std::uint32_t shard, core::Task<void> task);
  /// What it runs has ended.
  [[nodiscard]] bool is_idle(NodeId node) const;

  [[nodiscard]] SimDisk& disk(NodeId node);
  [[nodiscard]] SimNetwork& network() { return network_; }
  [[nodiscard]] SimSchedule& schedule() { return schedule_; }

  // Time.

  [[nodiscard]] core::TimePoint now() const { return schedule_.now(); }
  enum class Outcome : std::uint8_t {
    done,       ///< The condition holds.
    timed_out,  ///< The time is over.
    idle,       ///< Nothing will ever happen again.
    stopped,    ///< stop_at_write_point() has come true.
  };
  /// Runs until `done` holds, which is asked after each turn.
  Outcome run_until(const std::function<bool()>& done,
                    core::Duration limit = std::chrono::hours(1));
  Outcome run_for(core::Duration duration);
  /// Does something between turns, later.
  void after(core::Duration delay, std::function<void()> action);
  [[nodiscard]] std::uint64_t turns() const { return turns_; }

  // Faults beyond those of disks and network.

  /// The node's shards get no turns; its sockets fill and its disk goes on.
  void pause(NodeId node);
  void resume(NodeId node);
  void set_wall_offset(NodeId node, core::Duration offset);
  void set_turn_cost(NodeId node, core::Duration cost);
  /// How fast the node's time runs; 1 is right.
  void set_clock_rate(NodeId node, double rate);

  // Crash enumeration.

  /// Keeps the disk as it is at write point `point` of a node, with all that is in flight, and ends
  /// the run after the turn in which that was. Points: SimDisk::write_points(). Replaces the
  /// observer of the disk.
  void stop_at_write_point(NodeId node, std::uint64_t point);
  /// The disk at that point; empty while it has not been reached.
  [[nodiscard]] const std::optional<DiskImage>& captured() const { return captured_; }

  /// A stream of randomness for a concern of the test: "workload", "faults".
  [[nodiscard]] core::Random random(std::string_view concern) const {
    return schedule_.stream(concern);
  }
  [[nodiscard]] std::uint64_t trace_hash() const { return schedule_.trace_hash(); }

 private:
  struct Node;
  /// One shard of a running node.
  struct Seat {
    Seat(SimWorld& world, Node& of, std::uint32_t index);
    Node& node;
    SimRing ring;
    core::Shard shard;
    std::optional<core::TaskScope> tasks;
    core::TimePoint next_timer = core::TimePoint::max();
  };
  struct Node final : core::FailureHandler {
    Node(SimWorld& world, NodeOptions node_options);
    void on_failure(core::ExitCode code, std::string_view message) override;
    NodeOptions options;
    SimHost host;
    SimDisk disk;
    std::uint32_t life = 0;
    bool paused = false;
    std::optional<NodeFailure> failure;
    bool failed = false;  // To be crashed after this turn.
    std::vector<std::unique_ptr<Seat>> seats;
    std::unique_ptr<NodeProgram> program;
  };
  /// Runs the actions of after().
  struct Agenda final : EventTarget {
    explicit Agenda(SimWorld& its) : world(its) {}
    void on_event(std::uint64_t tag) override;
    SimWorld& world;
    std::map<std::uint64_t, std::function<void()>> actions;
    std::uint64_t added = 0;
  };

  [[nodiscard]] Node& node(NodeId id) const { return *nodes_.at(id - 1); }
  [[nodiscard]] std::uint64_t draw_seed() { return seeds_.next(); }
  void wake_all();
  void turn(SimRing& ring);
  void note_state(Seat& seat);
  bool advance(core::TimePoint limit);
  [[nodiscard]] core::TimePoint next_timer() const;
  void take_down(Node& node);

  SimSchedule schedule_;
  SimNetwork network_;
  core::Random seeds_;
  Agenda agenda_;
  const std::uint32_t agenda_target_;
  std::vector<std::unique_ptr<Node>> nodes_;
  std::map<std::uint32_t, Seat*> seats_;  // Of running nodes, by ring.
  std::uint64_t turns_ = 0;
  bool stop_ = false;
  std::optional<DiskImage> captured_;
};

}  // namespace sentinel::test
