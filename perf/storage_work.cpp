#include "perf/storage_work.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "core/random.h"

namespace sentinel::perf {

Work::Work(std::size_t entries, std::size_t synced_writes)
    : entries_(entries), synced_writes_(synced_writes) {
  core::Random random(1);
  std::vector<std::size_t> shuffled(entries);
  for (std::size_t i = 0; i < entries; ++i) {
    fmt::format_to(std::back_inserter(keys_[0]), "{:016}", i);
    const std::size_t at = random.below(i + 1);
    shuffled[i] = shuffled[at];
    shuffled[at] = i;
  }
  for (const std::size_t i : shuffled) keys_[1] += key(Order::sequential, i);
  while (values_.size() < std::size_t{1} << 20) values_ += static_cast<char>(random.below(256));
}

void note_latencies(std::vector<std::uint32_t> nanoseconds, double seconds, Figures& figures) {
  std::ranges::sort(nanoseconds);
  const auto at = [&](double share) {
    const auto index = static_cast<std::size_t>(share * static_cast<double>(nanoseconds.size()));
    return nanoseconds[std::min(index, nanoseconds.size() - 1)] / 1000.0;
  };
  figures["overwrite"] = static_cast<double>(nanoseconds.size()) / seconds;
  figures["overwrite p50"] = at(0.5);
  figures["overwrite p99"] = at(0.99);
  figures["overwrite p99.9"] = at(0.999);
  figures["overwrite max"] = at(1);
}

void forget_cached(const std::string& directory) {
  ::sync();
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const int file = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    ::close(file);
  }
}

void stop(std::string_view engine, std::string_view what) {
  fmt::print(stderr, "{}: {}\n", engine, what);
  std::exit(1);
}

}  // namespace sentinel::perf
