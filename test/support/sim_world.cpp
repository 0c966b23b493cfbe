#include "test/support/sim_world.h"

#include <algorithm>
#include <utility>

#include "core/assert.h"

namespace sentinel::test {

using core::Shard;
using core::TimePoint;

SimWorld::SimWorld(std::uint64_t seed)
    : schedule_(seed),
      network_(schedule_),
      seeds_(schedule_.stream("nodes")),
      agenda_(*this),
      agenda_target_(schedule_.add_target(agenda_)) {}

SimWorld::~SimWorld() {
  for (NodeId id = 1; id <= nodes_.size(); ++id) {
    if (is_up(id)) crash(id);
  }
}

// Nodes.

SimWorld::Seat::Seat(SimWorld& world, Node& of, std::uint32_t index)
    : node(of),
      ring(world.schedule_, world.network_, of.host, index),
      shard(index, ring, world.draw_seed()),
      tasks(std::in_place, shard) {}

SimWorld::Node::Node(SimWorld& world, NodeOptions node_options)
    : options(std::move(node_options)),
      disk(options.disk, core::Random(world.draw_seed()), std::move(options.image)) {
  host.disk = &disk;
  host.wall_offset = options.wall_offset;
}

void SimWorld::Node::on_failure(core::ExitCode code, std::string_view message) {
  if (failed) return;
  failed = true;
  failure = NodeFailure{code, std::string(message)};
  // The rest of this turn can't reach the world any more.
  host.failed = true;
}

NodeId SimWorld::add_node(NodeOptions options) {
  nodes_.push_back(std::make_unique<Node>(*this, std::move(options)));
  network_.add_host(nodes_.back()->host);
  return nodes_.back()->host.id;
}

void SimWorld::start(NodeId id) {
  Node& started = node(id);
  SENTINEL_ASSERT(started.seats.empty(), "node {} is up", id);
  ++started.life;
  started.failure.reset();
  started.paused = false;
  network_.host_up(started.host);
  NodeContext context{.node = id, .life = started.life, .shards = {}};
  for (std::uint32_t i = 0; i < started.options.shards; ++i) {
    started.seats.push_back(std::make_unique<Seat>(*this, started, i));
    Seat& seat = *started.seats.back();
    seat.shard.set_failure_handler(&started);
    seat.ring.set_register_buffers(started.options.registers_buffers);
    seats_.emplace(seat.ring.id(), &seat);
    context.shards.push_back(&seat.shard);
  }
  Shard::connect(context.shards);
  if (!started.options.program) return;
  started.program = started.options.program(context);
  for (auto& seat : started.seats) seat->tasks->spawn(started.program->run(seat->shard));
}

void SimWorld::crash(NodeId id, CrashPolicy policy, Power power) {
  Node& crashed = node(id);
  SENTINEL_ASSERT(!crashed.seats.empty(), "node {} is down", id);
  for (auto& seat : crashed.seats) seat->shard.abandon();
  // What runs refers to the program, so it goes first.
  for (auto& seat : crashed.seats) seat->tasks.reset();
  take_down(crashed);
  network_.host_down(crashed.host, power == Power::stays);
  crashed.disk.crash(policy);
}

void SimWorld::take_down(Node& down) {
  down.program.reset();
  for (auto& seat : down.seats) seats_.erase(seat->ring.id());
  // A frame of one shard may refer to another shard, so that all shards outlive all frames.
  down.seats.clear();
  down.failed = false;
}

bool SimWorld::stop(NodeId id, core::Duration limit) {
  Node& stopped = node(id);
  SENTINEL_ASSERT(!stopped.seats.empty(), "node {} is down", id);
  if (stopped.program != nullptr) stopped.program->request_stop();
  run_until([&] { return is_idle(id); }, limit);
  if (stopped.seats.empty()) return true;
  if (!is_idle(id)) return false;
  take_down(stopped);
  network_.host_down(stopped.host, true);
  stopped.disk.release_handles();
  return true;
}

bool SimWorld::is_up(NodeId id) const { return !node(id).seats.empty(); }
std::uint32_t SimWorld::life(NodeId id) const { return node(id).life; }
const std::optional<NodeFailure>& SimWorld::failure(NodeId id) const { return node(id).failure; }
Shard& SimWorld::shard(NodeId id, std::uint32_t index) { return node(id).seats.at(index)->shard; }
NodeProgram* SimWorld::program(NodeId id) { return node(id).program.get(); }
SimDisk& SimWorld::disk(NodeId id) { return node(id).disk; }

void SimWorld::spawn(NodeId id, std::uint32_t shard, core::Task<void> task) {
  node(id).seats.at(shard)->tasks->spawn(std::move(task));
}

bool SimWorld::is_idle(NodeId id) const {
  return std::ranges::all_of(node(id).seats, [](const auto& seat) {
    return seat->tasks->active() == 0 && seat->shard.visitors().active() == 0;
  });
}

void SimWorld::pause(NodeId id) { node(id).paused = true; }

void SimWorld::resume(NodeId id) {
  node(id).paused = false;
  for (auto& seat : node(id).seats) schedule_.make_runnable(seat->ring);
}

void SimWorld::set_wall_offset(NodeId id, core::Duration offset) {
  node(id).host.wall_offset = offset;
}

void SimWorld::set_turn_cost(NodeId id, core::Duration cost) { node(id).options.turn_cost = cost; }

void SimWorld::set_clock_rate(NodeId id, double rate) {
  Node& its = node(id);
  its.host.set_rate(now(), rate);
  for (auto& seat : its.seats) note_state(*seat);
}

// Time.

SimWorld::Outcome SimWorld::run_until(const std::function<bool()>& done, core::Duration limit) {
  const TimePoint end = now() + limit;
  // The test may have started something between turns.
  wake_all();
  stop_ = false;
  while (!done()) {
    if (std::exchange(stop_, false)) return Outcome::stopped;
    if (now() > end) return Outcome::timed_out;
    if (schedule_.deliver_due()) continue;
    if (schedule_.any_runnable()) {
      turn(schedule_.take_runnable());
    } else if (!advance(end)) {
      return now() >= end ? Outcome::timed_out : Outcome::idle;
    }
  }
  return Outcome::done;
}

SimWorld::Outcome SimWorld::run_for(core::Duration duration) {
  const TimePoint end = now() + duration;
  const Outcome outcome = run_until([] { return false; }, duration);
  if (outcome == Outcome::idle) schedule_.advance_to(end);
  return outcome;
}

void SimWorld::wake_all() {
  for (const auto& [ring, seat] : seats_) schedule_.make_runnable(seat->ring);
}

void SimWorld::turn(SimRing& ring) {
  const auto found = seats_.find(ring.id());
  if (found == seats_.end() || found->second->node.paused) return;
  Seat& seat = *found->second;
  Node& its = seat.node;
  seat.shard.turn(Shard::Sleep::never);
  ++turns_;
  schedule_.advance_to(now() + its.options.turn_cost);
  if (its.failed) return crash(its.host.id, its.options.failure_policy);
  // Messages between shards wake their receivers without a ring operation.
  for (auto& each : its.seats) note_state(*each);
}

void SimWorld::note_state(Seat& seat) {
  seat.next_timer = seat.node.host.world(seat.shard.timers().next());
  if (seat.shard.has_work() || seat.ring.has_finished() || seat.next_timer <= now()) {
    schedule_.make_runnable(seat.ring);
  }
}

TimePoint SimWorld::next_timer() const {
  TimePoint next = TimePoint::max();
  for (const auto& [ring, seat] : seats_) {
    if (!seat->node.paused) next = std::min(next, seat->next_timer);
  }
  return next;
}

bool SimWorld::advance(TimePoint limit) {
  const TimePoint next = std::min(schedule_.next_event(), next_timer());
  if (next == TimePoint::max()) return false;
  if (next > limit) {
    schedule_.advance_to(limit);
    return false;
  }
  schedule_.advance_to(next);
  for (const auto& [ring, seat] : seats_) {
    if (seat->next_timer <= now()) schedule_.make_runnable(seat->ring);
  }
  return true;
}

void SimWorld::Agenda::on_event(std::uint64_t tag) {
  const auto found = actions.find(tag);
  const std::function<void()> action = std::move(found->second);
  actions.erase(found);
  action();
  world.wake_all();
}

void SimWorld::after(core::Duration delay, std::function<void()> action) {
  agenda_.actions.emplace(++agenda_.added, std::move(action));
  schedule_.schedule(now() + delay, agenda_target_, agenda_.added);
}

// Crash enumeration.

void SimWorld::stop_at_write_point(NodeId id, std::uint64_t point) {
  captured_.reset();
  disk(id).set_observer([this, point](const DiskImage& image, std::uint64_t at) {
    if (at != point) return;
    captured_ = image;
    stop_ = true;
  });
}

}  // namespace sentinel::test
