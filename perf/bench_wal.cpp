/// Google Benchmark programs of the store's write path: a durable write alone, and many that share
/// the log's syncs.
///
/// Writes under ./bench-wal.XXXXXX, removed at the end: run it on the disk that is to be measured.

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "core/runtime.h"
#include "core/scope.h"
#include "lsm/db.h"

namespace sentinel {
namespace {

using core::Shard;
using core::Task;

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    char name[] = "bench-wal.XXXXXX";
    if (mkdtemp(name) != nullptr) path_ = std::filesystem::absolute(name);
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

lsm::WriteBatch batch_of(std::uint64_t number, const core::Bytes& value) {
  std::byte key[sizeof number];
  core::store_be(key, number);
  lsm::WriteBatch batch;
  batch.put(key, value);
  return batch;
}

Task<void> writer(lsm::Db* db, std::uint64_t* next, std::uint64_t end, core::Bytes value) {
  while (*next < end) co_await db->write(batch_of((*next)++, value));
}

/// `writers` tasks write one value at a time each.
Task<int> write_values(Shard& shard, benchmark::State* bench, std::string directory) {
  lsm::DbOptions options;
  options.directory = std::move(directory);
  auto db = co_await lsm::Db::open(shard, std::move(options), true);
  if (!db) {
    bench->SkipWithError(db.error().message.c_str());
    co_return 1;
  }
  const std::string text(static_cast<std::size_t>(bench->range(1)), 'v');
  const core::Bytes value = core::Bytes::copy(std::string_view(text));
  std::uint64_t next = 0;
  constexpr std::uint64_t kRound = 256;
  while (bench->KeepRunningBatch(kRound)) {
    core::TaskScope scope(shard);
    const std::uint64_t end = next + kRound;
    for (std::int64_t i = 0; i < bench->range(0); ++i)
      scope.spawn(writer(db->get(), &next, end, value));
    co_await scope.join();
  }
  co_await (*db)->close();
  co_return 0;
}

void durable_write(benchmark::State& state) {
  const TemporaryDirectory directory;
  const auto code =
      core::run_on_this_thread(core::IoKind::automatic, 1, &write_values, &state, directory.path());
  if (!code) state.SkipWithError("no ring");
  state.SetBytesProcessed(state.iterations() * state.range(1));
}
BENCHMARK(durable_write)
    ->ArgNames({"writers", "bytes"})
    ->Args({1, 1024})
    ->Args({16, 1024})
    ->Args({64, 1024})
    ->Args({4, 256 << 10})
    ->UseRealTime();

}  // namespace
}  // namespace sentinel

BENCHMARK_MAIN();
