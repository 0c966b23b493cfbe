#include "test/simulator/runs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstring>
#include <type_traits>

namespace sentinel::simulator {

namespace {

/// What a run tells through its pipe: the numbers, and behind them the failure's text.
struct Numbers {
  std::uint64_t trace_hash = 0;
  double simulated_seconds = 0;
  std::array<std::uint64_t, 8> rest{};
  std::array<std::uint64_t, kFaultKinds> counts{};
};
static_assert(std::is_trivially_copyable_v<Numbers>);

std::string packed(const RunReport& report) {
  Numbers numbers{.trace_hash = report.trace_hash,
                  .simulated_seconds = report.simulated_seconds,
                  .rest = {report.turns, report.operations, report.acknowledged, report.committed,
                           report.elections, report.lives, report.faults, 0}};
  for (std::size_t i = 0; i < kFaultKinds; ++i) numbers.counts[i] = report.counts[i];
  std::string text(sizeof(numbers), '\0');
  std::memcpy(text.data(), &numbers, sizeof(numbers));
  return text + report.failure;
}

RunReport unpacked(const std::string& text) {
  RunReport report;
  Numbers numbers;
  std::memcpy(&numbers, text.data(), sizeof(numbers));
  report.failure = text.substr(sizeof(numbers));
  report.trace_hash = numbers.trace_hash;
  report.simulated_seconds = numbers.simulated_seconds;
  std::tie(report.turns, report.operations, report.acknowledged, report.committed, report.elections,
           report.lives, report.faults, std::ignore) = std::tuple_cat(numbers.rest);
  for (std::size_t i = 0; i < kFaultKinds; ++i) report.counts[i] = numbers.counts[i];
  return report;
}

struct Child {
  std::size_t number = 0;
  pid_t pid = -1;
  int pipe = -1;
  std::string heard;
};

[[noreturn]] void run_here(const Scenario& scenario, int out, const RunOptions& options) {
  if (options.quiet) {
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(nowhere, STDERR_FILENO);
  }
  alarm(options.seconds_max);
  const std::string text = packed(run(scenario));
  for (std::size_t at = 0; at < text.size();) {
    const ssize_t put = write(out, text.data() + at, text.size() - at);
    if (put <= 0) break;
    at += static_cast<std::size_t>(put);
  }
  // Nothing of the parent's is to be flushed again.
  _exit(0);
}

Child begin(std::size_t number, const Scenario& scenario, const RunOptions& options) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) std::abort();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid < 0) std::abort();
  if (pid == 0) run_here(scenario, ends[1], options);
  close(ends[1]);
  return {.number = number, .pid = pid, .pipe = ends[0], .heard = {}};
}

RunReport end(Child& child, const Scenario& scenario) {
  int status = 0;
  waitpid(child.pid, &status, 0);
  close(child.pipe);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && child.heard.size() >= sizeof(Numbers))
    return unpacked(child.heard);
  RunReport report;
  if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM) {
    report.failure = "hang: the run takes too long";
  } else if (WIFSIGNALED(status)) {
    report.failure = fmt::format("crash: ended by signal {}", WTERMSIG(status));
  } else {
    report.failure = fmt::format("crash: ended with exit code {}", WEXITSTATUS(status));
  }
  report.failure += fmt::format(", seed {}", scenario.seed);
  return report;
}

/// Reads what has come; false at the end.
bool hear(Child& child) {
  std::array<char, 4096> some{};
  const ssize_t got = read(child.pipe, some.data(), some.size());
  if (got > 0) child.heard.append(some.data(), static_cast<std::size_t>(got));
  return got > 0;
}

void wait_for_any(const std::vector<Child>& children) {
  std::vector<pollfd> watched;
  for (const Child& child : children)
    watched.push_back({.fd = child.pipe, .events = POLLIN, .revents = 0});
  poll(watched.data(), watched.size(), -1);
}

bool has_news(const Child& child) {
  pollfd watched{.fd = child.pipe, .events = POLLIN, .revents = 0};
  return poll(&watched, 1, 0) > 0;
}

}  // namespace

