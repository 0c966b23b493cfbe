#include "lsm/db.h"

#include "lsm/log_replay.h"
#include "lsm/sstable_writer.h"

namespace sentinel::lsm {

namespace {
// With more log segments than that a start flushes: a store that is started again and again and
// written little must not keep a segment of each life.
constexpr std::size_t kSealedAtStartMax = 4;
}  // namespace

Db::Db(core::Shard& shard, DbOptions options)
    : shard_(shard),
      options_(std::move(options)),
      flush_wanted_(shard),
      flushed_(shard),
      scope_(shard) {
  memtable_ = new_memtable();
}

Db::~Db() = default;

core::Task<core::Result<std::unique_ptr<Db>>> Db::open(core::Shard& shard, DbOptions options,
                                                       bool create) {
  options.wal.directory = options.directory;
  options.wal.store_id = options.store_id;
  std::unique_ptr<Db> db(new Db(shard, std::move(options)));
  auto manifest = co_await Manifest::open(
      shard, {.directory = db->options_.directory, .store_id = db->options_.store_id}, create);
  if (!manifest) co_return std::unexpected(std::move(manifest).error());
  db->manifest_ = std::move(*manifest);
  core::Status recovered = co_await db->recover();
  if (!recovered) {
    co_await db->close();
    co_return std::unexpected(std::move(recovered).error());
  }
  db->scope_.spawn(db->flush_loop());
  if (db->wal_->sealed_count() > kSealedAtStartMax) db->rotate();
  co_return db;
}

core::Task<core::Status> Db::recover() {
  SENTINEL_CO_CHECK(co_await open_tables());
  visible_ = manifest_->files().flushed_sequence;
  LogReplay replay(shard_, options_.directory, options_.store_id, manifest_->files());
  SENTINEL_CO_CHECK(co_await replay.run([this](const WriteBatch& batch) { apply(batch); }));
  next_sequence_ = replay.next_sequence();
  recovery_.batches = replay.batches();
  recovery_.torn_bytes = replay.torn_bytes();
  // Only now: a store that is found damaged is left as it was found.
  SENTINEL_CO_CHECK(co_await manifest_->start());
  auto wal = co_await Wal::start(shard_, options_.wal, *manifest_, replay.segments(),
                                 manifest_->files().flushed_sequence);
  if (!wal) co_return std::unexpected(std::move(wal).error());
  wal_ = std::move(*wal);
  recovery_.direct_io = wal_->direct();
  co_return core::Status();
}

core::Task<core::Status> Db::open_tables() {
  for (const auto& [number, info] : manifest_->files().tables) {
    auto table = co_await SSTableReader::open(shard_, options_.directory, info, options_.store_id,
                                              options_.cache);
    if (!table) co_return std::unexpected(std::move(table).error());
    tables_.insert(tables_.begin(), std::move(*table));  // A higher number is a newer table.
  }
  co_return core::Status();
}

core::Task<void> Db::write(WriteBatch batch) {
  SENTINEL_ASSERT(!closing_ && !batch.empty());
  batch.set_first_sequence(next_sequence_);
  next_sequence_ = next_sequence_ + batch.count();
  co_await wal_->append(batch);
  apply(batch);
  rotate_if_full();
}

void Db::apply(const WriteBatch& batch) {
  SequenceNumber sequence = batch.first_sequence();
  SENTINEL_ASSERT(sequence == visible_.next(), "batches are applied in order");
  for (const WriteBatch::Operation& operation : batch.operations()) {
    memtable_->add({.sequence = sequence, .kind = operation.kind}, batch.key(operation),
                   operation.value);
    visible_ = sequence;
    sequence = sequence.next();
  }
}

void Db::rotate_if_full() {
  if (memtable_->memory_bytes() >= options_.memtable_bytes) rotate();
}

void Db::rotate() {
  immutables_.push_back(std::exchange(memtable_, new_memtable()));
  // Memory is bounded by not taking new writes, rather than by failing them.
  if (immutables_.size() >= options_.immutable_max) wal_->pause();
  flush_wanted_.notify_all();
}

core::Task<void> Db::flush_loop() {
  for (;;) {
    while (immutables_.empty()) {
      if (closing_) co_return;
      co_await flush_wanted_.wait();
    }
    if (closing_) co_return;  // What is not flushed is replayed.
    core::Status flushed = co_await flush_one();
    if (!flushed) {
      const bool full = flushed.error().code == core::Errc::no_space;
      shard_.fail(full ? core::ExitCode::disk_full : core::ExitCode::io_failed,
                  flushed.error().message);
      co_return;
    }
    flushed_.notify_all();
  }
}

/// Writes the oldest immutable memtable to a table; one manifest edit then replaces its log
/// segments by the table.
core::Task<core::Status> Db::flush_one() {
  const std::shared_ptr<const Memtable> memtable = immutables_.front();
  const FileNumber number = manifest_->new_file_number();
  auto writer =
      co_await SSTableWriter::create(shard_, options_.directory, number, options_.store_id);
  if (!writer) co_return std::unexpected(std::move(writer).error());
  Memtable::Cursor cursor(*memtable);
  core::Status added;
  for (cursor.seek_to_first(); cursor.valid() && added; cursor.next()) {
    added = co_await (*writer)->add(cursor.key(), cursor.tag(), cursor.value());
  }
  if (!added) {
    co_await (*writer)->abandon();
    co_return added;
  }
  auto info = co_await (*writer)->finish();
  if (!info) co_return std::unexpected(std::move(info).error());
  auto table = co_await SSTableReader::open(shard_, options_.directory, *info, options_.store_id,
                                            options_.cache);
  if (!table) co_return std::unexpected(std::move(table).error());
  VersionEdit edit;
  edit.flushed_sequence = memtable->largest_sequence();
  edit.tables_added.push_back(std::move(*info));
  edit.wals_removed = wal_->obsolete(edit.flushed_sequence);
  const std::vector<FileNumber> obsolete = edit.wals_removed;
  SENTINEL_CO_CHECK(co_await manifest_->apply(std::move(edit)));
  tables_.insert(tables_.begin(), std::move(*table));
  immutables_.pop_front();
  wal_->recycle(obsolete);
  if (immutables_.size() < options_.immutable_max) wal_->resume();
  co_return core::Status();
}

core::Task<void> Db::flush() {
  if (!memtable_->empty()) rotate();
  while (!immutables_.empty()) co_await flushed_.wait();
}

core::Task<core::Result<std::optional<core::Bytes>>> Db::get(core::Bytes key) {
  Cursor found = cursor();
  SENTINEL_CO_CHECK(co_await found.seek(KeyTarget(key)));
  if (!found.valid() || compare_keys(found.key(), key) != 0) co_return std::nullopt;
  co_return found.value_bytes();
}

Cursor Db::cursor(core::Bytes end) const {
  std::vector<std::shared_ptr<const Memtable>> memtables;
  memtables.push_back(memtable_);
  for (auto memtable = immutables_.rbegin(); memtable != immutables_.rend(); ++memtable)
    memtables.push_back(*memtable);
  return Cursor(std::move(memtables), tables_, visible_, std::move(end));
}

std::size_t Db::memory_bytes() const {
  std::size_t total = memtable_->memory_bytes();
  for (const auto& memtable : immutables_) total += memtable->memory_bytes();
  return total;
}

std::shared_ptr<Memtable> Db::new_memtable() {
  return std::make_shared<Memtable>(shard_.random().next());
}

core::Task<void> Db::close() {
  closing_ = true;
  flush_wanted_.notify_all();
  co_await scope_.close();
  if (wal_ != nullptr) co_await wal_->close();
  for (const auto& table : tables_) co_await table->close();
  if (manifest_ != nullptr) co_await manifest_->close();
}

}  // namespace sentinel::lsm
