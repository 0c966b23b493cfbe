/// Feeds bytes to the cursor over one block of an SSTable, as if their checksum had held: whatever
/// it yields is sorted and inside of the block.
///
/// Input: length of a key (1 byte), the key to search, block.

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "lsm/block.h"

namespace sentinel {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check_entry(const lsm::BlockCursor& cursor, const core::Bytes& block) {
  require(!cursor.corrupt());
  require(cursor.key().size() <= lsm::kKeyBytesMax);
  require(lsm::EntryTag::valid(cursor.tag().packed()));
  const core::ByteSpan value = cursor.value();
  if (value.empty()) return;
  require(value.data() >= block.data());
  require(value.data() + value.size() <= block.data() + block.size());
}

void walk(lsm::BlockCursor& cursor, const core::Bytes& block) {
  core::Bytes last_key;
  lsm::EntryTag last_tag;
  for (bool first = true; cursor.valid(); first = false) {
    check_entry(cursor, block);
    require(first || lsm::is_after(cursor.key(), cursor.tag(), last_key, last_tag));
    last_key = core::Bytes::copy(cursor.key());
    last_tag = cursor.tag();
    cursor.next();
  }
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;
  core::ByteReader input(std::as_bytes(std::span(data, size)));
  const std::uint8_t key_length = input.u8();
  const core::ByteSpan key = input.take(key_length);
  if (input.failed()) return 0;
  const core::Bytes block = core::Bytes::copy(input.rest());
  const lsm::KeyTarget target(key);
  lsm::BlockCursor cursor(block);
  cursor.seek_to_first();
  walk(cursor, block);
  cursor = lsm::BlockCursor(block);
  cursor.seek(target);
  require(!cursor.valid() || !target.is_before(cursor.key()));
  walk(cursor, block);
  cursor = lsm::BlockCursor(block);
  cursor.seek_to_last_before(target);
  require(!cursor.valid() || target.is_before(cursor.key()));
  walk(cursor, block);
  cursor = lsm::BlockCursor(block);
  cursor.seek_to_last();
  walk(cursor, block);
  return 0;
}
