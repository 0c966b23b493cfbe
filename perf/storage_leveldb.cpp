#include <leveldb/cache.h>
#include <leveldb/db.h>
#include <leveldb/filter_policy.h>
#include <leveldb/write_batch.h>

#include "perf/storage_peer.h"

namespace sentinel::perf {
namespace {

struct LevelDbApi {
  static constexpr std::string_view kName = "leveldb";
  using Db = leveldb::DB;
  using Slice = leveldb::Slice;
  using Batch = leveldb::WriteBatch;
  using Iterator = leveldb::Iterator;
  using ReadOptions = leveldb::ReadOptions;
  using WriteOptions = leveldb::WriteOptions;

  std::unique_ptr<Db> open(const std::string& directory, std::size_t memtable_bytes) {
    cache.reset(leveldb::NewLRUCache(kCacheBytes));
    leveldb::Options options;
    options.create_if_missing = true;
    options.compression = leveldb::kNoCompression;
    options.write_buffer_size = memtable_bytes;
    options.block_cache = cache.get();
    options.filter_policy = filter.get();
    Db* opened = nullptr;
    const leveldb::Status status = Db::Open(options, directory, &opened);
    if (!status.ok()) stop(kName, status.ToString());
    return std::unique_ptr<Db>(opened);
  }
  static void compact_all(Db& db) { db.CompactRange(nullptr, nullptr); }
  std::size_t get(Db& db, const Slice& key) {
    return db.Get(ReadOptions(), key, &found).ok() ? found.size() : 0;
  }

  std::unique_ptr<const leveldb::FilterPolicy> filter{leveldb::NewBloomFilterPolicy(10)};
  std::unique_ptr<leveldb::Cache> cache;
  std::string found;
};

}  // namespace

std::unique_ptr<Engine> make_leveldb(const Work& work) {
  return std::make_unique<Peer<LevelDbApi>>(work);
}

}  // namespace sentinel::perf
