#include "test/simulator/scenario.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <istream>
#include <ostream>
#include <sstream>

#include "core/random.h"

namespace sentinel::simulator {

namespace {

using core::Random;

struct KindInfo {
  std::string_view name;
  unsigned weight;  ///< How often it is drawn, among those of a seed.
  Millis longest;
};

// In the order of FaultKind.
constexpr std::array<KindInfo, kFaultKinds> kKinds{{
    {"crash", 8, Millis(4000)},
    {"crash_all", 1, Millis(2000)},
    {"pause", 4, Millis(8000)},
    {"freeze", 2, Millis(6000)},
    {"slow_node", 2, Millis(5000)},
    {"isolate", 4, Millis(5000)},
    {"cut_one_way", 4, Millis(5000)},
    {"cut_pair", 3, Millis(6000)},
    {"cut_ring", 1, Millis(4000)},
    {"cut_clients", 2, Millis(4000)},
    {"reset", 2, Millis(0)},
    {"flap", 1, Millis(4000)},
    {"slow_network", 1, Millis(4000)},
    {"slow_disk", 3, Millis(6000)},
    {"sync_error", 2, Millis(3000)},
    {"stuck_write", 1, Millis(5000)},
    {"disk_full", 1, Millis(4000)},
    {"read_error", 1, Millis(0)},
    {"rot", 3, Millis(2000)},
    {"wipe", 1, Millis(2000)},
    {"stale", 3, Millis(3000)},
    {"swap", 1, Millis(2000)},
    {"clock_jump", 1, Millis(5000)},
    {"clock_drift", 1, Millis(9000)},
    {"join", 1, Millis(0)},
    {"move", 3, Millis(0)},
    {"elect", 1, Millis(0)},
    {"transfer", 3, Millis(0)},
    {"grow", 1, Millis(0)},
    {"topics", 3, Millis(0)},
    {"trim", 3, Millis(0)},
    {"come_back", 2, Millis(4000)},
}};

/// Each seed has a random part of all kinds: what is left out gives others room (swarm testing).
std::vector<FaultKind> draw_kinds(Random& random, double each) {
  std::vector<FaultKind> kinds;
  for (std::size_t i = 0; i < kFaultKinds; ++i) {
    if (random.chance(each)) kinds.push_back(static_cast<FaultKind>(i));
  }
  if (kinds.empty()) kinds.push_back(FaultKind::crash);
  return kinds;
}

FaultKind draw_kind(Random& random, const std::vector<FaultKind>& kinds) {
  std::uint64_t sum = 0;
  for (const FaultKind kind : kinds) sum += kKinds[static_cast<std::size_t>(kind)].weight;
  std::uint64_t at = random.below(sum);
  for (const FaultKind kind : kinds) {
    const unsigned weight = kKinds[static_cast<std::size_t>(kind)].weight;
    if (at < weight) return kind;
    at -= weight;
  }
  return kinds.back();
}

Fault draw_fault(Random& random, const std::vector<FaultKind>& kinds, std::uint32_t nodes) {
  Fault fault;
  fault.kind = draw_kind(random, kinds);
  fault.a = 1 + static_cast<std::uint32_t>(random.below(nodes));
  fault.b = 1 + (fault.a + static_cast<std::uint32_t>(random.below(nodes - 1))) % nodes;
  const auto longest =
      static_cast<std::uint64_t>(kKinds[static_cast<std::size_t>(fault.kind)].longest.count());
  fault.lasts = Millis(random.between(longest / 20, std::max<std::uint64_t>(longest, 1)));
  fault.variant = random.next();
  return fault;
}

/// One fault each `pause` on the average; a quarter of the windows has none.
void draw_faults(Random& random, Scenario& scenario, const std::vector<FaultKind>& kinds,
                 Millis pause) {
  constexpr Millis kWindow{5000};
  const auto width = static_cast<std::uint64_t>(2 * pause.count());
  bool quiet = false;
  Millis window_end = kWindow;
  for (Millis at(random.below(width)); at < scenario.lasts;) {
    for (; at >= window_end; window_end += kWindow) quiet = random.chance(0.25);
    if (!quiet) {
      Fault fault = draw_fault(random, kinds, scenario.nodes + scenario.joiners);
      fault.at = at;
      scenario.faults.push_back(fault);
    }
    at += Millis(random.between(1, width));
  }
}

/// What goes wrong when members leave, erase what they had and come back takes several moves with
/// others cut off in between, which a mix of everything seldom has.
void draw_moving(Random& random, Scenario& scenario) {
  scenario.nodes = 5;
  scenario.shards = 1 + static_cast<std::uint32_t>(random.below(2));
  scenario.partitions = static_cast<std::int32_t>(random.between(1, 2));
  scenario.producers = 1 + static_cast<std::uint32_t>(random.below(2));
  scenario.pollers = 1;
  scenario.sends_per_second = static_cast<double>(random.between(4, 20));
  scenario.in_flight = 1 + static_cast<std::uint32_t>(random.below(5));
  scenario.small_windows = random.chance(0.2);
  scenario.roving = random.chance(0.3);
  scenario.lasts = Millis(random.between(10'000, 30'000));
  std::vector<FaultKind> kinds(3, FaultKind::move);
  for (const FaultKind kind : {FaultKind::isolate, FaultKind::pause, FaultKind::crash,
                               FaultKind::cut_pair, FaultKind::crash_all, FaultKind::transfer,
                               FaultKind::trim, FaultKind::slow_network, FaultKind::come_back}) {
    if (random.chance(0.5)) kinds.push_back(kind);
  }
  draw_faults(random, scenario, kinds, Millis(random.between(400, 1500)));
}

void draw_mix(Random& random, Scenario& scenario) {
  if (random.chance(0.1)) {
    draw_moving(random, scenario);
    return;
  }
  scenario.nodes = random.chance(0.2) ? 5 : 3;
  scenario.joiners = scenario.nodes == 3 && random.chance(0.3) ? 1 : 0;
  scenario.shards = 1 + static_cast<std::uint32_t>(random.below(2));
  scenario.partitions = static_cast<std::int32_t>(random.between(1, 8));
  scenario.producers = 1 + static_cast<std::uint32_t>(random.below(4));
  scenario.pollers = 1 + static_cast<std::uint32_t>(random.below(2));
  scenario.sends_per_second = static_cast<double>(random.between(4, 40));
  scenario.in_flight = 1 + static_cast<std::uint32_t>(random.below(5));
  scenario.weak_sends = random.chance(0.2) ? 0.2 : 0;
  scenario.large_values = random.chance(0.3) ? 0.1 : 0.01;
  scenario.small_windows = random.chance(0.4);
  scenario.small_files = random.chance(0.7);
  scenario.core_only = random.chance(0.25);
  scenario.keyed = random.chance(0.25);
  scenario.roving = random.chance(0.3);
  if (scenario.roving) scenario.pollers += 2;
  scenario.misdelivered = random.chance(0.2) ? 0.03 : 0;
  scenario.lasts = Millis(random.between(10'000, 40'000));
  auto kinds = draw_kinds(random, 0.2 + 0.5 * random.unit());
  // What there is more than three nodes for: partitions leave some, and come back to them.
  if (scenario.nodes > 3) kinds.insert(kinds.end(), 2, FaultKind::move);
  draw_faults(random, scenario, kinds, Millis(random.between(700, 4000)));
}

}  // namespace

std::string_view to_string(FaultKind kind) { return kKinds[static_cast<std::size_t>(kind)].name; }

Scenario draw(std::uint64_t seed, Profile profile) {
  Random random = Random(seed).fork("scenario");
  Scenario scenario;
  scenario.seed = seed;
  switch (profile) {
    case Profile::mix: draw_mix(random, scenario); break;
    case Profile::moving: draw_moving(random, scenario); break;
    case Profile::standard:
      scenario.lasts = Millis(60'000);
      // With the polls and the other questions some 20 operations a second.
      scenario.sends_per_second = 8;
      scenario.pollers = 1;
      draw_faults(random, scenario, draw_kinds(random, 1), Millis(2000));
      break;
    case Profile::calm: scenario.lasts = Millis(60'000); break;
  }
  return scenario;
}

namespace {

/// The settings by name, for reading and writing.
void settings(auto& scenario, auto&& visit) {
  visit("seed", scenario.seed);
  visit("nodes", scenario.nodes);
  visit("joiners", scenario.joiners);
  visit("shards", scenario.shards);
  visit("partitions", scenario.partitions);
  visit("producers", scenario.producers);
  visit("pollers", scenario.pollers);
  visit("sends_per_second", scenario.sends_per_second);
  visit("in_flight", scenario.in_flight);
  visit("weak_sends", scenario.weak_sends);
  visit("large_values", scenario.large_values);
  visit("small_windows", scenario.small_windows);
  visit("small_files", scenario.small_files);
  visit("core_only", scenario.core_only);
  visit("roving", scenario.roving);
  visit("keyed", scenario.keyed);
  visit("misdelivered", scenario.misdelivered);
}

bool read_fault(std::istream& in, Fault& fault) {
  std::int64_t at = 0;
  std::int64_t lasts = 0;
  std::string kind;
  in >> at >> kind >> fault.a >> fault.b >> lasts >> fault.variant;
  const auto* const known = std::ranges::find(kKinds, std::string_view(kind), &KindInfo::name);
  if (in.fail() || known == kKinds.end()) return false;
  fault.kind = static_cast<FaultKind>(known - kKinds.begin());
  fault.at = Millis(at);
  fault.lasts = Millis(lasts);
  return true;
}

}  // namespace

void write_scenario(std::ostream& out, const Scenario& scenario) {
  settings(scenario, [&](std::string_view name, const auto& value) {
    out << fmt::format("{} {}\n", name, value);
  });
  out << fmt::format("lasts {}\n", scenario.lasts.count());
  for (const Fault& fault : scenario.faults) {
    out << fmt::format("fault {} {} {} {} {} {}\n", fault.at.count(), to_string(fault.kind),
                       fault.a, fault.b, fault.lasts.count(), fault.variant);
  }
}

core::Result<Scenario> read_scenario(std::istream& in) {
  Scenario scenario;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.empty() || line.front() == '#') continue;
    std::istringstream words(line);
    std::string name;
    words >> name;
    bool known = false;
    if (name == "fault") {
      known = read_fault(words, scenario.faults.emplace_back());
    } else if (name == "lasts") {
      std::int64_t lasts = 0;
      known = !(words >> lasts).fail();
      scenario.lasts = Millis(lasts);
    } else {
      settings(scenario, [&](std::string_view setting, auto& value) {
        std::string text;
        if (setting != name) return;
        words >> text;
        // As written by fmt.
        if (text == "true" || text == "false") text = text == "true" ? "1" : "0";
        known = !(std::istringstream(text) >> value).fail();
      });
    }
    if (!known)
      return core::fail(core::Errc::invalid_argument,
                        fmt::format("line {} is no setting and no fault: {}", number, line));
  }
  return scenario;
}

}  // namespace sentinel::simulator
