#include "lsm/memtable.h"

#include <algorithm>
#include <utility>

namespace sentinel::lsm {

namespace {

// Below, copying is cheaper than keeping a counted slice.
constexpr std::size_t kSharedValueBytesMin = 4096;

/// A slice of a much larger buffer would keep all of it in memory.
bool worth_sharing(const core::Bytes& value) {
  return value.size() >= kSharedValueBytesMin && value.storage_bytes() <= 2 * value.size();
}

}  // namespace

Memtable::Memtable(std::uint64_t seed, std::shared_ptr<ArenaReserve> reserve)
    : arena_(std::move(reserve)), list_(arena_, seed) {}

void Memtable::add(EntryTag tag, core::ByteSpan key, const core::Bytes& value) {
  const bool share = worth_sharing(value);
  SkipList::Node* node = list_.insert(key, tag, share ? 0 : value.size());
  node->value_bytes = static_cast<std::uint32_t>(value.size());
  if (share) {
    node->value = value.data();
    shared_bytes_ += value.storage_bytes();
    shared_.push_back(value);
    node->external = static_cast<std::uint32_t>(shared_.size());
  } else {
    auto* room = const_cast<std::byte*>(node->key().data()) + key.size();
    if (!value.empty()) std::memcpy(room, value.data(), value.size());
    node->value = room;
  }
  ++entry_count_;
  largest_sequence_ = std::max(largest_sequence_, tag.sequence);
}

core::Bytes Memtable::Cursor::value_bytes() const {
  if (node_->external == 0) return core::Bytes::copy(value());
  return memtable_->shared_[node_->external - 1];
}

}  // namespace sentinel::lsm
