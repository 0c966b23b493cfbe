#include "test/simulator/simulation.h"

#include <fmt/format.h>

#include <memory>

#include "consensus/data_check.h"
#include "test/simulator/nemesis.h"
#include "test/simulator/oracle.h"
#include "test/simulator/workload.h"
#include "test/support/sim_broker.h"
#include "test/support/sim_world.h"

namespace sentinel::simulator {

using test::BrokerProgram;
using test::NodeContext;
using namespace std::chrono_literals;

namespace {

constexpr core::Duration kLook = 100ms;
/// All that is under way ends so long after the last fault.
constexpr core::Duration kLivenessLimit = 60s;

/// Windows so small that followers that lag get what they lack from the disk, bit by bit.
consensus::RaftOptions raft_options(const Scenario& scenario, consensus::RaftProbe* probe) {
  consensus::RaftOptions raft;
  raft.probe = probe;
  raft.message_bytes_max = scenario.small_files ? 32 << 10 : 256 << 10;  // Fits a segment.
  if (scenario.small_windows) {
    raft.tail_bytes_max = 1 << 10;
    raft.message_bytes_max = 2 << 10;
    raft.messages_in_flight_max = 2;
    raft.commit_step_entries = 3;
  }
  return raft;
}

/// Looks over a copy of a disk, as sentinel-cli verify does.
class DiskCheck final : public test::NodeProgram {
 public:
  core::Task<void> run(core::Shard& shard) override {
    const auto check = co_await consensus::check_data(shard, "/data", {});
    if (!check) problem = check.error().message;
    for (std::size_t i = 0; check && i < check->stores.size(); ++i) {
      if (!check->stores[i].problems.empty()) problem = check->stores[i].problems.front();
    }
    done = true;
  }
  void request_stop() override {}
  bool done = false;
  std::string problem;
};

class Simulation {
 public:
  explicit Simulation(const Scenario& scenario)
      : scenario_(scenario),
        oracle_(scenario.has(FaultKind::clock_jump)),
        world_(scenario.seed),
        brokers_(add_brokers()),
        workload_(world_, scenario_, founders()),
        nemesis_(world_, scenario_, oracle_, workload_, brokers_) {}

  void run() {
    for (const NodeId broker : founders()) world_.start(broker);
    workload_.create_topic();
    if (!run_until([&] { return workload_.is_idle(); }, 120s))
      return fail("liveness: the topic was not made within two minutes");
    workload_.start();
    disturb();
    if (failed()) return;
    recover();
    if (failed()) return;
    const test::Verdict verdict = test::check_history(workload_.history());
    acknowledged_ = verdict.acknowledged;
    if (!verdict.good()) return fail("history: " + verdict.summary());
    for (const NodeId broker : brokers_) {
      if (!world_.is_up(broker) || world_.stop(broker)) continue;
      // One that was opening its directory anew waits for others, until it is killed.
      if (!nemesis_.is_opening(broker))
        return fail(fmt::format("liveness: node {} does not stop", broker));
      world_.crash(broker);
    }
    check_disks();
  }

  RunReport report() {
    RunReport report;
    report.failure = failure_;
    report.trace_hash = world_.trace_hash();
    report.simulated_seconds = std::chrono::duration<double>(world_.now() - began_).count();
    report.turns = world_.turns();
    report.operations = workload_.operations();
    report.acknowledged = acknowledged_;
    report.committed = oracle_.committed_entries();
    report.elections = oracle_.elections();
    for (const NodeId broker : brokers_) report.lives += world_.life(broker);
    report.faults = nemesis_.inflicted();
    for (const auto& [kind, count] : nemesis_.counts())
      report.counts[static_cast<std::size_t>(kind)] = count;
    return report;
  }
  [[nodiscard]] const test::ClientHistory& history() const { return workload_.history(); }

 private:
  std::vector<NodeId> add_brokers() {
    std::vector<NodeId> cluster;
    for (std::uint32_t i = 1; i <= scenario_.nodes; ++i) cluster.push_back(i);
    core::Random random = world_.random("brokers");
    std::vector<NodeId> brokers;
    for (std::uint32_t i = 1; i <= scenario_.nodes + scenario_.joiners; ++i) {
      test::NodeOptions options;
      options.shards = scenario_.shards;
      std::vector<NodeId> peers = cluster;
      if (i > scenario_.nodes) peers.push_back(i);
      options.program = [this, peers](const NodeContext& context) {
        auto* const probe = oracle_.begin_life(nemesis_.has_own_disk(context.node),
                                               scenario_.misdelivered > 0 ? &postman_ : nullptr);
        BrokerProgram::Options broker{.cluster = peers, .raft = raft_options(scenario_, probe)};
        if (scenario_.small_windows) broker.cleaning_gather = 200ms;
        // Else a run is over before a producer is told what it must not be told.
        if (scenario_.seed % 2 == 0) broker.sequence_patience = 500ms;
        if (!scenario_.small_files) {
          broker.memtable_bytes = std::size_t{1} << 20;
          broker.segment_bytes = std::uint64_t{1} << 20;
        }
        return std::make_unique<BrokerProgram>(context, std::move(broker));
      };
      options.disk.short_transfer_probability = random.chance(0.3) ? 0.05 : 0;
      options.disk.direct = random.chance(0.8);
      options.image.make_directories("/");
      brokers.push_back(world_.add_node(std::move(options)));
    }
    return brokers;
  }

