#include "lsm/block.h"

#include <doctest/doctest.h>

#include "test/support/lsm_entries.h"

namespace sentinel::lsm {
namespace {

using core::as_bytes;
using core::as_text;
using core::Bytes;
using test::LsmEntries;
using test::LsmEntry;

Bytes block_of(const LsmEntries& entries) {
  BlockBuilder builder;
  for (const LsmEntry& entry : entries) {
    builder.add(as_bytes(entry.key), entry.tag(), as_bytes(entry.value));
  }
  return Bytes::copy(builder.finish());
}

LsmEntry entry_at(const BlockCursor& cursor) {
  return {.key = std::string(as_text(cursor.key())),
          .sequence = cursor.tag().sequence.value(),
          .kind = cursor.tag().kind,
          .value = std::string(as_text(cursor.value()))};
}

LsmEntries rest_of(BlockCursor& cursor) {
  LsmEntries found;
  for (; cursor.valid(); cursor.next()) found.push_back(entry_at(cursor));
  return found;
}

/// A block written by hand: entries as `raw` has them, restarts as given.
Bytes raw_block(const core::ByteWriter& raw, const std::vector<std::uint32_t>& restarts) {
  core::ByteWriter out;
  out.bytes(raw.view());
  for (const std::uint32_t restart : restarts) out.u32(restart);
  out.u32(static_cast<std::uint32_t>(restarts.size()));
  return out.to_bytes();
}

void raw_entry(core::ByteWriter& out, std::uint64_t shared, std::string_view suffix,
               std::uint64_t tag) {
  out.varint(shared);
  out.varint(suffix.size());
  out.varint(1);
  out.text(suffix);
  out.u64(tag);
  out.text("v");
}

/// Sequence `sequence`, a value.
constexpr std::uint64_t raw_tag(std::uint64_t sequence) { return (sequence << 8) | 1; }

bool walk_is_corrupt(const Bytes& block) {
  BlockCursor cursor(block);
  cursor.seek_to_first();
  while (cursor.valid()) cursor.next();
  return cursor.corrupt();
}

void check_searches(BlockCursor& cursor, const LsmEntries& entries, const std::string& key) {
  const KeyTarget target(as_bytes(key));
  const auto first =
      std::ranges::find_if(entries, [&](const LsmEntry& entry) { return entry.key >= key; });
  cursor.seek(target);
  REQUIRE(cursor.valid() == (first != entries.end()));
  if (cursor.valid()) CHECK(entry_at(cursor) == *first);
  cursor.seek_to_last_before(target);
  REQUIRE(cursor.valid() == (first != entries.begin()));
  if (cursor.valid()) CHECK(entry_at(cursor) == *(first - 1));
}

}  // namespace

TEST_CASE("a block gives back random entries by walk and by search") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    core::Random random(seed);
    const LsmEntries entries = test::random_entries(random, 1 + random.below(90), 1, 50);
    BlockCursor cursor(block_of(entries));
    cursor.seek_to_first();
    CHECK(rest_of(cursor) == entries);
    cursor.seek_to_last();
    REQUIRE(cursor.valid());
    CHECK(entry_at(cursor) == entries.back());
    for (const LsmEntry& entry : entries) {
      check_searches(cursor, entries, entry.key);
      check_searches(cursor, entries, entry.key + "!");
    }
    check_searches(cursor, entries, "");
    check_searches(cursor, entries, "z");
    CHECK_FALSE(cursor.corrupt());
  }
}

TEST_CASE("a search in a block ends at the newest version, one backwards at the oldest") {
  LsmEntries entries;
  for (std::uint64_t sequence = 100; sequence > 60; --sequence) {
    entries.push_back({.key = "b", .sequence = sequence, .value = std::to_string(sequence)});
  }
  BlockCursor cursor(block_of(entries));
  cursor.seek(KeyTarget(as_bytes("b")));
  REQUIRE(cursor.valid());
  CHECK(as_text(cursor.value()) == "100");
  cursor.seek_to_last_before(KeyTarget(as_bytes("c")));
  REQUIRE(cursor.valid());
  CHECK(as_text(cursor.value()) == "61");
}

