#include "core/log.h"

#include <fmt/chrono.h>

#include <cstdio>

namespace sentinel::core {

namespace {

constexpr std::size_t kQueuedLinesMax = 4096;

std::string_view name_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return "DEBUG";
    case LogLevel::info: return "INFO ";
    case LogLevel::warn: return "WARN ";
    case LogLevel::error: return "ERROR";
    case LogLevel::off: break;
  }
  return "";
}

}  // namespace

Result<LogLevel> parse_log_level(std::string_view text) {
  if (text == "debug") return LogLevel::debug;
  if (text == "info") return LogLevel::info;
  if (text == "warn") return LogLevel::warn;
  if (text == "error") return LogLevel::error;
  if (text == "off") return LogLevel::off;
  return fail(Errc::invalid_argument,
              fmt::format("log level '{}' is none of debug, info, warn, error, off", text));
}

Log::Log(LogLevel level, Sink sink)
    : level_(level), sink_(std::move(sink)), writer_([this] { run(); }) {}

Log::~Log() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  queued_.notify_one();
  writer_.join();
}

void Log::push(LogLevel level, std::string text) {
  // The time of the event, not of the writing.
  const auto now =
      std::chrono::time_point_cast<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto millis = now.time_since_epoch().count() % 1000;
  std::string line = fmt::format("{:%Y-%m-%d %H:%M:%S}.{:03} {} {}\n",
                                 fmt::gmtime(std::chrono::system_clock::to_time_t(now)), millis,
                                 name_of(level), text);
  const std::lock_guard lock(mutex_);
  if (lines_.size() >= kQueuedLinesMax) {
    ++dropped_;
    return;
  }
  lines_.push_back(std::move(line));
  queued_.notify_one();
}

void Log::run() {
  std::vector<std::string> batch;
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, [this] { return stopping_ || !lines_.empty(); });
    if (lines_.empty()) return;
    batch.swap(lines_);
    const std::uint64_t dropped = std::exchange(dropped_, 0);
    lock.unlock();
    for (const std::string& line : batch) sink_(line);
    if (dropped > 0) sink_(fmt::format("{} log lines were dropped\n", dropped));
    batch.clear();
    lock.lock();
  }
}

Log::Sink Log::standard_error() {
  return [](std::string_view line) { std::fwrite(line.data(), 1, line.size(), stderr); };
}

bool RateLimit::allow(TimePoint now, std::uint64_t& suppressed) {
  if (now < next_) {
    ++skipped_;
    return false;
  }
  next_ = now + interval_;
  suppressed = std::exchange(skipped_, 0);
  return true;
}

}  // namespace sentinel::core
