#include "apps/server/machine_memory.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

namespace sentinel::apps {

namespace {

/// The number in a file; nothing when it can't be read, or says "max".
std::optional<std::uint64_t> number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::uint64_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

/// The path of the process's group in a hierarchy: `controllers` is empty for version 2.
std::optional<std::string> group_path(std::string_view controllers) {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    if (line.substr(first + 1, second - first - 1) == controllers) return line.substr(second + 1);
  }
  return std::nullopt;
}

/// The least limit of the group and of those that it lies in.
void apply_limits(const std::filesystem::path& root, std::string_view controllers, const char* name,
                  std::uint64_t& least) {
  const auto group = group_path(controllers);
  if (!group.has_value()) return;
  std::filesystem::path path = std::filesystem::path(*group).relative_path();
  for (;;) {
    if (const auto limit = number_in(root / path / name)) least = std::min(least, *limit);
    if (path.empty()) return;
    path = path.parent_path();
  }
}

}  // namespace

std::uint64_t machine_memory() {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long page_bytes = sysconf(_SC_PAGESIZE);
  if (pages <= 0 || page_bytes <= 0) return 0;
  std::uint64_t least = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
  apply_limits("/sys/fs/cgroup", "", "memory.max", least);
  apply_limits("/sys/fs/cgroup/memory", "memory", "memory.limit_in_bytes", least);
  return least;
}

}  // namespace sentinel::apps