void run_all(std::size_t count, const std::function<Scenario(std::size_t)>& scenario,
             const RunOptions& options,
             const std::function<bool(std::size_t, const RunReport&)>& done) {
  std::vector<Child> children;
  std::size_t next = 0;
  bool goes_on = true;
  while ((goes_on && next < count) || !children.empty()) {
    while (goes_on && next < count && children.size() < options.jobs) {
      children.push_back(begin(next, scenario(next), options));
      ++next;
    }
    wait_for_any(children);
    for (std::size_t i = 0; i < children.size();) {
      if (!has_news(children[i]) || hear(children[i])) {
        ++i;
        continue;
      }
      Child ended = std::move(children[i]);
      children.erase(children.begin() + static_cast<std::ptrdiff_t>(i));
      goes_on &= done(ended.number, end(ended, scenario(ended.number)));
    }
  }
}

RunReport run_apart(const Scenario& scenario, const RunOptions& options) {
  RunReport result;
  run_all(
      1, [&](std::size_t) { return scenario; }, options,
      [&](std::size_t, const RunReport& report) {
        result = report;
        return false;
      });
  return result;
}

namespace {

class Minimiser {
 public:
  Minimiser(Scenario scenario, const std::string& failure, unsigned seconds)
      : best_(std::move(scenario)),
        kind_(failure.substr(0, failure.find(':'))),
        end_(std::chrono::steady_clock::now() + std::chrono::seconds(seconds)) {}

  Scenario run() {
    drop_faults();
    simplify();
    drop_faults();
    return best_;
  }

 private:
  /// Whether it still fails in the same way; then it is the best.
  bool accept(const Scenario& smaller) {
    if (std::chrono::steady_clock::now() >= end_) return false;
    const RunReport report = run_apart(smaller, {.jobs = 1, .quiet = true, .seconds_max = 60});
    if (report.failure.substr(0, report.failure.find(':')) != kind_) return false;
    best_ = smaller;
    return true;
  }

  /// In halves, quarters, and so on (delta debugging).
  void drop_faults() {
    for (std::size_t width = std::max<std::size_t>(best_.faults.size() / 2, 1);; width /= 2) {
      for (std::size_t at = 0; at < best_.faults.size();) {
        Scenario smaller = best_;
        const auto begin = smaller.faults.begin() + static_cast<std::ptrdiff_t>(at);
        const auto gone = std::min(width, smaller.faults.size() - at);
        smaller.faults.erase(begin, begin + static_cast<std::ptrdiff_t>(gone));
        if (!accept(smaller)) at += width;
      }
      if (width <= 1) return;
    }
  }

  void simplify() {
    const auto attempt = [this](auto change) {
      Scenario smaller = best_;
      change(smaller);
      accept(smaller);
    };
    attempt([](Scenario& it) {
      it.lasts = it.faults.empty() ? Millis(1000) : it.faults.back().at + Millis(3000);
    });
    attempt([](Scenario& it) { it.partitions = 1; });
    attempt([](Scenario& it) { it.producers = 1; });
    attempt([](Scenario& it) { it.pollers = 1; });
    attempt([](Scenario& it) { it.shards = 1; });
    attempt([](Scenario& it) { it.joiners = 0; });
    attempt([](Scenario& it) { it.weak_sends = 0; });
    attempt([](Scenario& it) { it.large_values = 0; });
    attempt([](Scenario& it) { it.keyed = false; });
    attempt([](Scenario& it) { it.misdelivered = 0; });
    attempt([](Scenario& it) { it.small_windows = false; });
    attempt([](Scenario& it) { it.core_only = false; });
    attempt([](Scenario& it) { it.in_flight = 1; });
    attempt([](Scenario& it) { it.sends_per_second = 4; });
  }

  Scenario best_;
  const std::string kind_;
  const std::chrono::steady_clock::time_point end_;
};

}  // namespace

Scenario minimise(Scenario scenario, const std::string& failure, unsigned seconds) {
  return Minimiser(std::move(scenario), failure, seconds).run();
}

}  // namespace sentinel::simulator
