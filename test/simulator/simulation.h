#pragma once
/// One run: a cluster in a simulated world does what a scenario says, and everything that has to be
/// true of it is checked.
///
/// First clients work while things go wrong (safety); then nothing goes wrong any more, and all
/// that is under way has to end within a minute of simulated time, all nodes have to come back, and
/// each partition has to take another record (liveness); in the end everything is read.

#include <cstdint>
#include <map>
#include <string>

#include "test/simulator/scenario.h"
#include "test/support/history.h"

namespace sentinel::simulator {

struct RunReport {
  std::string failure;  ///< Empty: all is well.
  std::uint64_t trace_hash = 0;
  double simulated_seconds = 0;
  std::uint64_t turns = 0;
  std::uint64_t operations = 0;
  std::uint64_t acknowledged = 0;  ///< Records.
  std::uint64_t committed = 0;     ///< Entries of all groups.
  std::uint64_t elections = 0;
  std::uint64_t lives = 0;
  std::uint64_t faults = 0;
  std::uint64_t counts[kFaultKinds] = {};
};

/// `history`, if given, gets what the clients saw.
RunReport run(const Scenario& scenario, test::ClientHistory* history = nullptr);

}  // namespace sentinel::simulator
