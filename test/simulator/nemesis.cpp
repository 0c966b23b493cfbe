#include "test/simulator/nemesis.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <tuple>
#include <utility>

namespace sentinel::simulator {

using net::kafka::Client;
using test::CrashPolicy;
using test::DiskImage;
using namespace std::chrono_literals;

namespace {

constexpr core::Duration kUsualTurn = std::chrono::nanoseconds(500);

DiskImage empty_disk() {
  DiskImage image;
  image.make_directories("/");
  return image;
}

std::int32_t signed_id(NodeId node) { return static_cast<std::int32_t>(node); }

void add_both(std::vector<std::pair<NodeId, NodeId>>& links, NodeId a, NodeId b) {
  if (a == b) return;
  links.emplace_back(a, b);
  links.emplace_back(b, a);
}

std::uint64_t used_bytes(const DiskImage& image) {
  std::uint64_t used = 0;
  for (const test::InodeId inode : image.inodes()) {
    if (!image.is_directory(inode)) used += (image.size(inode) + 4095) / 4096 * 4096;
  }
  return used;
}

/// The paths of all files below a directory.
void collect_files(const DiskImage& image, const std::string& path, test::InodeId directory,
                   std::vector<std::string>& files) {
  for (const std::string& name : image.names(directory)) {
    const std::string child = fmt::format("{}/{}", path, name);
    const auto place = image.find(child);
    if (image.is_directory(place.inode)) {
      collect_files(image, child, place.inode, files);
    } else if (image.size(place.inode) > 0) {
      files.push_back(child);
    }
  }
}

// What an operator does. Functions with names, as a coroutine refers to its own parameters only.

core::Task<void> move_partition(Client* client, net::kafka::PartitionPlacement placement) {
  std::ignore =
      co_await client->move_partitions({std::move(placement)}, client->shard().deadline_in(5s));
}
core::Task<void> elect_preferred(Client* client) {
  std::ignore = co_await client->elect_preferred(client->shard().deadline_in(5s));
}

}  // namespace

const Nemesis::Action Nemesis::kActions[kFaultKinds] = {
    &Nemesis::crash_one,    &Nemesis::crash_all,  &Nemesis::pause,
    &Nemesis::freeze,       &Nemesis::slow_node,  &Nemesis::isolate,
    &Nemesis::cut_one_way,  &Nemesis::cut_pair,   &Nemesis::cut_ring,
    &Nemesis::cut_clients,  &Nemesis::reset,      &Nemesis::flap,
    &Nemesis::slow_network, &Nemesis::slow_disk,  &Nemesis::sync_error,
    &Nemesis::stuck_write,  &Nemesis::disk_full,  &Nemesis::read_error,
    &Nemesis::rot,          &Nemesis::lose_disk,  &Nemesis::put_back_old_copy,
    &Nemesis::swap_disks,   &Nemesis::jump_clock, &Nemesis::drift_clock,
    &Nemesis::join,         &Nemesis::move,       &Nemesis::elect,
    &Nemesis::transfer,     &Nemesis::grow,       &Nemesis::change_topics,
    &Nemesis::trim,         &Nemesis::come_back,
};

Nemesis::Nemesis(SimWorld& world, const Scenario& scenario, Oracle& oracle, Workload& workload,
                 std::vector<NodeId> brokers)
    : world_(world),
      scenario_(scenario),
      oracle_(oracle),
      workload_(workload),
      ids_(std::move(brokers)),
      usual_network_(world.network().options) {
  for (std::uint32_t i = 0; i < ids_.size(); ++i) {
    Broker& broker = brokers_[ids_[i]];
    broker.present = i < scenario_.nodes;
    broker.usual_disk = world.disk(ids_[i]).options;
  }
}

test::BrokerProgram* Nemesis::program(NodeId node) {
  return static_cast<test::BrokerProgram*>(world_.program(node));
}

bool Nemesis::is_well(NodeId node) const {
  const Broker& broker = brokers_.at(node);
  return is_up(node) && broker.present && !broker.own_disk.has_value() && !broker.restarting;
}

/// Another disk may only be hurt once all others have everything.
bool Nemesis::may_damage(NodeId node) const {
  const bool others_fine = std::ranges::all_of(brokers_, [this](const auto& each) {
    return !is_damaged(each.first) && !each.second.own_disk.has_value();
  });
  return others_fine && is_well(node) && oracle_.is_fully_replicated();
}

/// Whether something that has rotted still stands where it did, or could not be read.
bool Nemesis::is_damaged(NodeId node) const {
  const auto& before = brokers_.at(node).before_read_error;
  if (before.has_value() && *before == numbers_of(node)) return true;
  const DiskImage& image = world_.disk(node).image();
  return std::ranges::any_of(brokers_.at(node).rotten, [&](const auto& each) {
    const auto& [path, inode] = each;
    return image.find(path).inode == inode;
  });
}

void Nemesis::fail(std::string what) {
  if (violation_.empty()) violation_ = std::move(what);
}

void Nemesis::inflict(const Fault& fault) {
  Random random(fault.variant);
  const Action action = kActions[static_cast<std::size_t>(fault.kind)];
  if (!(this->*action)(fault, random)) return;
  ++inflicted_;
  ++counts_[fault.kind];
}

void Nemesis::later(Millis delay, std::function<void()> action) {
  world_.after(delay, [this, action = std::move(action)] {
    if (!over_) action();
  });
}

// Processes

void Nemesis::crash(NodeId node, Random& random) {
  static constexpr CrashPolicy::Writes kWrites[] = {
      CrashPolicy::Writes::random, CrashPolicy::Writes::random, CrashPolicy::Writes::lose_all,
      CrashPolicy::Writes::keep_all};
  CrashPolicy policy;
  policy.writes = kWrites[random.below(std::size(kWrites))];
  policy.names = random.chance(0.5) ? CrashPolicy::Names::any_order : CrashPolicy::Names::ordered;
  world_.crash(node, policy, random.chance(0.3) ? SimWorld::Power::lost : SimWorld::Power::stays);
}

void Nemesis::start(NodeId node) {
  brokers_[node].restarting = false;
  if (!is_up(node)) world_.start(node);
}

void Nemesis::start_after(NodeId node, Millis delay) {
  brokers_[node].restarting = true;
  later(delay, [this, node] { start(node); });
}

bool Nemesis::crash_one(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!is_well(a)) return false;
  crash(a, random);
  start_after(a, fault.lasts);
  return true;
}

