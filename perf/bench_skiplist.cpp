/// The memtable's skip list beside LevelDB and RocksDB: one million entries of 16-byte keys and
/// 100-byte values, one thread.
///
/// The peers are measured through their public interfaces, since their skip lists are not
/// installed: LevelDB on its in-memory file system (its write-ahead log can't be turned off, so a
/// copy into memory is part of its put), RocksDB with the log turned off. Both with a write buffer
/// that holds everything, so that nothing is flushed. `scripts/perf.sh --benchmarks` runs all of
/// them in turns and prints the ratios.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "core/random.h"
#include "lsm/memtable.h"

#ifdef SENTINEL_HAS_LEVELDB
#include <leveldb/db.h>
#include <leveldb/env.h>
#include <leveldb/helpers/memenv.h>
#endif
#ifdef SENTINEL_HAS_ROCKSDB
#include <rocksdb/db.h>
#include <rocksdb/env.h>
#endif

namespace sentinel {
namespace {

constexpr std::size_t kEntries = 1'000'000;
// Unused where neither peer is installed.
[[maybe_unused]] constexpr std::size_t kBufferBytes = std::size_t{1} << 30;

enum class Order : std::uint8_t { sequential, random };

const std::vector<std::string>& keys(Order order) {
  static const auto made = [] {
    std::array<std::vector<std::string>, 2> both;
    for (std::size_t i = 0; i < kEntries; ++i) both[0].push_back(fmt::format("{:016}", i));
    both[1] = both[0];
    core::Random random(1);
    for (std::size_t i = kEntries - 1; i > 0; --i)
      std::swap(both[1][i], both[1][random.below(i + 1)]);
    return both;
  }();
  return made[order == Order::sequential ? 0 : 1];
}

const std::string& value() {
  static const std::string hundred(100, 'v');
  return hundred;
}

struct Ours {
  lsm::Memtable memtable{1};
  std::uint64_t sequence = 0;
  const core::Bytes bytes = core::Bytes::copy(value());

  void put(const std::string& key) {
    memtable.add({.sequence = lsm::SequenceNumber(++sequence), .kind = lsm::EntryKind::value},
                 core::as_bytes(key), bytes);
  }
  std::size_t get(const std::string& key) {
    lsm::Memtable::Cursor cursor(memtable);
    cursor.seek(core::as_bytes(key), lsm::kSequenceMax);
    return cursor.valid() ? std::string(core::as_text(cursor.value())).size() : 0;
  }
};

#ifdef SENTINEL_HAS_LEVELDB
struct LevelDb {
  std::unique_ptr<leveldb::Env> env{leveldb::NewMemEnv(leveldb::Env::Default())};
  std::unique_ptr<leveldb::DB> db;
  std::string found;

  LevelDb() {
    leveldb::Options options;
    options.env = env.get();
    options.create_if_missing = true;
    options.write_buffer_size = kBufferBytes;
    leveldb::DB* opened = nullptr;
    if (!leveldb::DB::Open(options, "/bench", &opened).ok()) std::abort();
    db.reset(opened);
  }
  void put(const std::string& key) { db->Put({}, key, value()); }
  std::size_t get(const std::string& key) {
    db->Get({}, key, &found);
    return found.size();
  }
};
#endif

#ifdef SENTINEL_HAS_ROCKSDB
struct RocksDb {
  std::unique_ptr<rocksdb::Env> env{rocksdb::NewMemEnv(rocksdb::Env::Default())};
  std::unique_ptr<rocksdb::DB> db;
  rocksdb::WriteOptions write;
  std::string found;

  RocksDb() {
    rocksdb::Options options;
    options.env = env.get();
    options.create_if_missing = true;
    options.write_buffer_size = kBufferBytes;
    options.allow_concurrent_memtable_write = false;
    write.disableWAL = true;
    rocksdb::DB* opened = nullptr;
    if (!rocksdb::DB::Open(options, "/bench", &opened).ok()) std::abort();
    db.reset(opened);
  }
  void put(const std::string& key) { db->Put(write, key, value()); }
  std::size_t get(const std::string& key) {
    db->Get({}, key, &found);
    return found.size();
  }
};
#endif

template <typename Store>
void put(benchmark::State& state, Order order) {
  const std::vector<std::string>& all = keys(order);
  for (auto _ : state) {
    state.PauseTiming();
    auto store = std::make_unique<Store>();
    state.ResumeTiming();
    for (const std::string& key : all) store->put(key);
    state.PauseTiming();
    store.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kEntries));
}

/// Reads what was put, in the same order.
template <typename Store>
void get(benchmark::State& state, Order order) {
  auto store = std::make_unique<Store>();
  for (const std::string& key : keys(order)) store->put(key);
  const std::vector<std::string>& wanted = keys(order);
  std::size_t read = 0;
  for (auto _ : state) {
    for (const std::string& key : wanted) read += store->get(key);
  }
  benchmark::DoNotOptimize(read);
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(kEntries));
}

template <typename Store>
void add_benchmarks(const std::string& store) {
  for (const Order order : {Order::sequential, Order::random}) {
    const std::string suffix = order == Order::sequential ? "/sequential" : "/random";
    benchmark::RegisterBenchmark(("put/" + store + suffix).c_str(), &put<Store>, order)
        ->Unit(benchmark::kMillisecond);
    benchmark::RegisterBenchmark(("get/" + store + suffix).c_str(), &get<Store>, order)
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace
}  // namespace sentinel

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  sentinel::add_benchmarks<sentinel::Ours>("sentinel");
#ifdef SENTINEL_HAS_LEVELDB
  sentinel::add_benchmarks<sentinel::LevelDb>("leveldb");
#endif
#ifdef SENTINEL_HAS_ROCKSDB
  sentinel::add_benchmarks<sentinel::RocksDb>("rocksdb");
#endif
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
