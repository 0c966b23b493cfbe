#pragma once
/// Runs in processes of their own: one that trips an assertion, or never ends, takes only itself
/// along.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "test/simulator/simulation.h"

namespace sentinel::simulator {

struct RunOptions {
  std::size_t jobs = 1;  ///< At the same time.
  bool quiet = false;    ///< What the runs write to standard error is dropped.
  unsigned seconds_max = 120;
};

/// Runs all, and calls `done` with each one's report, in the order in which they end, until it
/// returns false.
void run_all(std::size_t count, const std::function<Scenario(std::size_t)>& scenario,
             const RunOptions& options,
             const std::function<bool(std::size_t, const RunReport&)>& done);

RunReport run_apart(const Scenario& scenario, const RunOptions& options);

/// Leaves out what the failure does not need: faults first, then clients, partitions and nodes'
/// shards. Takes at most `seconds`.
Scenario minimise(Scenario scenario, const std::string& failure, unsigned seconds);

}  // namespace sentinel::simulator
