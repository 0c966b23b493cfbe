#pragma once
/// A peer, LevelDB or RocksDB, as the comparison sees it: both have the same interface under
/// different names.

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "perf/storage_work.h"

namespace sentinel::perf {

std::unique_ptr<Engine> make_leveldb(const Work& work);
std::unique_ptr<Engine> make_rocksdb(const Work& work);

/// `Api` names the types of a peer, opens it, and reads one key.
template <typename Api>
class Peer final : public Engine {
 public:
  explicit Peer(const Work& work) : work_(work) {}
  [[nodiscard]] std::string_view name() const override { return Api::kName; }

  Figures run(Chapter chapter, const std::string& directory) override {
    figures_.clear();
    switch (chapter) {
      case Chapter::sequential: sequential(directory); break;
      case Chapter::random: random(directory); break;
      case Chapter::synced_1: synced(directory, 1); break;
      case Chapter::synced_16: synced(directory, 16); break;
      case Chapter::replay: replay(directory); break;
    }
    db_.reset();
    return std::move(figures_);
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Slice = typename Api::Slice;

  static double since(Clock::time_point began) {
    return std::chrono::duration<double>(Clock::now() - began).count();
  }
  void note_rate(const char* name, std::size_t operations, Clock::time_point began) {
    figures_[name] = static_cast<double>(operations) / since(began);
  }
  static void check(const auto& status) {
    if (!status.ok()) stop(Api::kName, status.ToString());
  }
  static Slice slice(std::string_view text) { return {text.data(), text.size()}; }

  void open(const std::string& directory, std::size_t memtable_bytes) {
    db_.reset();
    db_ = api_.open(directory, memtable_bytes);
  }

  /// A batch of one that is used again and again, as ours is: it saves the peers an allocation.
  void put(typename Api::Batch& batch, Order order, std::size_t index, bool sync) {
    typename Api::WriteOptions options;
    options.sync = sync;
    batch.Clear();
    batch.Put(slice(work_.key(order, index)), slice(work_.value(index)));
    check(db_->Write(options, &batch));
  }

  void fill(Order order) {
    typename Api::Batch batch;
    for (std::size_t i = 0; i < work_.entries(); ++i) put(batch, order, i, false);
  }

  void sequential(const std::string& directory) {
    open(directory, kMemtableBytes);
    const auto began = Clock::now();
    fill(Order::sequential);
    note_rate("fillseq", work_.entries(), began);
    api_.compact_all(*db_);
    read_random();  // Warms the cache.
    read_random();
    read_sequential();
    read_sequential();
    open(directory, kSmallMemtableBytes);
    overwrite();
  }

  void read_random() {
    const auto began = Clock::now();
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < work_.entries(); ++i)
      bytes += api_.get(*db_, slice(work_.key(Order::random, i)));
    note_rate("readrandom", work_.entries(), began);
    if (bytes != work_.entries() * kValueBytes) stop(Api::kName, "entries are missing");
  }

  void read_sequential() {
    const auto began = Clock::now();
    const std::unique_ptr<typename Api::Iterator> at(db_->NewIterator(typename Api::ReadOptions()));
    std::size_t bytes = 0;
    for (at->SeekToFirst(); at->Valid(); at->Next()) bytes += at->key().size() + at->value().size();
    note_rate("readseq", work_.entries(), began);
    if (bytes != work_.entries() * (kKeyBytes + kValueBytes)) {
      stop(Api::kName, "entries are missing");
    }
  }

  void overwrite() {
    std::vector<std::uint32_t> latencies;
    latencies.reserve(work_.entries());
    typename Api::Batch batch;
    const auto began = Clock::now();
    auto before = began;
    for (std::size_t i = 0; i < work_.entries(); ++i) {
      put(batch, Order::random, i, false);
      const auto after = Clock::now();
      latencies.push_back(static_cast<std::uint32_t>((after - before).count()));
      before = after;
    }
    note_latencies(std::move(latencies), since(began), figures_);
  }

  void random(const std::string& directory) {
    open(directory, kMemtableBytes);
    const auto began = Clock::now();
    fill(Order::random);
    note_rate("fillrandom", work_.entries(), began);
  }

  void synced(const std::string& directory, std::size_t writers) {
    open(directory, kMemtableBytes);
    const std::size_t count = work_.synced_writes(writers);
    std::atomic<std::size_t> next = 0;
    const auto write = [&] {
      typename Api::Batch batch;
      for (std::size_t i = next++; i < count; i = next++) put(batch, Order::random, i, true);
    };
    const auto began = Clock::now();
    std::vector<std::thread> threads;
    for (std::size_t i = 0; i < writers; ++i) threads.emplace_back(write);
    for (std::thread& thread : threads) thread.join();
    note_rate(writers == 1 ? "fillsync 1" : "fillsync 16", count, began);
  }

  void replay(const std::string& directory) {
    open(directory, kReplayMemtableBytes);
    fill(Order::random);
    db_.reset();
    forget_cached(directory);
    const auto began = Clock::now();
    open(directory, kReplayMemtableBytes);
    note_rate("replay", work_.entries(), began);
    if (api_.get(*db_, slice(work_.key(Order::random, work_.entries() - 1))) != kValueBytes)
      stop(Api::kName, "entries are missing");
  }

  const Work& work_;
  Figures figures_;
  Api api_;
  std::unique_ptr<typename Api::Db> db_;
};

}  // namespace sentinel::perf
