#include "test/support/store_workload.h"

#include <fmt/format.h>

#include "lsm/store_check.h"

namespace sentinel::test {

using core::Bytes;
using core::Shard;
using core::Task;
using namespace std::chrono_literals;

namespace {

/// Small files, so that a short script rolls segments, recycles them, flushes, and replaces the
/// manifest.
lsm::DbOptions small_options() {
  lsm::DbOptions options;
  options.directory = "/store";
  options.store_id = 7;
  options.memtable_bytes = 24 << 10;
  // The batches' own keys are a group of their own, cut into short runs.
  options.runs = {.group_bytes = 4, .own_bytes = 1 << 10, .run_bytes = 8 << 10, .filters_from = ""};
  options.wal.segment_bytes = 64 << 10;
  options.wal.first_segment_bytes = 16 << 10;
  options.wal.buffer_bytes = 16 << 10;
  return options;
}

std::string value_of(const Script& script, int batch, int entry) {
  // From empty to larger than a block of the log, and now and then larger than its buffer.
  static constexpr int kSizes[] = {0, 30, 700, 5000, 1, 2000, 20'000};
  const int which = batch + entry + script.variant * (1 + batch / 7);
  const auto size =
      static_cast<std::size_t>(kSizes[static_cast<std::size_t>(which) % std::size(kSizes)]);
  return fmt::format("{}-{}:", batch, entry) +
         std::string(size, static_cast<char>('a' + batch % 26));
}

/// Keys of batch b: one of its own, and one that every fourth batch overwrites or deletes.
lsm::WriteBatch make_batch(const Script& script, int batch) {
  lsm::WriteBatch out;
  out.put(core::as_bytes(fmt::format("own-{:04}", batch)), Bytes::copy(value_of(script, batch, 0)));
  const std::string shared = fmt::format("shared-{}", batch % 4);
  if (batch % 5 == 4) {
    out.remove(core::as_bytes(shared));
  } else {
    out.put(core::as_bytes(shared), Bytes::copy(value_of(script, batch, 1)));
  }
  return out;
}

Task<void> write_one(lsm::Db* db, Script script, int batch, int* acked) {
  const lsm::Durability durability = script.durability(batch);
  co_await db->write(make_batch(script, batch), durability);
  // With it all before it are.
  if (durability == lsm::Durability::on_disk) *acked = batch + 1;
}

/// Opens the store, reads all of it, and closes it.
class Recovery final : public NodeProgram {
 public:
  explicit Recovery(bool create) : create_(create) {}

  Task<void> run(Shard& shard) override {
    auto opened = co_await lsm::Db::open(shard, small_options(), create_);
    if (!opened) {
      error_ = opened.error().message;
      co_return;
    }
    std::unique_ptr<lsm::Db> db = std::move(*opened);
    {
      lsm::Cursor cursor = db->cursor();
      const Bytes nothing;
      core::Status status = co_await cursor.seek(lsm::KeyTarget(nothing));
      while (status && cursor.valid()) {
        contents_[std::string(core::as_text(cursor.key()))] = core::as_text(cursor.value());
        status = co_await cursor.next();
      }
      if (!status) error_ = status.error().message;
    }
    co_await db->close();
  }
  void request_stop() override {}

  [[nodiscard]] const std::optional<std::string>& error() const { return error_; }
  [[nodiscard]] const Contents& contents() const { return contents_; }

 private:
  const bool create_;
  std::optional<std::string> error_;
  Contents contents_;
};

class Check final : public NodeProgram {
 public:
  Task<void> run(Shard& shard) override {
    const lsm::DbOptions store = small_options();
    lsm::StoreCheckOptions options;
    options.directory = store.directory;
    options.store_id = store.store_id;
    found_ = co_await lsm::check_store(shard, std::move(options));
  }
  void request_stop() override {}

  [[nodiscard]] const lsm::StoreCheck& found() const { return found_; }

 private:
  lsm::StoreCheck found_;
};

}  // namespace

Contents contents_after(const Script& script, int count) {
  Contents contents;
  for (int batch = 0; batch < count; ++batch) {
    contents[fmt::format("own-{:04}", batch)] = value_of(script, batch, 0);
    const std::string shared = fmt::format("shared-{}", batch % 4);
    if (batch % 5 == 4) {
      contents.erase(shared);
    } else {
      contents[shared] = value_of(script, batch, 1);
    }
  }
  return contents;
}

Contents without_discarded(const Script& script, Contents contents) {
  if (script.discards) {
    contents.erase(contents.lower_bound("own-"),
                   contents.lower_bound(fmt::format("own-{:04}", kDiscardedBatches)));
  }
  return contents;
}

Writer::Writer(const NodeContext& context, Script script, int* acked)
    : script_(script), scope_(*context.shards.front()), acked_(acked) {}

Writer::~Writer() = default;

Task<void> Writer::run(Shard& shard) {
  auto opened = co_await lsm::Db::open(shard, small_options(), true);
  if (!opened) {
    error_ = opened.error().message;
    co_return;
  }
  db_ = std::move(*opened);
  for (int batch = 0; batch < script_.batches;) {
    if (script_.flushes_before(batch)) co_await db_->flush();
    if (script_.discards && batch >= kDiscardsBefore) {
      db_->discard(Bytes::copy("own-"), Bytes::copy(fmt::format("own-{:04}", kDiscardedBatches)));
    }
    const int together = script_.together(batch);
    for (int i = 0; i < together && batch < script_.batches; ++i, ++batch) {
      scope_.spawn(write_one(db_.get(), script_, batch, acked_));
    }
    co_await scope_.join();
  }
  co_await db_->sync();
  *acked_ = script_.batches;
  co_await db_->until_compacted();
  counters_ = db_->counters();
  done_ = true;
  co_await db_->close();
}

Recovered recover(const DiskImage& image, bool create) {
  SimWorld world(1);
  const NodeId node = world.add_node(
      {.program = [create](const NodeContext&) { return std::make_unique<Recovery>(create); },
       .image = image});
  world.start(node);
  world.run_until([&] { return world.is_idle(node); }, 60s);
  const auto& program = static_cast<const Recovery&>(*world.program(node));
  Recovered recovered{program.error(), program.contents(), {}};
  if (world.failure(node).has_value()) recovered.error = world.failure(node)->message;
  SENTINEL_ASSERT(world.stop(node));
  recovered.disk = world.disk(node).image();
  return recovered;
}

std::vector<std::string> find_problems(const DiskImage& image, DiskImage& after) {
  SimWorld world(1);
  const NodeId node = world.add_node(
      {.program = [](const NodeContext&) { return std::make_unique<Check>(); }, .image = image});
  world.start(node);
  world.run_until([&] { return world.is_idle(node); }, 60s);
  std::vector<std::string> problems =
      static_cast<const Check&>(*world.program(node)).found().problems;
  SENTINEL_ASSERT(world.stop(node));
  after = world.disk(node).image();
  return problems;
}

DiskImage empty_disk() {
  DiskImage disk;
  disk.make_directories("/store");
  return disk;
}

}  // namespace sentinel::test
