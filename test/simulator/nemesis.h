#pragma once
/// Makes things go wrong, and ends it again.

#include <algorithm>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "test/simulator/oracle.h"
#include "test/simulator/scenario.h"
#include "test/simulator/workload.h"
#include "test/support/sim_broker.h"
#include "test/support/sim_world.h"

namespace sentinel::simulator {

class Nemesis {
 public:
  /// `brokers` are the founders and behind them those that may join.
  Nemesis(SimWorld& world, const Scenario& scenario, Oracle& oracle, Workload& workload,
          std::vector<NodeId> brokers);

  /// Does what a fault says, as far as it can be done now and the fault budget allows it: at most
  /// one node is damaged at a time, and another one only once all has been made up for.
  void inflict(const Fault& fault);
  /// What nodes did by themselves since the last call: those that ended for a reason are started
  /// again, those that were refused for a reason get what an operator would give them.
  void look_after();
  /// All is well from now on, but for a node that stays away, if the scenario has it so.
  void end_all();

  /// A node ended or was refused for no reason; empty while none was.
  [[nodiscard]] const std::string& violation() const { return violation_; }
  /// Whether all that are to be there are, and have started.
  [[nodiscard]] bool all_started();
  [[nodiscard]] bool is_opening(NodeId node) {
    return is_up(node) && program(node)->broker() == nullptr && program(node)->error().empty();
  }
  /// Whether no node keeps a damaged store beside the one in its place.
  [[nodiscard]] bool all_cleared() const;
  /// Not one from another node, or an old copy.
  [[nodiscard]] bool has_own_disk(NodeId node) const {
    return !brokers_.at(node).own_disk.has_value();
  }
  [[nodiscard]] std::uint64_t inflicted() const { return inflicted_; }
  [[nodiscard]] const std::map<FaultKind, std::uint64_t>& counts() const { return counts_; }

  /// Something on its disk has rotted: what is left of it may be seen where it does no harm.
  [[nodiscard]] bool has_rotted(NodeId node) const { return !brokers_.at(node).rotten.empty(); }

 private:
  /// What a node is in for.
  struct Broker {
    bool present = false;  ///< Has been started, or is to be.
    /// Files of its disk that have rotted. What it finds of it it is to make up for by itself.
    std::vector<std::pair<std::string, test::InodeId>> rotten;
    /// A read of a table fails, or has: until the node is another member, it may be about to make
    /// a store anew.
    std::optional<consensus::StoreNumbers> before_read_error;
    bool was_unreadable = false;
    consensus::StoreNumbers numbers;  ///< As they were last seen.
    std::int32_t lost_disk = 0;       ///< The number of one that was wiped.
    bool failing = false;             ///< An operation of its disk fails.
    bool restarting = false;
    test::DiskOptions usual_disk;
    /// Its own disk, while it has another one, with which it must be refused; and with what words.
    std::optional<test::DiskImage> own_disk;
    std::string refusal;
  };
  using Random = core::Random;
  /// False when it can't be done now.
  using Action = bool (Nemesis::*)(const Fault&, Random&);
  static const Action kActions[kFaultKinds];

  // In the order of FaultKind.
  bool crash_one(const Fault& fault, Random& random);
  bool crash_all(const Fault& fault, Random& random);
  bool pause(const Fault& fault, Random& random);
  bool freeze(const Fault& fault, Random& random);
  bool slow_node(const Fault& fault, Random& random);
  bool isolate(const Fault& fault, Random& random);
  bool cut_one_way(const Fault& fault, Random& random);
  bool cut_pair(const Fault& fault, Random& random);
  bool cut_ring(const Fault& fault, Random& random);
  bool cut_clients(const Fault& fault, Random& random);
  bool reset(const Fault& fault, Random& random);
  bool flap(const Fault& fault, Random& random);
  bool slow_network(const Fault& fault, Random& random);
  bool slow_disk(const Fault& fault, Random& random);
  bool sync_error(const Fault& fault, Random& random);
  bool stuck_write(const Fault& fault, Random& random);
  bool disk_full(const Fault& fault, Random& random);
  bool read_error(const Fault& fault, Random& random);
  bool rot(const Fault& fault, Random& random);
  bool lose_disk(const Fault& fault, Random& random);
  bool put_back_old_copy(const Fault& fault, Random& random);
  bool swap_disks(const Fault& fault, Random& random);
  bool jump_clock(const Fault& fault, Random& random);
  bool drift_clock(const Fault& fault, Random& random);
  bool join(const Fault& fault, Random& random);
  bool move(const Fault& fault, Random& random);
  bool elect(const Fault& fault, Random& random);
  bool transfer(const Fault& fault, Random& random);
  bool grow(const Fault& fault, Random& random);
  bool change_topics(const Fault& fault, Random& random);
  bool trim(const Fault& fault, Random& random);
  bool come_back(const Fault& fault, Random& random);

  using Links = std::vector<std::pair<NodeId, NodeId>>;
  [[nodiscard]] NodeId node_a(const Fault& fault) const { return at(fault.a); }
  [[nodiscard]] NodeId node_b(const Fault& fault) const { return at(fault.b); }
  [[nodiscard]] NodeId at(std::uint32_t number) const {
    return ids_[std::min<std::size_t>(number, ids_.size()) - 1];
  }
  [[nodiscard]] bool is_up(NodeId node) const { return world_.is_up(node); }
  [[nodiscard]] bool is_well(NodeId node) const;
  [[nodiscard]] bool may_damage(NodeId node) const;
  [[nodiscard]] bool is_damaged(NodeId node) const;
  [[nodiscard]] consensus::StoreNumbers numbers_of(NodeId node) const {
    return oracle_.numbers_of(consensus::NodeId(static_cast<std::int32_t>(node)));
  }
  test::BrokerProgram* program(NodeId node);
  void crash(NodeId node, Random& random);
  void start(NodeId node);
  void start_after(NodeId node, Millis delay);
  /// Ends something after its time, unless all was ended before.
  void later(Millis delay, std::function<void()> action);
  bool cut(Links links, Millis lasts);
  void heal(const Links& links);
  void place(std::int32_t partition, std::vector<std::int32_t> replicas);
  void wipe(NodeId node);
  void give_foreign_disk(NodeId node, test::DiskImage foreign, std::string refusal);
  void give_back_disk(NodeId node);
  void restart_or_replace(NodeId node, Broker& broker);
  [[nodiscard]] bool have_all_met(NodeId node);
  void check_numbers(NodeId node, Broker& broker);
  [[nodiscard]] std::vector<std::int32_t> some_present(Random& random, std::size_t count) const;
  void fail(std::string what);

  SimWorld& world_;
  const Scenario& scenario_;
  Oracle& oracle_;
  Workload& workload_;
  const std::vector<NodeId> ids_;
  std::map<NodeId, Broker> brokers_;
  const test::NetworkOptions usual_network_;
  std::string violation_;
  /// Where a partition is to be, and was to be before that, as far as it has been moved.
  struct Placement {
    std::vector<std::int32_t> now;
    std::vector<std::int32_t> before;
  };
  std::map<std::int32_t, Placement> placements_;
  std::uint64_t inflicted_ = 0;
  std::map<FaultKind, std::uint64_t> counts_;
  bool over_ = false;
  NodeId away_ = 0;
};

}  // namespace sentinel::simulator