TEST_CASE("a search in a block takes any predicate that is monotone over the keys") {
  // Keys of two numbers that both ascend, as those of a log entry do.
  LsmEntries entries;
  for (std::uint32_t i = 0; i < 100; ++i) {
    core::ByteWriter key;
    key.u32(i);
    key.u32(i * 7);
    entries.push_back({.key = std::string(as_text(key.view())), .sequence = i + 1, .value = ""});
  }
  BlockCursor cursor(block_of(entries));
  for (std::uint32_t wanted = 0; wanted < 700; ++wanted) {
    SeekTarget target;
    target.context = &wanted;
    target.before = [](const void* context, core::ByteSpan key) {
      return core::load_be<std::uint32_t>(key.data() + 4) <
             *static_cast<const std::uint32_t*>(context);
    };
    cursor.seek(target);
    const std::uint32_t expected = (wanted + 6) / 7;
    REQUIRE(cursor.valid() == (expected < 100));
    if (cursor.valid()) CHECK(core::load_be<std::uint32_t>(cursor.key().data()) == expected);
  }
}

TEST_CASE("a value is a slice of its block, also a huge one") {
  const std::string huge(std::size_t{3} << 20, 'h');
  const Bytes block = block_of({{.key = "a", .sequence = 1, .value = huge}});
  BlockCursor cursor(block);
  cursor.seek_to_first();
  REQUIRE(cursor.valid());
  const Bytes value = cursor.value_bytes();
  CHECK(value.text() == huge);
  CHECK(value.data() > block.data());
  CHECK(value.data() < block.data() + block.size());
}

TEST_CASE("keys share prefixes within a block") {
  LsmEntries entries;
  for (std::uint64_t i = 100; i < 200; ++i) {
    entries.push_back(
        {.key = std::string(100, 'p') + std::to_string(i), .sequence = i, .value = ""});
  }
  // 93 of 100 entries hold a part of their key only.
  CHECK(block_of(entries).size() < 2500);
}

TEST_CASE("a malformed block makes its cursor corrupt") {
  core::ByteWriter good;
  raw_entry(good, 0, "a", raw_tag(9));
  raw_entry(good, 1, "b", raw_tag(8));
  REQUIRE_FALSE(walk_is_corrupt(raw_block(good, {0})));

  SUBCASE("too short") { CHECK(walk_is_corrupt(Bytes::copy("abc"))); }
  SUBCASE("no restart") { CHECK(walk_is_corrupt(raw_block(good, {}))); }
  SUBCASE("no entry") { CHECK(walk_is_corrupt(raw_block(core::ByteWriter(), {0}))); }
  SUBCASE("more restarts than there is room") {
    CHECK(walk_is_corrupt(Bytes::copy("\xff\xff\xff\xff")));
  }
  SUBCASE("the first restart is not the first entry") {
    CHECK(walk_is_corrupt(raw_block(good, {13})));
  }
  SUBCASE("a restart behind the entries") {
    BlockCursor cursor(raw_block(good, {0, 5000}));
    cursor.seek(KeyTarget(as_bytes("z")));
    CHECK(cursor.corrupt());
    CHECK_FALSE(cursor.valid());
  }
  SUBCASE("a key shares more than there is") {
    raw_entry(good, 3, "c", raw_tag(7));
    CHECK(walk_is_corrupt(raw_block(good, {0})));
  }
  SUBCASE("an unknown kind of entry") {
    raw_entry(good, 0, "c", (7 << 8) | 2);
    CHECK(walk_is_corrupt(raw_block(good, {0})));
  }
  SUBCASE("keys out of order") {
    raw_entry(good, 0, "aa", raw_tag(7));
    CHECK(walk_is_corrupt(raw_block(good, {0})));
  }
  SUBCASE("versions out of order") {
    raw_entry(good, 2, "", raw_tag(9));
    CHECK(walk_is_corrupt(raw_block(good, {0})));
  }
  SUBCASE("a value longer than the block") {
    good.varint(0);
    good.varint(1);
    good.varint(std::uint64_t{1} << 60);
    good.text("c");
    good.u64(raw_tag(7));
    CHECK(walk_is_corrupt(raw_block(good, {0})));
  }
  SUBCASE("lengths whose sum overflows") {
    good.varint(1);
    good.varint(UINT64_MAX);
    good.varint(0);
    good.u64(raw_tag(7));
    CHECK(walk_is_corrupt(raw_block(good, {0})));
  }
}

TEST_CASE("a block cut at any length is corrupt or yields sorted entries") {
  core::Random random(7);
  const Bytes block = block_of(test::random_entries(random, 40, 1, 20));
  for (std::size_t length = 0; length < block.size(); ++length) {
    CAPTURE(length);
    BlockCursor cursor(Bytes::copy(block.view().first(length)));
    cursor.seek_to_first();
    const LsmEntries found = rest_of(cursor);
    CHECK((cursor.corrupt() || std::is_sorted(found.begin(), found.end())));
  }
}

}  // namespace sentinel::lsm