  [[nodiscard]] std::vector<NodeId> founders() const {
    return {brokers_.begin(), brokers_.begin() + static_cast<std::ptrdiff_t>(scenario_.nodes)};
  }

  void fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
  }
  bool failed() {
    if (!oracle_.violation().empty()) fail(oracle_.violation());
    if (!nemesis_.violation().empty()) fail(nemesis_.violation());
    if (!workload_.violation().empty()) fail(workload_.violation());
    return !failure_.empty();
  }

  /// Looks around while it waits. False at the limit, or when something is wrong.
  bool run_until(const std::function<bool()>& done, core::Duration limit) {
    const core::TimePoint end = world_.now() + limit;
    while (!done()) {
      if (world_.now() >= end || failed()) return false;
      world_.run_until(done, std::min(kLook, end - world_.now()));
      nemesis_.look_after();
    }
    return !failed();
  }

  void disturb() {
    const core::TimePoint start = world_.now();
    for (const Fault& fault : scenario_.faults) {
      run_until([&] { return world_.now() >= start + fault.at; }, fault.at + 1ms);
      if (failed()) return;
      nemesis_.inflict(fault);
    }
    run_until([&] { return world_.now() >= start + scenario_.lasts; }, scenario_.lasts);
  }

  /// What nodes leave behind is sound, down to the checksum of each record batch; in a part of the
  /// runs, as it takes time.
  void check_disks() {
    if (!world_.random("disks").chance(0.2)) return;
    for (const NodeId broker : brokers_) {
      if (world_.life(broker) == 0 || nemesis_.has_rotted(broker)) continue;
      test::NodeOptions options;
      options.image = world_.disk(broker).image();
      options.program = [](const NodeContext&) { return std::make_unique<DiskCheck>(); };
      const NodeId copy = world_.add_node(std::move(options));
      world_.start(copy);
      auto* const check = static_cast<DiskCheck*>(world_.program(copy));
      world_.run_until([check] { return check->done; }, kLivenessLimit);
      if (!check->done) return fail(fmt::format("the disk of node {} is not checked", broker));
      if (!check->problem.empty())
        return fail(fmt::format("the disk of node {}: {}", broker, check->problem));
    }
  }

  void recover() {
    nemesis_.end_all();
    workload_.stop();
    if (!run_until([&] { return workload_.is_idle(); }, kLivenessLimit))
      return fail("liveness: clients wait for more than a minute after the last fault");
    if (!run_until([&] { return nemesis_.all_started(); }, kLivenessLimit))
      return fail("liveness: a node has not come back a minute after the last fault");
    workload_.finish();
    run_until([&] { return workload_.is_idle(); }, 2 * kLivenessLimit);
    if (failed()) return;
    if (!workload_.keyed_violation().empty())
      return fail("latest records: " + workload_.keyed_violation());
    if (!workload_.finished())
      return fail(
          "liveness: a partition takes no records, or can't be read, a minute after the "
          "last fault");
    // One that stays away can't have everything.
    if (!scenario_.core_only &&
        !run_until([&] { return oracle_.is_fully_replicated(); }, kLivenessLimit))
      return fail("liveness: replicas lack records a minute after the last fault: " +
                  oracle_.lack());
    if (!scenario_.core_only && !run_until([&] { return nemesis_.all_cleared(); }, kLivenessLimit))
      return fail("liveness: a damaged store is kept a minute after the last fault");
    if (!run_until([&] { return nemesis_.all_started(); }, kLivenessLimit))
      return fail("liveness: a node opens its directory anew, and does not come back");
  }

  const Scenario& scenario_;
  Oracle oracle_;
  test::SimWorld world_;
  Postman postman_{scenario_.misdelivered, world_.random("postman").next()};
  const core::TimePoint began_ = world_.now();
  const std::vector<NodeId> brokers_;
  Workload workload_;
  Nemesis nemesis_;
  std::string failure_;
  std::uint64_t acknowledged_ = 0;
};

}  // namespace

RunReport run(const Scenario& scenario, test::ClientHistory* history) {
  Simulation simulation(scenario);
  simulation.run();
  if (history != nullptr) *history = simulation.history();
  return simulation.report();
}

}  // namespace sentinel::simulator
