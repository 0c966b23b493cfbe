#include "core/assert.h"

#include <cstdio>
#include <cstdlib>

namespace sentinel::core {

void fatal(ExitCode code, std::string_view message) {
  fmt::print(stderr, "sentinel: {}\n", message);
  std::fflush(nullptr);
  std::_Exit(static_cast<int>(code));
}

void assertion_failed(const char* condition, const char* file, int line, std::string_view message) {
  fmt::print(stderr, "sentinel: assertion failed at {}:{}: {}{}{}\n", file, line, condition,
             message.empty() ? "" : ": ", message);
  std::fflush(nullptr);
  std::abort();
}

}  // namespace sentinel::core
