#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include "perf/storage_peer.h"

namespace sentinel::perf {
namespace {

struct RocksDbApi {
  static constexpr std::string_view kName = "rocksdb";
  using Db = rocksdb::DB;
  using Slice = rocksdb::Slice;
  using Batch = rocksdb::WriteBatch;
  using Iterator = rocksdb::Iterator;
  using ReadOptions = rocksdb::ReadOptions;
  using WriteOptions = rocksdb::WriteOptions;

  std::unique_ptr<Db> open(const std::string& directory, std::size_t memtable_bytes) {
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(kCacheBytes);
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    rocksdb::Options options;
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.write_buffer_size = memtable_bytes;
    // As many full memtables as ours has.
    options.max_write_buffer_number = 3;
    // What is replayed stays in memory, as ours does.
    options.avoid_flush_during_recovery = true;
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    Db* opened = nullptr;
    const rocksdb::Status status = Db::Open(options, directory, &opened);
    if (!status.ok()) stop(kName, status.ToString());
    return std::unique_ptr<Db>(opened);
  }
  static void compact_all(Db& db) {
    const rocksdb::Status status = db.CompactRange({}, nullptr, nullptr);
    if (!status.ok()) stop(kName, status.ToString());
  }
  std::size_t get(Db& db, const Slice& key) {
    const rocksdb::Status status = db.Get(ReadOptions(), db.DefaultColumnFamily(), key, &found);
    const std::size_t bytes = status.ok() ? found.size() : 0;
    found.Reset();  // It holds on to the cache.
    return bytes;
  }

  rocksdb::PinnableSlice found;
};

}  // namespace

std::unique_ptr<Engine> make_rocksdb(const Work& work) {
  return std::make_unique<Peer<RocksDbApi>>(work);
}

}  // namespace sentinel::perf