bool Nemesis::crash_all(const Fault& fault, Random& random) {
  for (const NodeId node : ids_) {
    if (!is_well(node)) continue;
    crash(node, random);
    start_after(node, fault.lasts);
  }
  return true;
}

bool Nemesis::pause(const Fault& fault, Random&) {
  const NodeId a = node_a(fault);
  if (!is_well(a)) return false;
  const std::uint32_t life = world_.life(a);
  world_.pause(a);
  later(fault.lasts, [this, a, life] {
    if (is_up(a) && world_.life(a) == life) world_.resume(a);
  });
  return true;
}

/// Others have gone on for long when it goes on where it was, and clients see it before they do.
bool Nemesis::freeze(const Fault& fault, Random& random) {
  Fault frozen = fault;
  frozen.lasts = Millis(2500) + fault.lasts / 2;
  if (!pause(frozen, random)) return false;
  Links links;
  for (const NodeId other : ids_) add_both(links, node_a(fault), other);
  return cut(std::move(links), frozen.lasts + Millis(2000));
}

bool Nemesis::slow_node(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  world_.set_turn_cost(a, std::chrono::microseconds(20 + random.below(2000)));
  later(fault.lasts, [this, a] { world_.set_turn_cost(a, kUsualTurn); });
  return true;
}

// Network

bool Nemesis::cut(Links links, Millis lasts) {
  if (links.empty()) return false;
  for (const auto& [from, to] : links) world_.network().cut(from, to);
  later(lasts, [this, links = std::move(links)] { heal(links); });
  return true;
}

void Nemesis::heal(const Links& links) {
  for (const auto& [from, to] : links) world_.network().heal(from, to);
}

bool Nemesis::isolate(const Fault& fault, Random& random) {
  Links links;
  for (const NodeId other : ids_) add_both(links, node_a(fault), other);
  if (random.chance(0.5)) {
    for (const NodeId client : workload_.clients()) add_both(links, node_a(fault), client);
  }
  return cut(std::move(links), fault.lasts);
}

bool Nemesis::cut_one_way(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  Links links;
  const std::uint64_t shape = random.below(4);
  for (const NodeId other : ids_) {
    if (other == a) continue;
    if (shape == 0) links.emplace_back(a, other);  // It hears and isn't heard.
    if (shape == 1) links.emplace_back(other, a);  // It is heard and doesn't hear.
  }
  if (links.empty() && node_b(fault) != a) links.emplace_back(a, node_b(fault));
  return cut(std::move(links), fault.lasts);
}

