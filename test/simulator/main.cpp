/// sentinel-sim: clusters in simulated worlds, one a seed, with everything going wrong that can.

#include <fmt/format.h>
#include <unistd.h>

#include <sys/resource.h>
#include <boost/program_options.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <thread>

#include "test/simulator/runs.h"

namespace sentinel::simulator {

namespace {

namespace po = boost::program_options;

constexpr std::string_view kHelp =
    R"(sentinel-sim: runs clusters of real broker code in a simulated world.

  sentinel-sim --seeds 300               that many seeds, new ones each time
  sentinel-sim --seed 42                 one seed, again, in this process
  sentinel-sim --seed 42 --log           with what the brokers say
  sentinel-sim --scenario FILE           what a file of an earlier failure says

A seed that fails is printed with the command that replays it, and what it needs of faults and
clients is written to a file. Exit code 0: nothing was lost, doubled or misread, and everything went
on once the faults were over.

)";

struct Settings {
  std::uint64_t first = 0;
  std::size_t seeds = 0;
  std::size_t failures = 0;
  Profile profile = Profile::mix;
  std::string profile_name;
  RunOptions run;
  std::string out;
  unsigned minimise_seconds = 0;
  double twice = 0;
};

double cpu_seconds() {
  double sum = 0;
  for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
    rusage usage{};
    getrusage(who, &usage);
    sum += static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  }
  return sum;
}

/// What many runs add up to.
struct Totals {
  std::size_t seeds = 0;
  std::size_t failed = 0;
  std::size_t compared = 0;
  RunReport sum;

  void add(const RunReport& report) {
    ++seeds;
    if (!report.failure.empty()) ++failed;
    sum.simulated_seconds += report.simulated_seconds;
    sum.turns += report.turns;
    sum.operations += report.operations;
    sum.acknowledged += report.acknowledged;
    sum.committed += report.committed;
    sum.elections += report.elections;
    sum.lives += report.lives;
    sum.faults += report.faults;
    for (std::size_t i = 0; i < kFaultKinds; ++i) sum.counts[i] += report.counts[i];
  }

  void print() const {
    const double cpu = cpu_seconds();
    fmt::print("{} seeds, {} failed; {} run twice, event by event the same\n", seeds, failed,
               compared);
    fmt::print("{:.1f} simulated hours in {:.0f} CPU seconds: {:.1f} hours a CPU minute\n",
               sum.simulated_seconds / 3600, cpu, sum.simulated_seconds / 3600 / (cpu / 60));
    fmt::print("{} client operations, {} records acknowledged, {} entries committed\n",
               sum.operations, sum.acknowledged, sum.committed);
    fmt::print("{} faults, {} lives of brokers, {} elections:", sum.faults, sum.lives,
               sum.elections);
    for (std::size_t i = 0; i < kFaultKinds; ++i) {
      if (sum.counts[i] > 0)
        fmt::print(" {} {}", to_string(static_cast<FaultKind>(i)), sum.counts[i]);
    }
    fmt::print("\n");
  }
};

void report_failure(const Settings& settings, const Scenario& scenario, const RunReport& report) {
  fmt::print("\nseed {}: {}\n  replay: sentinel-sim --profile {} --seed {}\n", scenario.seed,
             report.failure, settings.profile_name, scenario.seed);
  std::fflush(stdout);
  if (settings.minimise_seconds == 0) return;
  const Scenario smaller = minimise(scenario, report.failure, settings.minimise_seconds);
  std::filesystem::create_directories(settings.out);
  const std::string path =
      fmt::format("{}/{}-{}.txt", settings.out, settings.profile_name, scenario.seed);
  std::ofstream file(path);
  file << "# " << report.failure.substr(0, report.failure.find('\n')) << '\n';
  write_scenario(file, smaller);
  fmt::print("  {} of {} faults are needed: sentinel-sim --scenario {}\n", smaller.faults.size(),
             scenario.faults.size(), path);
  std::fflush(stdout);
}

int run_seeds(const Settings& settings) {
  Totals totals;
  std::map<std::size_t, std::uint64_t> to_compare;
  const bool on_terminal = isatty(STDERR_FILENO) == 1;
  const auto scenario = [&](std::size_t i) { return draw(settings.first + i, settings.profile); };
  run_all(settings.seeds, scenario, settings.run, [&](std::size_t i, const RunReport& report) {
    totals.add(report);
    const auto every = static_cast<std::size_t>(settings.twice > 0 ? 1 / settings.twice : 0);
    if (every > 0 && i % every == 0 && report.failure.empty()) to_compare[i] = report.trace_hash;
    if (!report.failure.empty()) report_failure(settings, scenario(i), report);
    if (on_terminal)
      fmt::print(stderr, "\r{} of {} seeds, {} failed\x1b[K", totals.seeds, settings.seeds,
                 totals.failed);
    return totals.failed < settings.failures;
  });
  if (on_terminal) fmt::print(stderr, "\r\x1b[K");
  for (const auto& [i, hash] : to_compare) {
    const RunReport again = run_apart(scenario(i), settings.run);
    ++totals.compared;
    if (again.trace_hash == hash) continue;
    ++totals.failed;
    fmt::print("seed {}: two runs differ\n", settings.first + i);
  }
  totals.print();
  return totals.failed == 0 ? 0 : 1;
}

