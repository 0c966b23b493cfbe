// The memtable against an ordered map: every order of insertion, keys of every length, and several
// ascending runs that interleave, which is what the remembered places of the skip list are for.

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "core/random.h"
#include "lsm/memtable.h"

namespace sentinel::lsm {
namespace {

/// Orders entries as the memtable must: by key, of one key the newest first.
using EntryOrder = std::pair<std::string, std::uint64_t>;
using Model = std::map<EntryOrder, std::string>;

struct Both {
  Memtable memtable{7};
  Model model;
  std::uint64_t sequence = 0;

  void put(const std::string& key, const std::string& value) {
    ++sequence;
    memtable.add({.sequence = SequenceNumber(sequence), .kind = EntryKind::value},
                 core::as_bytes(key), core::Bytes::copy(value));
    model[{key, kSequenceMax.value() - sequence}] = value;
  }
};

void check_walk(const Both& both) {
  Memtable::Cursor cursor(both.memtable);
  cursor.seek_to_first();
  for (const auto& [order, value] : both.model) {
    REQUIRE(cursor.valid());
    REQUIRE(core::as_text(cursor.key()) == order.first);
    REQUIRE(cursor.tag().sequence.value() == kSequenceMax.value() - order.second);
    REQUIRE(core::as_text(cursor.value()) == value);
    cursor.next();
  }
  CHECK(!cursor.valid());
}

/// Every way to look a key up, at the present and at an earlier sequence.
void check_lookups(const Both& both, const std::string& key, std::uint64_t sequence) {
  CAPTURE(key);
  Memtable::Cursor cursor(both.memtable);
  cursor.seek(core::as_bytes(key), SequenceNumber(sequence));
  const auto expected = both.model.lower_bound({key, kSequenceMax.value() - sequence});
  REQUIRE(cursor.valid() == (expected != both.model.end()));
  if (cursor.valid()) {
    CHECK(core::as_text(cursor.key()) == expected->first.first);
    CHECK(core::as_text(cursor.value()) == expected->second);
  }
  const core::ByteSpan bytes = core::as_bytes(key);
  const KeyTarget target(bytes);
  const auto first = both.model.lower_bound({key, 0});
  cursor.seek(target);
  REQUIRE(cursor.valid() == (first != both.model.end()));
  if (cursor.valid()) CHECK(core::as_text(cursor.value()) == first->second);
  cursor.seek_to_last_before(target);
  REQUIRE(cursor.valid() == (first != both.model.begin()));
  if (cursor.valid()) CHECK(core::as_text(cursor.value()) == std::prev(first)->second);
}

std::string random_key(core::Random& random) {
  // Few letters and all lengths up to beyond the prefix in the links: many keys share one, some are
  // the beginning of another, and a zero byte must not be taken for padding.
  std::string key(random.below(24), '\0');
  for (char& letter : key) letter = static_cast<char>(random.below(3));
  return key;
}

TEST_CASE("random keys are found and walked as in an ordered map") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    core::Random random(seed);
    Both both;
    for (int i = 0; i < 2'000; ++i) both.put(random_key(random), std::to_string(i));
    check_walk(both);
    for (int i = 0; i < 500; ++i)
      check_lookups(both, random_key(random), 1 + random.below(both.sequence));
  }
}

TEST_CASE("ascending runs that interleave, and go back at times, keep their order") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    core::Random random(seed);
    Both both;
    // More runs than remembered places, so that they are also taken from each other.
    std::vector<std::uint64_t> next(200, 0);
    for (int i = 0; i < 4'000; ++i) {
      const std::uint64_t run = random.below(next.size());
      std::string key(16, '\0');
      core::store_be(reinterpret_cast<std::byte*>(key.data()), run);
      if (random.below(50) == 0) next[run] -= std::min<std::uint64_t>(next[run], random.below(10));
      core::store_be(reinterpret_cast<std::byte*>(key.data()) + 8, next[run]++);
      both.put(key, std::to_string(i));
    }
    check_walk(both);
    for (const auto& [order, value] : both.model)
      check_lookups(both, order.first, kSequenceMax.value() - order.second);
  }
}

TEST_CASE("descending keys are put in order") {
  Both both;
  for (int i = 3'000; i > 0; --i) {
    std::string key(8, '\0');
    core::store_be(reinterpret_cast<std::byte*>(key.data()), static_cast<std::uint64_t>(i));
    both.put(key, std::to_string(i));
  }
  check_walk(both);
}

TEST_CASE("small values are copied, large ones shared") {
  Memtable memtable(1);
  const core::Bytes small = core::Bytes::copy(std::string(100, 's'));
  const core::Bytes large = core::Bytes::copy(std::string(100'000, 'l'));
  memtable.add({.sequence = SequenceNumber(1)}, core::as_bytes("a"), small);
  memtable.add({.sequence = SequenceNumber(2)}, core::as_bytes("b"), large);
  Memtable::Cursor cursor(memtable);
  cursor.seek_to_first();
  CHECK(cursor.value().data() != small.data());
  CHECK(core::equal(cursor.value_bytes(), small));
  cursor.next();
  CHECK(cursor.value_bytes().data() == large.data());
  CHECK(memtable.entry_count() == 2);
  CHECK(memtable.memory_bytes() >= large.size());
}

}  // namespace
}  // namespace sentinel::lsm
