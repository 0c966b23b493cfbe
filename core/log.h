#pragma once
/// Log lines for operators: one line an event, "2026-01-31 12:00:00.000 WARN  text key=value". A
/// shard never waits for the log: lines go through a bounded queue to a thread that writes them;
/// when it is full they are counted and dropped.

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "core/result.h"

namespace sentinel::core {

enum class LogLevel : std::uint8_t { debug, info, warn, error, off };

Result<LogLevel> parse_log_level(std::string_view text);

/// Shared by all shards; every member may be called from any thread.
class Log {
 public:
  using Sink = std::function<void(std::string_view line)>;

  /// Lines go to `sink`, called on the log's own thread.
  Log(LogLevel level, Sink sink);
  /// Writes what is queued.
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  [[nodiscard]] bool enabled(LogLevel level) const { return level >= level_; }
  template <typename... Args>
  void write(LogLevel level, fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(level)) push(level, fmt::format(format, std::forward<Args>(args)...));
  }

  /// A sink that writes to standard error.
  static Sink standard_error();

 private:
  void push(LogLevel level, std::string text);
  void run();

  const LogLevel level_;
  const Sink sink_;
  std::mutex mutex_;
  std::condition_variable queued_;
  std::vector<std::string> lines_;
  std::uint64_t dropped_ = 0;
  bool stopping_ = false;
  std::thread writer_;
};

/// Lets one event through per interval and counts the others: for lines that a client can cause.
class RateLimit {
 public:
  explicit RateLimit(Duration interval) : interval_(interval) {}
  /// Whether to log now; `suppressed` is then how many events were skipped since the last line.
  bool allow(TimePoint now, std::uint64_t& suppressed);

 private:
  const Duration interval_;
  TimePoint next_ = TimePoint::min();
  std::uint64_t skipped_ = 0;
};

}  // namespace sentinel::core