/// In this process, for a debugger.
int run_one(const Scenario& scenario, const std::string& history_file) {
  write_scenario(std::cout, scenario);
  std::cout.flush();
  test::ClientHistory history;
  const RunReport report = run(scenario, &history);
  if (!history_file.empty()) {
    std::ofstream file(history_file);
    test::write_history(file, history);
  }
  Totals totals;
  totals.add(report);
  fmt::print("{}\ntrace {:016x}\n", report.failure.empty() ? "all is well" : report.failure,
             report.trace_hash);
  totals.print();
  return report.failure.empty() ? 0 : 1;
}

std::optional<Profile> profile_of(std::string_view name) {
  if (name == "mix") return Profile::mix;
  if (name == "moving") return Profile::moving;
  if (name == "standard") return Profile::standard;
  if (name == "calm") return Profile::calm;
  return std::nullopt;
}

int main(int argc, char** argv) {
  po::options_description flags("Flags");
  Settings settings;
  std::string scenario_file;
  std::string history_file;
  flags.add_options()("seed", po::value<std::uint64_t>(), "run this one here")(
      "seeds", po::value(&settings.seeds)->default_value(100), "how many to run")(
      "first", po::value<std::uint64_t>(), "the first of them (default: by chance)")(
      "failures", po::value(&settings.failures)->default_value(10), "so many are enough")(
      "profile", po::value(&settings.profile_name)->default_value("mix"),
      "mix, moving, standard or calm")(
      "jobs", po::value(&settings.run.jobs)->default_value(std::thread::hardware_concurrency()),
      "runs at the same time")("scenario", po::value(&scenario_file), "a file to replay")(
      "out", po::value(&settings.out)->default_value("sim-failures"), "where such files go")(
      "minimise", po::value(&settings.minimise_seconds)->default_value(60),
      "seconds to spend on making a failure small")(
      "twice", po::value(&settings.twice)->default_value(0.02),
      "the part of the seeds that is run again and compared")(
      "history", po::value(&history_file), "with one run: what the clients saw goes there")(
      "log", "with one run: print what the brokers say")(
      "trace", "with one run: print every event")("help", "print this text");
  po::variables_map given;
  try {
    po::store(po::parse_command_line(argc, argv, flags), given);
    po::notify(given);
  } catch (const po::error& error) {
    fmt::print(stderr, "sentinel-sim: {}; see sentinel-sim --help\n", error.what());
    return 2;
  }
  const auto profile = profile_of(settings.profile_name);
  if (!profile) {
    fmt::print(stderr, "sentinel-sim: --profile '{}' is none of mix, moving, standard, calm\n",
               settings.profile_name);
    return 2;
  }
  settings.profile = *profile;
  if (given.contains("help")) {
    std::cout << kHelp << flags;
    return 0;
  }
  if (given.contains("log")) setenv("SENTINEL_SIM_LOG", "1", 1);
  if (given.contains("trace")) setenv("SENTINEL_SIM_TRACE", "1", 1);
  if (!scenario_file.empty()) {
    std::ifstream file(scenario_file);
    const auto scenario = read_scenario(file);
    if (!file.eof() || !scenario) {
      fmt::print(stderr, "sentinel-sim: {}: {}\n", scenario_file,
                 scenario ? "cannot be read" : scenario.error().message);
      return 2;
    }
    return run_one(*scenario, history_file);
  }
  if (given.contains("seed"))
    return run_one(draw(given["seed"].as<std::uint64_t>(), settings.profile), history_file);
  std::random_device entropy;
  // Short enough to be typed.
  settings.first = given.contains("first") ? given["first"].as<std::uint64_t>()
                                           : std::uint64_t{entropy()} * 1000;
  fmt::print("seeds {} to {}\n", settings.first, settings.first + settings.seeds - 1);
  return run_seeds(settings);
}

}  // namespace

}  // namespace sentinel::simulator

int main(int argc, char** argv) { return sentinel::simulator::main(argc, argv); }
