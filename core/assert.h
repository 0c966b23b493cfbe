#pragma once
/// Assertions and the end of the process.
///
/// SENTINEL_ASSERT states what this program guarantees to itself: it is on in every build, cheap
/// and free of side effects. Bytes from outside (clients, peers, files) never reach an assertion;
/// they are checked and answered with an error. fatal() is for a broken environment: a failed sync,
/// a full disk while starting, a ring that can't be made.

#include <fmt/format.h>

#include <string_view>

namespace sentinel::core {

/// Exit codes of the programs. They are part of the interface: supervisors and tests tell faults
/// apart by them.
enum class ExitCode : int {
  ok = 0,
  failed = 1,
  usage = 2,
  cannot_connect = 3,
  port_in_use = 10,
  data_locked = 11,
  data_unusable = 12,
  data_newer_format = 13,
  data_corrupt = 14,
  disk_full = 15,
  io_failed = 16,
  no_io_backend = 17,
  not_in_cluster = 18,  ///< Other nodes refuse this one, or can't found a cluster with it.
};

/// Prints one line to standard error and ends the process with `code`. Runs no destructors: after a
/// failed sync nothing more may be written.
[[noreturn]] void fatal(ExitCode code, std::string_view message);

[[noreturn]] void assertion_failed(const char* condition, const char* file, int line,
                                   std::string_view message);

}  // namespace sentinel::core

/// Aborts with the condition, the place and an optional formatted message when `condition` is
/// false.
#define SENTINEL_ASSERT(condition, ...)                                  \
  do {                                                                   \
    if (!(condition)) [[unlikely]] {                                     \
      ::sentinel::core::assertion_failed(#condition, __FILE__, __LINE__, \
                                         ::fmt::format("" __VA_ARGS__)); \
    }                                                                    \
  } while (false)

/// For checks that cost more than constant time: on in debug and sanitizer builds.
#ifdef NDEBUG
#define SENTINEL_DEBUG_ASSERT(condition, ...) \
  do {                                        \
  } while (false)
#else
#define SENTINEL_DEBUG_ASSERT(condition, ...) SENTINEL_ASSERT(condition, __VA_ARGS__)
#endif
