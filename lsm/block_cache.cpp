#include "lsm/block_cache.h"

#include <algorithm>
#include <utility>

namespace sentinel::lsm {

namespace {
constexpr std::size_t kSmallShare = 10;  // One part in so many of the budget.
constexpr std::size_t kLargestShare = 8;
constexpr std::uint8_t kUsesMax = 3;
// A reader whose fetches end within a block uses it once more without anybody else wanting it.
constexpr std::uint8_t kUsesToStay = 2;
constexpr std::size_t kEntryOverheadBytes = 192;
constexpr std::size_t kRememberedMin = 64;
}  // namespace

std::size_t BlockCache::KeyHash::operator()(const BlockKey& key) const {
  std::uint64_t hash = key.store_id;
  for (const std::uint64_t part : {key.file.value(), key.offset}) {
    hash = (hash ^ part) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 32;
  }
  return hash;
}

std::size_t BlockCache::Entry::cost() const { return block.storage_bytes() + kEntryOverheadBytes; }

BlockCache::~BlockCache() = default;

std::optional<core::Bytes> BlockCache::find(const BlockKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) {
    ++misses_;
    return std::nullopt;
  }
  ++hits_;
  Entry& entry = *found->second;
  if (entry.uses < kUsesMax) ++entry.uses;
  // A reader begins at a block's end; it comes while the counter, at its beginning, is waited for.
  __builtin_prefetch(entry.block.data() + entry.block.size() - 1);
  return entry.block;
}

void BlockCache::insert(const BlockKey& key, core::Bytes block) {
  if (entries_.contains(key)) return;
  auto made = std::make_unique<Entry>();
  made->key = key;
  made->block = std::move(block);
  if (made->cost() > budget_bytes_ / kLargestShare) return;
  Entry& entry = *made;
  entries_.emplace(key, std::move(made));
  push(entry, gone_.contains(KeyHash()(key)));
  while (bytes() > budget_bytes_) {
    if (small_bytes_ > budget_bytes_ / kSmallShare || main_.empty()) {
      evict_from_small();
    } else {
      evict_from_main();
    }
  }
}

void BlockCache::push(Entry& entry, bool in_main) {
  entry.in_main = in_main;
  entry.uses = 0;
  (in_main ? main_ : small_).push_back(entry);
  (in_main ? main_bytes_ : small_bytes_) += entry.cost();
}

BlockCache::Entry& BlockCache::pop(Queue& queue) {
  Entry& entry = queue.pop_front();
  (entry.in_main ? main_bytes_ : small_bytes_) -= entry.cost();
  return entry;
}

void BlockCache::evict_from_small() {
  Entry& entry = pop(small_);
  if (entry.uses >= kUsesToStay) {
    push(entry, true);
    return;
  }
  remember(entry.key);
  entries_.erase(BlockKey(entry.key));
}

void BlockCache::evict_from_main() {
  Entry& entry = pop(main_);
  if (entry.uses == 0) {
    entries_.erase(BlockKey(entry.key));
    return;
  }
  const auto uses = static_cast<std::uint8_t>(entry.uses - 1);
  push(entry, true);
  entry.uses = uses;
}

/// As many names as there are blocks: a block is worth keeping when it comes back before the cache
/// has been filled anew.
void BlockCache::remember(const BlockKey& key) {
  const std::size_t hash = KeyHash()(key);
  if (gone_.insert(hash).second) gone_order_.push_back(hash);
  while (gone_order_.size() > std::max(kRememberedMin, entries_.size())) {
    gone_.erase(gone_order_.front());
    gone_order_.pop_front();
  }
}

BlockCache::Load::Load(BlockCache& cache, const BlockKey& key) : cache_(cache), key_(key) {
  const bool first =
      cache_.loads_.emplace(key_, std::make_unique<core::Signal>(cache_.shard_)).second;
  SENTINEL_ASSERT(first, "two loads of one block");
}

BlockCache::Load::~Load() {
  const auto load = cache_.loads_.find(key_);
  load->second->notify_all();
  cache_.loads_.erase(load);
}

}  // namespace sentinel::lsm