bool Nemesis::cut_pair(const Fault& fault, Random&) {
  Links links;
  add_both(links, node_a(fault), node_b(fault));
  return cut(std::move(links), fault.lasts);
}

bool Nemesis::cut_ring(const Fault& fault, Random&) {
  Links links;
  for (std::size_t i = 0; i < ids_.size(); ++i) {
    for (std::size_t j = i + 2; j < ids_.size(); ++j) {
      if (i != 0 || j != ids_.size() - 1) add_both(links, ids_[i], ids_[j]);
    }
  }
  return cut(std::move(links), fault.lasts);
}

bool Nemesis::cut_clients(const Fault& fault, Random& random) {
  Links links;
  for (const NodeId client : workload_.clients()) {
    if (random.chance(0.7)) add_both(links, node_a(fault), client);
  }
  return cut(std::move(links), fault.lasts);
}

bool Nemesis::reset(const Fault& fault, Random&) {
  if (node_a(fault) == node_b(fault)) return false;
  world_.network().reset_connections(node_a(fault), node_b(fault));
  return true;
}

bool Nemesis::flap(const Fault& fault, Random&) {
  Links links;
  add_both(links, node_a(fault), node_b(fault));
  if (links.empty()) return false;
  for (Millis at{0}; at < fault.lasts; at += Millis(200))
    later(at, [this, links] { cut(links, Millis(100)); });
  return true;
}

