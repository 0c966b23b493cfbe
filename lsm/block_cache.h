#pragma once
/// Verified blocks of tables in memory, up to a budget: S3-FIFO (Yang et al., "FIFO Queues are All
/// You Need for Cache Eviction", SOSP 2023).
///
/// A new block enters a small queue, a tenth of the budget. What is used there again and again
/// moves on to the main queue; the rest leaves behind no more than its name. A block that comes
/// back while its name is still known enters the main queue at once. So a consumer that reads cold
/// data from one end to the other passes through the small queue and displaces nothing.
///
/// Lives on one shard and serves all of its stores. Blocks are shared, not copied: one that was
/// evicted lives on with whoever still reads it.

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "core/bytes.h"
#include "core/intrusive_list.h"
#include "core/sync.h"
#include "lsm/format.h"

namespace sentinel::lsm {

/// Names a block; file numbers are never used again, so what it names never changes.
struct BlockKey {
  std::uint64_t store_id = 0;
  FileNumber file;
  std::uint64_t offset = 0;

  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

class BlockCache {
 public:
  BlockCache(core::Shard& shard, std::size_t budget_bytes)
      : shard_(shard), budget_bytes_(budget_bytes) {}
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  [[nodiscard]] std::optional<core::Bytes> find(const BlockKey& key);
  /// Keeps the block unless it is so large that it would displace too much. Evicts what no longer
  /// fits.
  void insert(const BlockKey& key, core::Bytes block);

  /// The right to load a block. While one holds it, others wait for the end instead of reading the
  /// same bytes again. The cache outlives it.
  class Load {
   public:
    Load(BlockCache& cache, const BlockKey& key);
    ~Load();
    Load(const Load&) = delete;
    Load& operator=(const Load&) = delete;

   private:
    BlockCache& cache_;
    const BlockKey key_;
  };
  /// Whether somebody loads the block; then wait_for_load() resolves when that has ended, well or
  /// not.
  [[nodiscard]] bool is_loading(const BlockKey& key) const { return loads_.contains(key); }
  core::Wait wait_for_load(const BlockKey& key) { return loads_.at(key)->wait(); }

  /// Memory held, with what it costs to keep it.
  [[nodiscard]] std::size_t bytes() const { return small_bytes_ + main_bytes_; }
  [[nodiscard]] std::uint64_t hits() const { return hits_; }
  [[nodiscard]] std::uint64_t misses() const { return misses_; }

 private:
  struct KeyHash {
    std::size_t operator()(const BlockKey& key) const;
  };
  struct QueueTag;
  struct Entry : core::ListHook<QueueTag> {
    BlockKey key;
    core::Bytes block;
    std::uint8_t uses = 0;
    bool in_main = false;

    [[nodiscard]] std::size_t cost() const;
  };
  using Queue = core::IntrusiveList<Entry, QueueTag>;

  void push(Entry& entry, bool in_main);
  Entry& pop(Queue& queue);
  void evict_from_small();
  void evict_from_main();
  void remember(const BlockKey& key);

  core::Shard& shard_;
  const std::size_t budget_bytes_;
  std::unordered_map<BlockKey, std::unique_ptr<Entry>, KeyHash> entries_;
  Queue small_;
  Queue main_;
  std::size_t small_bytes_ = 0;
  std::size_t main_bytes_ = 0;
  // Hashes of the names that left the small queue: a collision only misplaces a block.
  std::deque<std::size_t> gone_order_;
  std::unordered_set<std::size_t> gone_;
  std::unordered_map<BlockKey, std::unique_ptr<core::Signal>, KeyHash> loads_;
  std::uint64_t hits_ = 0;
  std::uint64_t misses_ = 0;
};

}  // namespace sentinel::lsm
