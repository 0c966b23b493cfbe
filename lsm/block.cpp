#include "lsm/block.h"

#include <algorithm>
#include <utility>

namespace sentinel::lsm {

namespace {
constexpr std::uint32_t kEntriesPerRestart = 16;
constexpr std::uint32_t kRestartsPrefetchedMax = 32;
constexpr std::size_t kRunPrefetchedBytes = 1024;
constexpr std::size_t kCacheLineBytes = 64;
}  // namespace

bool is_after(core::ByteSpan key, EntryTag tag, core::ByteSpan previous_key,
              EntryTag previous_tag) {
  const int order = compare_keys(key, previous_key);
  return order > 0 || (order == 0 && tag.sequence < previous_tag.sequence);
}

void BlockBuilder::add(core::ByteSpan key, EntryTag tag, core::ByteSpan value) {
  SENTINEL_ASSERT(empty() || is_after(key, tag, last_key_.view(), last_tag_),
                  "entries out of order");
  std::size_t shared = 0;
  if (entries_ % kEntriesPerRestart == 0) {
    restarts_.push_back(static_cast<std::uint32_t>(out_.size()));
  } else {
    const core::ByteSpan last = last_key_.view();
    const std::size_t limit = std::min(last.size(), key.size());
    while (shared < limit && last[shared] == key[shared]) ++shared;
  }
  out_.varint(shared);
  out_.varint(key.size() - shared);
  out_.varint(value.size());
  out_.bytes(key.subspan(shared));
  out_.u64(tag.packed());
  out_.bytes(value);
  last_key_.clear();
  last_key_.bytes(key);
  last_tag_ = tag;
  ++entries_;
}

core::ByteSpan BlockBuilder::finish() {
  for (const std::uint32_t restart : restarts_) out_.u32(restart);
  out_.u32(static_cast<std::uint32_t>(restarts_.size()));
  return out_.view();
}

void BlockBuilder::clear() {
  out_.clear();
  last_key_.clear();
  restarts_.clear();
  entries_ = 0;
}

void KeyBuffer::grow(std::size_t kept, std::size_t size) {
  std::vector<std::byte> grown(std::max(size, 2 * kInlineBytes));
  std::memcpy(grown.data(), data(), kept);
  long_ = std::move(grown);
}

BlockCursor::BlockCursor(core::Bytes block) : block_(std::move(block)) {
  if (block_.size() < 4) {
    corrupt_ = true;
    return;
  }
  restart_count_ = core::load_be<std::uint32_t>(block_.data() + block_.size() - 4);
  const std::uint64_t trailer = 4 * (std::uint64_t{restart_count_} + 1);
  if (restart_count_ == 0 || trailer > block_.size()) {
    restart_count_ = 0;
    corrupt_ = true;
    return;
  }
  entries_end_ = block_.size() - trailer;
  if (entries_end_ == 0 || restart_offset(0) != 0) {
    restart_count_ = 0;
    corrupt_ = true;
  }
}

std::uint32_t BlockCursor::restart_offset(std::uint32_t index) const {
  return core::load_be<std::uint32_t>(block_.data() + entries_end_ + std::size_t{index} * 4);
}

bool BlockCursor::fail() {
  corrupt_ = true;
  valid_ = false;
  return false;
}

/// Three lengths, a suffix, a tag and a value; false when they do not fit what the block has.
bool BlockCursor::parse(std::size_t offset, Entry& entry) const {
  const std::byte* at = block_.data() + offset;
  const std::byte* const end = block_.data() + entries_end_;
  std::uint64_t unshared = 0;
  std::uint64_t value_bytes = 0;
  for (std::uint64_t* length : {&entry.shared, &unshared, &value_bytes}) {
    // Nearly all of them have one byte.
    if (at < end && std::to_integer<std::uint8_t>(*at) < 0x80) {
      *length = std::to_integer<std::uint8_t>(*at++);
      continue;
    }
    core::ByteReader reader({at, static_cast<std::size_t>(end - at)});
    *length = reader.varint();
    if (reader.failed()) return false;
    at += reader.consumed();
  }
  const auto left = static_cast<std::uint64_t>(end - at);
  if (entry.shared > kKeyBytesMax || unshared > kKeyBytesMax - entry.shared ||
      unshared + sizeof(std::uint64_t) > left ||
      value_bytes > left - unshared - sizeof(std::uint64_t)) {
    return false;
  }
  entry.suffix = {at, unshared};
  entry.tag = core::load_be<std::uint64_t>(at + unshared);
  at += unshared + sizeof(std::uint64_t);
  entry.value = {at, value_bytes};
  entry.end = static_cast<std::size_t>(at - block_.data()) + value_bytes;
  return EntryTag::valid(entry.tag);
}

/// Reads the entry at next_offset_, which follows the current one if that is valid; false at the
/// end, or when it is malformed.
bool BlockCursor::read_entry() {
  const bool follows = std::exchange(valid_, false);
  value_ = {};
  if (next_offset_ >= entries_end_) return false;
  Entry entry;
  if (!parse(next_offset_, entry) || entry.shared > key_.size()) return fail();
  const EntryTag tag = EntryTag::unpack(entry.tag);
  // What is shared is equal, so the rest decides the order.
  if (follows && !is_after(entry.suffix, tag, key_.view().subspan(entry.shared), tag_))
    return fail();
  key_.replace_from(entry.shared, entry.suffix);
  tag_ = tag;
  value_ = entry.value;
  next_offset_ = entry.end;
  valid_ = true;
  return true;
}

void BlockCursor::seek_to_restart(std::uint32_t index) {
  valid_ = false;
  if (corrupt_) return;
  next_offset_ = restart_offset(index);
  key_.clear();
  if (next_offset_ >= entries_end_) {
    fail();
    return;
  }
  read_entry();
}

void BlockCursor::seek_to_first() {
  if (restart_count_ == 0) return;
  seek_to_restart(0);
}

void BlockCursor::seek_to_last() {
  if (restart_count_ == 0) return;
  seek_to_restart(restart_count_ - 1);
  while (valid_ && next_offset_ < entries_end_) read_entry();
}

/// Positions at the first entry of the last run that begins before the target, or of the first run.
/// What comes before the target ends in that run.
std::uint32_t BlockCursor::find_run(const SeekTarget& target) {
  valid_ = false;
  if (restart_count_ == 0) return 0;
  prefetch_restarts();
  std::uint32_t low = 0;
  std::uint32_t high = restart_count_;
  while (high - low > 1) {
    const std::uint32_t middle = low + (high - low) / 2;
    const std::size_t offset = restart_offset(middle);
    Entry entry;
    // Nothing is shared there, so the whole key stands in one piece.
    if (offset >= entries_end_ || !parse(offset, entry) || entry.shared > 0) {
      fail();
      return 0;
    }
    (target.is_before(entry.suffix) ? low : high) = middle;
  }
  prefetch_run(low);
  seek_to_restart(low);
  return low;
}

/// A search of a block that is not in the processor's caches would wait for memory at each step.
/// Asked for at once it comes at once.
void BlockCursor::prefetch_restarts() const {
  if (restart_count_ > kRestartsPrefetchedMax) return;
  for (std::uint32_t i = 0; i < restart_count_; ++i)
    __builtin_prefetch(block_.data() + std::min<std::size_t>(restart_offset(i), entries_end_));
}

void BlockCursor::prefetch_run(std::uint32_t index) const {
  const std::size_t begin = restart_offset(index);
  const std::size_t end = std::min(entries_end_, begin + kRunPrefetchedBytes);
  for (std::size_t at = begin + kCacheLineBytes; at < end; at += kCacheLineBytes)
    __builtin_prefetch(block_.data() + at);
}

void BlockCursor::seek(const SeekTarget& target) {
  find_run(target);
  while (valid_ && target.is_before(key_.view())) read_entry();
}

void BlockCursor::seek_to_last_before(const SeekTarget& target) {
  const std::uint32_t run = find_run(target);
  if (!valid_ || !target.is_before(key_.view())) {
    valid_ = false;
    return;
  }
  // Entries have no way back: count how many of the run are before the target, then walk to the
  // last of them.
  std::uint32_t steps = 0;
  while (read_entry() && target.is_before(key_.view())) ++steps;
  if (corrupt_) return;
  seek_to_restart(run);
  for (; steps > 0; --steps) read_entry();
}

void BlockCursor::next() { read_entry(); }

}  // namespace sentinel::lsm