bool Nemesis::slow_network(const Fault& fault, Random& random) {
  world_.network().options.delay.mean = std::chrono::microseconds(1000 + random.below(60'000));
  later(fault.lasts, [this] { world_.network().options = usual_network_; });
  return true;
}

// Disks

bool Nemesis::slow_disk(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  test::DiskOptions& options = world_.disk(a).options;
  options.write.mean = std::chrono::microseconds(100 + random.below(20'000));
  options.sync.mean = std::chrono::microseconds(500 + random.below(100'000));
  options.sync.stall_probability = random.chance(0.3) ? 0.02 : 0;
  options.sync.stall_max = 10s;
  later(fault.lasts, [this, a] { world_.disk(a).options = brokers_[a].usual_disk; });
  return true;
}

bool Nemesis::sync_error(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!is_well(a)) return false;
  brokers_[a].failing = true;
  // The log is synced by its writes, or by a sync behind them.
  const auto code = random.chance(0.5) ? core::OpCode::write : core::OpCode::sync_data;
  world_.disk(a).fail_next(code, "wal-", 1 + static_cast<int>(random.below(20)), EIO);
  return true;
}

/// Of the first writes of a life some are of zeros, which nobody waits for: what overtakes them
/// must not be overwritten, so the node is looked at again after a crash.
bool Nemesis::stuck_write(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!is_well(a)) return false;
  world_.disk(a).delay_next(core::OpCode::write, "wal-", 1 + static_cast<int>(random.below(6)),
                            fault.lasts);
  if (random.chance(0.5)) return true;
  crash(a, random);
  start_after(a, Millis(20));
  if (random.chance(0.5)) return true;
  later(fault.lasts + Millis(100 + random.below(1000)), [this, a, random]() mutable {
    if (!is_well(a)) return;
    crash(a, random);
    start_after(a, Millis(100));
  });
  return true;
}

bool Nemesis::disk_full(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  test::SimDisk& disk = world_.disk(a);
  brokers_[a].failing = true;  // Where it can't start without space, it says so.
  disk.options.capacity_bytes = used_bytes(disk.image()) + random.below(256 << 10);
  later(fault.lasts, [this, a] {
    world_.disk(a).options.capacity_bytes = brokers_[a].usual_disk.capacity_bytes;
  });
  return true;
}

/// The node makes the store anew from what others have: as if it had lost it.
bool Nemesis::read_error(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!may_damage(a)) return false;
  brokers_[a].before_read_error = numbers_of(a);
  brokers_[a].was_unreadable = true;
  world_.disk(a).fail_next(core::OpCode::read, "table-", 1 + static_cast<int>(random.below(6)),
                           EIO);
  later(Millis(2000), [this, a] {
    if (world_.disk(a).take_back(core::OpCode::read)) brokers_[a].before_read_error.reset();
  });
  return true;
}

void Nemesis::wipe(NodeId node) {
  world_.disk(node).image() = empty_disk();
  world_.disk(node).clear_faults();
  oracle_.forget(consensus::NodeId(static_cast<std::int32_t>(node)));
  brokers_[node].lost_disk = numbers_of(node).disk;
  brokers_[node].rotten.clear();
  brokers_[node].before_read_error.reset();
}

bool Nemesis::rot(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!may_damage(a)) return false;
  crash(a, random);
  DiskImage& image = world_.disk(a).image();
  std::vector<std::string> files;
  collect_files(image, "", DiskImage::kRoot, files);
  for (std::uint64_t left = 1 + random.below(3); left > 0 && !files.empty(); --left) {
    const std::string& file = files[random.below(files.size())];
    const std::uint64_t size = image.size(image.find(file).inode);
    image.flip(file, random.below(size), static_cast<std::uint8_t>(1 + random.below(255)));
    brokers_[a].rotten.emplace_back(file, image.find(file).inode);
  }
  start_after(a, fault.lasts);
  return true;
}

bool Nemesis::lose_disk(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!may_damage(a)) return false;
  crash(a, random);
  wipe(a);
  start_after(a, fault.lasts);
  return true;
}

void Nemesis::give_foreign_disk(NodeId node, DiskImage foreign, std::string refusal) {
  Broker& broker = brokers_[node];
  broker.own_disk = std::move(world_.disk(node).image());
  broker.refusal = std::move(refusal);
  world_.disk(node).image() = std::move(foreign);
  world_.start(node);
}

/// After it has been refused with the other one.
void Nemesis::give_back_disk(NodeId node) {
  Broker& broker = brokers_[node];
  if (!broker.own_disk.has_value()) return;
  if (is_up(node)) {
    const std::string& error = program(node)->error();
    if (program(node)->broker() != nullptr)
      fail(fmt::format("node {} was let in with a disk that is not its own, or not the newest",
                       node));
    // A full disk, or one that fails, keeps it from coming so far.
    const bool said = error.find(broker.refusal) != std::string::npos ||
                      error.find("No space left") != std::string::npos ||
                      error.find("Input/output error") != std::string::npos;
    if (!error.empty() && !said)
      fail(fmt::format("node {} with another disk says '{}', without '{}'", node, error,
                       broker.refusal));
    world_.crash(node);
  }
  world_.disk(node).image() = std::move(*broker.own_disk);
  broker.own_disk.reset();
  start(node);
}

/// Whether all others know of the node's last start, each by itself.
bool Nemesis::have_all_met(NodeId node) {
  if (!all_started()) return false;
  const consensus::Identity& identity = program(node)->broker()->identity();
  return std::ranges::all_of(brokers_, [&](auto& each) {
    const auto& [other, broker] = each;
    if (!broker.present || other == node || other == away_) return true;
    return std::ranges::any_of(program(other)->broker()->identity().met, [&](const auto& met) {
      return met.disk_id == identity.disk_id && met.boot == identity.boot;
    });
  });
}

/// A copy of the disk, a life later, in its place.
bool Nemesis::put_back_old_copy(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  if (!may_damage(a)) return false;
  crash(a, random);
  DiskImage copy = world_.disk(a).image();
  start_after(a, Millis(100));
  // Who has not met the disk since its last start can't know that this is a copy.
  auto all_met = std::make_shared<bool>(false);
  later(fault.lasts + Millis(2000), [this, a, all_met] { *all_met = have_all_met(a); });
  later(fault.lasts + Millis(3000), [this, a, copy, all_met, random]() mutable {
    const bool has_been_up = is_well(a) && program(a)->broker() != nullptr;
    if (!has_been_up || !may_damage(a) || !*all_met) return;
    world_.crash(a);
    // Now and then the others begin at the same moment.
    const bool all_begin = random.chance(0.5);
    for (const NodeId other : ids_) {
      if (!all_begin || other == a || !is_well(other)) continue;
      crash(other, random);
      start_after(other, Millis(random.below(300)));
    }
    give_foreign_disk(a, copy, "old copy");
    later(Millis(4000), [this, a] { give_back_disk(a); });
  });
  return true;
}

bool Nemesis::swap_disks(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  const NodeId b = node_b(fault);
  if (a == b || !may_damage(a) || !is_well(b)) return false;
  for (const NodeId node : {a, b}) crash(node, random);
  const DiskImage of_a = world_.disk(a).image();
  const DiskImage of_b = world_.disk(b).image();
  give_foreign_disk(a, of_b, "belongs to node");
  give_foreign_disk(b, of_a, "belongs to node");
  later(Millis(500), [this, a, b] {
    for (const NodeId node : {a, b}) give_back_disk(node);
  });
  return true;
}

// Clocks

bool Nemesis::jump_clock(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  const auto hours = static_cast<std::int64_t>(random.below(20'000)) - 10'000;
  world_.set_wall_offset(a, std::chrono::hours(hours));
  later(fault.lasts, [this, a] { world_.set_wall_offset(a, {}); });
  return true;
}

bool Nemesis::drift_clock(const Fault& fault, Random& random) {
  const NodeId a = node_a(fault);
  world_.set_clock_rate(a, 0.95 + 0.1 * random.unit());
  later(fault.lasts, [this, a] { world_.set_clock_rate(a, 1); });
  return true;
}

// Operators

bool Nemesis::join(const Fault&, Random&) {
  for (const NodeId node : ids_) {
    if (brokers_[node].present) continue;
    brokers_[node].present = true;
    world_.start(node);
    return true;
  }
  return false;
}

std::vector<std::int32_t> Nemesis::some_present(Random& random, std::size_t count) const {
  std::vector<std::int32_t> some;
  while (some.size() < count) {
    const NodeId node = ids_[random.below(ids_.size())];
    const auto number = static_cast<std::int32_t>(node);
    if (brokers_.at(node).present && std::ranges::find(some, number) == some.end())
      some.push_back(number);
  }
  return some;
}

/// With three nodes to the same ones in another order.
bool Nemesis::move(const Fault&, Random& random) {
  const auto partition =
      static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(scenario_.partitions)));
  // Now and then back to where it was, soon after it has left.
  const Placement& known = placements_[partition];
  const bool back = !known.before.empty() && random.chance(0.4);
  place(partition, back ? known.before : some_present(random, 3));
  return true;
}

void Nemesis::place(std::int32_t partition, std::vector<std::int32_t> replicas) {
  Placement& known = placements_[partition];
  known.before = std::exchange(known.now, replicas);
  net::kafka::PartitionPlacement placement{.topic = std::string(Workload::kTopic),
                                           .partition = partition,
                                           .replicas = std::move(replicas)};
  workload_.send_operator(
      [placement](Client& client) { return move_partition(&client, placement); });
}

bool Nemesis::elect(const Fault&, Random&) {
  workload_.send_operator([](Client& client) { return elect_preferred(&client); });
  return true;
}

bool Nemesis::transfer(const Fault& fault, Random& random) {
  return move(fault, random) && elect(fault, random);
}

bool Nemesis::grow(const Fault&, Random&) {
  workload_.send_operator([this](Client& client) { return workload_.grow(client); });
  return true;
}

bool Nemesis::change_topics(const Fault&, Random& random) {
  const std::uint64_t seed = random.next();
  workload_.send_operator(
      [this, seed](Client& client) { return workload_.change_topics(client, seed); });
  return true;
}

bool Nemesis::trim(const Fault&, Random& random) {
  const auto partitions = static_cast<std::uint64_t>(scenario_.partitions);
  const auto partition = static_cast<std::int32_t>(random.below(partitions));
  // Now and then all there is.
  const double part = random.chance(0.2) ? 1 : random.unit();
  workload_.send_operator(
      [this, partition, part](Client& client) { return workload_.trim(client, partition, part); });
  return true;
}

/// One replica leaves, erases what it had, and is to have the partition again. Meanwhile either
/// another one sees nobody, and then only it, while those that have everything don't; or it does
/// not see the controller, so that its metadata lag.
bool Nemesis::come_back(const Fault& fault, Random& random) {
  const auto partition =
      static_cast<std::int32_t>(random.below(static_cast<std::uint64_t>(scenario_.partitions)));
  std::vector<NodeId> nodes;
  for (const consensus::NodeId node : oracle_.nodes_of(Workload::kTopic, partition))
    nodes.push_back(static_cast<NodeId>(node.value()));
  if (nodes.size() != 3) return false;
  std::swap(nodes[random.below(3)], nodes[0]);
  std::swap(nodes[1 + random.below(2)], nodes[1]);
  const auto other = std::ranges::find_if(ids_, [&](NodeId node) {
    return is_well(node) && std::ranges::find(nodes, node) == nodes.end();
  });
  if (other == ids_.end()) return false;
  const auto [comes_back, lags, stays] = std::tuple(nodes[0], nodes[1], nodes[2]);
  const NodeId instead = *other;
  const bool metadata_lag = random.chance(0.5);
  Links before;
  Links after;
  if (metadata_lag) {
    add_both(before, comes_back, static_cast<NodeId>(oracle_.controller().value()));
  } else {
    for (const NodeId node : ids_) add_both(before, lags, node);
    for (const NodeId node : {stays, instead}) add_both(after, comes_back, node);
  }
  const Millis gone(500 + random.below(2500));
  cut(std::move(before), gone + fault.lasts);
  place(partition, {signed_id(stays), signed_id(lags), signed_id(instead)});
  later(gone, [=, this, lasts = fault.lasts] {
    cut(after, lasts);
    place(partition, {signed_id(stays), signed_id(instead), signed_id(comes_back)});
    Links meet;
    if (!metadata_lag) add_both(meet, lags, comes_back);
    heal(meet);
  });
  return true;
}

// Keeping watch

void Nemesis::look_after() {
  for (auto& [node, broker] : brokers_) {
    check_numbers(node, broker);
    const bool is_meant = broker.present && node != away_;
    if (!is_meant || broker.restarting || broker.own_disk.has_value()) continue;
    if (is_up(node) && program(node)->error().empty()) continue;
    restart_or_replace(node, broker);
  }
}

/// What is whole must not be made anew.
void Nemesis::check_numbers(NodeId node, Broker& broker) {
  consensus::StoreNumbers now = numbers_of(node);
  // What a disk asked for that is gone may be granted late.
  const bool renews =
      !now.renewed.empty() && now.renewed != broker.numbers.renewed && now.disk != broker.lost_disk;
  if (renews && broker.rotten.empty() && !broker.was_unreadable)
    fail(fmt::format("node {} makes a store anew although nothing is wrong with its disk", node));
  broker.numbers = std::move(now);
}

/// It has ended, or could not start.
void Nemesis::restart_or_replace(NodeId node, Broker& broker) {
  const bool damaged = is_damaged(node);
  const bool by_itself = is_up(node) && program(node)->error().find("/store-") != std::string::npos;
  // What it reads at its start may be what fails.
  const bool unreadable =
      broker.before_read_error.has_value() && *broker.before_read_error == numbers_of(node);
  if (damaged && by_itself && !broker.failing && !unreadable)
    fail(fmt::format("node {} does not make up for damage: {}", node, program(node)->error()));
  if (!broker.failing && !damaged) {
    const auto& failure = world_.failure(node);
    fail(fmt::format("node {} {}", node,
                     is_up(node) ? fmt::format("can't start: {}", program(node)->error())
                                 : fmt::format("ended itself: {}",
                                               failure.has_value() ? failure->message : "why?")));
  }
  if (is_up(node)) world_.crash(node);
  if (damaged && !unreadable) wipe(node);
  if (over_) {
    start(node);
  } else {
    start_after(node, Millis(500));
  }
}

void Nemesis::end_all() {
  over_ = true;
  world_.network().options = usual_network_;
  world_.network().heal_all();
  bool any_damaged = false;
  for (auto& [node, broker] : brokers_) {
    world_.disk(node).options = broker.usual_disk;
    world_.disk(node).clear_faults();
    world_.set_turn_cost(node, kUsualTurn);
    world_.set_wall_offset(node, {});
    world_.set_clock_rate(node, 1);
    any_damaged |= is_damaged(node) || broker.own_disk.has_value();
    if (!broker.present) continue;
    if (is_up(node)) world_.resume(node);
    give_back_disk(node);
    start(node);
  }
  if (!scenario_.core_only || any_damaged || !oracle_.is_fully_replicated()) return;
  Random random = world_.random("end");
  away_ = static_cast<NodeId>(some_present(random, 1).front());
  crash(away_, random);
}

bool Nemesis::all_cleared() const {
  return std::ranges::all_of(brokers_, [this](const auto& each) {
    const DiskImage& image = world_.disk(each.first).image();
    const auto data = image.find("/data").inode;
    if (!each.second.present || data == 0) return true;
    return std::ranges::none_of(
        image.names(data), [](const std::string& name) { return name.starts_with("damaged-"); });
  });
}

bool Nemesis::all_started() {
  return std::ranges::all_of(brokers_, [&](auto& each) {
    const auto& [node, broker] = each;
    if (!broker.present || node == away_) return true;
    return is_up(node) && program(node)->broker() != nullptr;
  });
}

}  // namespace sentinel::simulator
