/// sentinel-storage: our storage engine beside LevelDB and RocksDB, on the same work, in turns.
///
///   sentinel-storage DIRECTORY ROUNDS ENTRIES SYNCED_WRITES [ENGINE [CHAPTER]]
///
/// Works in DIRECTORY, which it makes and empties; prints the figures of each round as JSON.
/// `scripts/perf.sh storage` runs it and prints medians and ratios. ENGINE and CHAPTER, a name and
/// a number, run only that: to be looked at with a profiler.

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <filesystem>
#include <span>

#include "perf/storage_peer.h"
#include "perf/storage_sentinel.h"

namespace sentinel::perf {
namespace {

constexpr std::array kChapters{Chapter::sequential, Chapter::random, Chapter::synced_1,
                               Chapter::synced_16, Chapter::replay};

std::size_t number(std::string_view text) {
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) stop(text, "not a number");
  return value;
}

Figures run_on_empty(Engine& engine, Chapter chapter, const std::filesystem::path& directory) {
  std::filesystem::remove_all(directory);
  std::filesystem::create_directories(directory);
  // What others left to be written must not be written meanwhile.
  ::sync();
  Figures figures = engine.run(chapter, directory.string());
  std::filesystem::remove_all(directory);
  return figures;
}

/// Each round begins with another engine.
std::string run_round(std::size_t round, const std::vector<std::unique_ptr<Engine>>& engines,
                      std::span<const Chapter> chapters, const std::filesystem::path& directory) {
  std::map<std::string_view, Figures> results;
  for (const Chapter chapter : chapters) {
    for (std::size_t i = 0; i < engines.size(); ++i) {
      Engine& engine = *engines[(round + i) % engines.size()];
      results[engine.name()].merge(run_on_empty(engine, chapter, directory / engine.name()));
    }
  }
  std::string json;
  for (const auto& [engine, figures] : results) {
    std::string fields;
    for (const auto& [name, value] : figures)
      fields += fmt::format("{}\"{}\": {:.3f}", fields.empty() ? "" : ", ", name, value);
    json += fmt::format("{}\"{}\": {{{}}}", json.empty() ? "" : ", ", engine, fields);
  }
  return "{" + json + "}";
}

int run(std::span<const std::string_view> arguments) {
  if (arguments.size() < 4) stop("sentinel-storage", "DIRECTORY ROUNDS ENTRIES SYNCED_WRITES");
  const Work work(number(arguments[2]), number(arguments[3]));
  std::vector<std::unique_ptr<Engine>> engines;
  engines.push_back(make_sentinel(work));
  engines.push_back(make_leveldb(work));
  engines.push_back(make_rocksdb(work));
  if (arguments.size() > 4)
    std::erase_if(engines, [&](const auto& engine) { return engine->name() != arguments[4]; });
  std::span<const Chapter> chapters(kChapters);
  if (arguments.size() > 5) chapters = chapters.subspan(number(arguments[5]), 1);
  const std::size_t rounds = number(arguments[1]);
  for (std::size_t round = 0; round < rounds; ++round) {
    const std::string figures =
        run_round(round, engines, chapters, std::filesystem::absolute(arguments[0]));
    fmt::print("{}{}\n", round == 0 ? "[" : ",", figures);
    std::fflush(stdout);
  }
  fmt::print("]\n");
  return 0;
}

}  // namespace
}  // namespace sentinel::perf

int main(int count, char** arguments) {
  const std::vector<std::string_view> all(arguments + 1, arguments + count);
  return sentinel::perf::run(all);
}
