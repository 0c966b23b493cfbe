#include "perf/storage_sentinel.h"

#include <chrono>
#include <utility>

#include "core/runtime.h"
#include "core/scope.h"
#include "lsm/db.h"

namespace sentinel::perf {
namespace {

using core::Bytes;
using core::Shard;
using core::Task;
using Clock = std::chrono::steady_clock;

constexpr std::string_view kName = "sentinel";

double since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

/// One chapter on one shard. Lives in the frame of its program.
class Session {
 public:
  Session(Shard& shard, const Work& work, std::string directory, Figures& figures)
      : shard_(shard),
        work_(work),
        directory_(std::move(directory)),
        figures_(figures),
        values_(Bytes::copy(work.values())),
        cache_(shard, kCacheBytes) {}

  Task<void> run(Chapter chapter) {
    switch (chapter) {
      case Chapter::sequential: return sequential();
      case Chapter::random: return random();
      case Chapter::synced_1: return synced(1);
      case Chapter::synced_16: return synced(16);
      case Chapter::replay: return replay();
    }
    std::abort();
  }

 private:
  Task<void> open(std::size_t memtable_bytes, bool create) {
    lsm::DbOptions options;
    options.directory = directory_;
    options.memtable_bytes = memtable_bytes;
    options.cache = &cache_;
    options.runs.filters_from = "";
    auto opened = co_await lsm::Db::open(shard_, std::move(options), create);
    if (!opened) stop(kName, opened.error().message);
    db_ = std::move(*opened);
  }

  Task<void> close() {
    co_await db_->close();
    db_.reset();
  }

  void note_rate(const char* name, std::size_t operations, Clock::time_point began) {
    figures_[name] = static_cast<double>(operations) / since(began);
  }

  /// The batch of the n-th write.
  void set(lsm::WriteBatch& batch, Order order, std::size_t index) const {
    batch.clear();
    batch.put(core::as_bytes(work_.key(order, index)),
              values_.slice(work_.value_offset(index), kValueBytes));
  }

  Task<void> put(lsm::WriteBatch& batch) {
    co_await db_->write(std::exchange(batch, lsm::WriteBatch()), lsm::Durability::queued);
  }

  Task<void> fill(Order order) {
    lsm::WriteBatch batch;
    for (std::size_t i = 0; i < work_.entries(); ++i) {
      set(batch, order, i);
      if (!db_->try_write(batch)) co_await put(batch);
    }
  }

  Task<void> sequential() {
    co_await open(kMemtableBytes, true);
    const auto began = Clock::now();
    co_await fill(Order::sequential);
    note_rate("fillseq", work_.entries(), began);
    co_await db_->flush();
    co_await db_->until_compacted();
    co_await read_random();  // Warms the cache.
    co_await read_random();
    co_await read_sequential();
    co_await read_sequential();
    co_await close();
    co_await open(kSmallMemtableBytes, false);
    co_await overwrite();
    co_await close();
  }

  Task<void> read_random() {
    const auto began = Clock::now();
    std::size_t bytes = 0;
    for (std::size_t i = 0; i < work_.entries(); ++i) {
      const std::string_view key = work_.key(Order::random, i);
      if (const auto found = db_->try_get(core::as_bytes(key))) {
        bytes += found->value_or(Bytes()).size();
      } else {
        const auto read = co_await db_->get(Bytes::copy(key));
        if (read && read->has_value()) bytes += (*read)->size();
      }
    }
    note_rate("readrandom", work_.entries(), began);
    if (bytes != work_.entries() * kValueBytes) stop(kName, "entries are missing");
  }

  Task<void> read_sequential() {
    const auto began = Clock::now();
    lsm::Cursor cursor = db_->cursor();
    const lsm::KeyTarget first({});
    core::Status status = co_await cursor.seek(first);
    std::size_t bytes = 0;
    while (status && cursor.valid()) {
      bytes += cursor.key().size() + cursor.value().size();
      if (!cursor.try_next()) status = co_await cursor.load_next();
    }
    note_rate("readseq", work_.entries(), began);
    if (bytes != work_.entries() * (kKeyBytes + kValueBytes)) stop(kName, "entries are missing");
  }

  /// Each put is timed from the end of the one before it, so that no wait is left out.
  Task<void> overwrite() {
    std::vector<std::uint32_t> latencies;
    latencies.reserve(work_.entries());
    lsm::WriteBatch batch;
    const auto began = Clock::now();
    auto before = began;
    for (std::size_t i = 0; i < work_.entries(); ++i) {
      set(batch, Order::random, i);
      if (!db_->try_write(batch)) co_await put(batch);
      const auto after = Clock::now();
      latencies.push_back(static_cast<std::uint32_t>((after - before).count()));
      before = after;
    }
    note_latencies(std::move(latencies), since(began), figures_);
  }

  Task<void> random() {
    co_await open(kMemtableBytes, true);
    const auto began = Clock::now();
    co_await fill(Order::random);
    note_rate("fillrandom", work_.entries(), began);
    co_await close();
  }

  Task<void> write_synced(std::size_t* next, std::size_t end) {
    while (*next < end) {
      lsm::WriteBatch batch;
      set(batch, Order::random, (*next)++);
      co_await db_->write(std::move(batch));
    }
  }

  Task<void> synced(std::size_t writers) {
    co_await open(kMemtableBytes, true);
    const std::size_t count = work_.synced_writes(writers);
    core::TaskScope scope(shard_);
    std::size_t next = 0;
    const auto began = Clock::now();
    for (std::size_t i = 0; i < writers; ++i) scope.spawn(write_synced(&next, count));
    co_await scope.join();
    note_rate(writers == 1 ? "fillsync 1" : "fillsync 16", count, began);
    co_await close();
  }

  Task<void> replay() {
    co_await open(kReplayMemtableBytes, true);
    co_await fill(Order::random);
    co_await close();
    forget_cached(directory_);
    const auto began = Clock::now();
    co_await open(kReplayMemtableBytes, false);
    note_rate("replay", work_.entries(), began);
    if (db_->recovery().batches != work_.entries()) stop(kName, "entries are missing");
    co_await close();
  }

  Shard& shard_;
  const Work& work_;
  const std::string directory_;
  Figures& figures_;
  const Bytes values_;
  lsm::BlockCache cache_;
  std::unique_ptr<lsm::Db> db_;
};

Task<int> run_chapter(Shard& shard, const Work* work, Chapter chapter, std::string directory,
                      Figures* figures) {
  Session session(shard, *work, std::move(directory), *figures);
  co_await session.run(chapter);
  co_return 0;
}

class Sentinel final : public Engine {
 public:
  explicit Sentinel(const Work& work) : work_(work) {}
  [[nodiscard]] std::string_view name() const override { return kName; }

  Figures run(Chapter chapter, const std::string& directory) override {
    Figures figures;
    const auto code = core::run_on_this_thread(core::IoKind::automatic, 1, &run_chapter, &work_,
                                               chapter, directory, &figures);
    if (!code) stop(kName, code.error().message);
    return figures;
  }

 private:
  const Work& work_;
};

}  // namespace

std::unique_ptr<Engine> make_sentinel(const Work& work) { return std::make_unique<Sentinel>(work); }

}  // namespace sentinel::perf
