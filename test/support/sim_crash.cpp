#include "test/support/sim_crash.h"

#include <algorithm>
#include <utility>

namespace sentinel::test {

namespace {

using Part = Survival::Part;

Survival draw_write(const PendingUnit& unit, core::Random& random) {
  Survival survival;
  switch (random.below(unit.extends ? 5 : 4)) {
    case 0: survival.part = Part::none; return survival;
    case 1: survival.part = Part::all; return survival;
    case 4: survival.part = Part::size_only; return survival;
    case 2: {
      const std::size_t kept = random.below(unit.sectors + 1);
      for (std::size_t i = 0; i < unit.sectors; ++i) survival.sectors.push_back(i < kept);
      break;
    }
    default:
      for (std::size_t i = 0; i < unit.sectors; ++i) survival.sectors.push_back(random.chance(0.5));
  }
  // Changes of the size have no sectors: half of one means none of it.
  survival.part = unit.sectors == 0 ? Part::none : Part::sectors;
  return survival;
}

}  // namespace

DiskImage crash(const DiskImage& image, const CrashPolicy& policy, core::Random& random) {
  const std::vector<PendingUnit> units = image.pending();
  std::vector<Survival> survival(units.size());
  const auto names =
      static_cast<std::size_t>(std::ranges::count(units, true, &PendingUnit::is_name));
  std::size_t names_left = random.below(names + 1);
  for (std::size_t i = 0; i < units.size(); ++i) {
    switch (policy.writes) {
      case CrashPolicy::Writes::keep_all: survival[i].part = Part::all; continue;
      case CrashPolicy::Writes::lose_all: continue;
      case CrashPolicy::Writes::random: break;
    }
    if (!units[i].is_name) {
      survival[i] = draw_write(units[i], random);
    } else if (policy.names == CrashPolicy::Names::any_order) {
      if (random.chance(0.5)) survival[i].part = Part::all;
    } else if (names_left > 0) {
      survival[i].part = Part::all;
      --names_left;
    }
  }
  return image.after_crash(survival);
}

CrashStates::CrashStates(DiskImage image, CrashLimits limits)
    : image_(std::move(image)), limits_(limits), units_(image_.pending()) {
  plans_.push_back({.shape = Shape::none});
  plans_.push_back({.shape = Shape::all});
  for (std::size_t i = 0; i < units_.size(); ++i) {
    plans_.push_back({.shape = Shape::missing, .unit = i});
    plans_.push_back({.shape = Shape::alone, .unit = i});
  }
  if (units_.size() <= limits_.subset_units_max) {
    const std::size_t subsets = std::size_t{1} << units_.size();
    for (std::size_t bits = 0; bits < subsets; ++bits) {
      plans_.push_back({.shape = Shape::subset, .unit = bits});
    }
  }
  for (std::size_t i = 0; i < units_.size(); ++i) plan_tears(i);
}

void CrashStates::plan_tears(std::size_t unit) {
  for (const bool others : {false, true}) {
    if (units_[unit].extends) {
      plans_.push_back({.shape = Shape::size, .others = others, .unit = unit});
    }
    if (!units_[unit].in_flight) continue;
    const std::size_t sectors = units_[unit].sectors;
    const std::size_t places = std::min(sectors, limits_.torn_sectors_max);
    for (std::size_t place = 0; place < places; ++place) {
      // The first and the last sector are always among the places.
      const std::size_t sector = places == 1 ? 0 : place * (sectors - 1) / (places - 1);
      for (const Shape shape : {Shape::prefix, Shape::hole, Shape::single}) {
        plans_.push_back({.shape = shape, .others = others, .unit = unit, .sector = sector});
      }
    }
  }
}

std::vector<Survival> CrashStates::survival(const Plan& plan) const {
  std::vector<Survival> survival(units_.size());
  const auto fill = [&](bool keep) {
    for (Survival& each : survival) each.part = keep ? Part::all : Part::none;
  };
  const auto tear = [&](auto&& keeps) {
    fill(plan.others);
    Survival& torn = survival[plan.unit];
    torn.part = Part::sectors;
    for (std::size_t i = 0; i < units_[plan.unit].sectors; ++i) torn.sectors.push_back(keeps(i));
  };
  switch (plan.shape) {
    case Shape::none: break;
    case Shape::all: fill(true); break;
    case Shape::missing:
      fill(true);
      survival[plan.unit].part = Part::none;
      break;
    case Shape::alone: survival[plan.unit].part = Part::all; break;
    case Shape::subset:
      for (std::size_t i = 0; i < units_.size(); ++i) {
        if ((plan.unit >> i & 1) != 0) survival[i].part = Part::all;
      }
      break;
    case Shape::prefix: tear([&](std::size_t i) { return i <= plan.sector; }); break;
    case Shape::hole: tear([&](std::size_t i) { return i != plan.sector; }); break;
    case Shape::single: tear([&](std::size_t i) { return i == plan.sector; }); break;
    case Shape::size:
      fill(plan.others);
      survival[plan.unit].part = Part::size_only;
      break;
  }
  return survival;
}

bool CrashStates::next(DiskImage& out) {
  while (next_plan_ < plans_.size()) {
    const Plan plan = plans_[next_plan_++];
    DiskImage state = image_.after_crash(survival(plan));
    if (!seen_.insert(state.hash()).second) continue;
    out = std::move(state);
    return true;
  }
  return false;
}

}  // namespace sentinel::test
