#include "lsm/merging_cursor.h"

#include <doctest/doctest.h>

#include <map>

#include "test/support/lsm_entries.h"

namespace sentinel::lsm {
namespace {

using core::as_bytes;
using core::as_text;
using core::Bytes;
using test::LsmEntries;
using test::LsmEntry;
using test::run_task;

constexpr std::uint64_t kStore = 77;
using Model = std::map<std::string, std::string>;

struct Sources {
  test::MemoryRing ring;
  core::Shard shard{0, ring, 1};
  LsmEntries entries;  // Of all sources.
  std::vector<std::shared_ptr<const Memtable>> memtables;
  std::unique_ptr<Manifest> manifest;
  std::unique_ptr<VersionSet> versions;

  Sources() {
    auto opened =
        run_task(shard, Manifest::open(shard, {.directory = "db", .store_id = kStore}, true));
    REQUIRE(opened.has_value());
    manifest = std::move(*opened);
    REQUIRE(run_task(shard, manifest->start()).has_value());
    versions = std::make_unique<VersionSet>(
        shard, TableFile::Options{.directory = "db", .store_id = kStore, .cache = nullptr},
        *manifest);
    REQUIRE(run_task(shard, versions->open()).has_value());
  }
  ~Sources() {
    run_task(shard, versions->close());
    run_task(shard, manifest->close());
  }
  void add_memtable(LsmEntries source) {
    entries.insert(entries.end(), source.begin(), source.end());
    std::ranges::sort(source, {}, &LsmEntry::sequence);
    auto memtable = std::make_shared<Memtable>(1);
    for (const LsmEntry& entry : source) {
      memtable->add(entry.tag(), as_bytes(entry.key), Bytes::copy(entry.value));
    }
    memtables.push_back(std::move(memtable));
  }
  /// The runs go to the deepest level where they overlap nothing on it or below, as older ones of
  /// one key have to be deeper than newer ones.
  FileNumber add_table(const LsmEntries& source) {
    entries.insert(entries.end(), source.begin(), source.end());
    const FileNumber number = manifest->new_file_number();
    auto made = run_task(shard, test::write_table_task(shard, number, kStore, source, 2));
    REQUIRE(made.has_value());
    VersionEdit edit;
    edit.tables_added = {made->info};
    edit.runs_added = made->runs;
    for (RunInfo& run : edit.runs_added) run.level = level_for(run);
    REQUIRE(run_task(shard, versions->apply(std::move(edit))).has_value());
    return number;
  }
  [[nodiscard]] std::uint8_t level_for(const RunInfo& run) const {
    std::uint8_t level = 0;
    while (level < kBottomLevel && !versions->current()->overlaps(level, as_bytes(run.smallest_key),
                                                                  as_bytes(run.largest_key))) {
      ++level;
    }
    const bool free = !versions->current()->overlaps(level, as_bytes(run.smallest_key),
                                                     as_bytes(run.largest_key));
    return free || level == 0 ? level : static_cast<std::uint8_t>(level - 1);
  }
  [[nodiscard]] MergingCursor cursor(std::uint64_t snapshot, std::string_view end = {},
                                     std::size_t read_ahead_bytes = 0) {
    return MergingCursor(shard, {.memtables = memtables, .version = versions->current()},
                         {.snapshot = SequenceNumber(snapshot),
                          .begin = {},
                          .end = Bytes::copy(end),
                          .read = {.read_ahead_bytes = read_ahead_bytes}});
  }
  /// What is visible at `snapshot`.
  [[nodiscard]] Model model(std::uint64_t snapshot) const {
    LsmEntries sorted = entries;
    std::ranges::sort(sorted, {}, &LsmEntry::sequence);
    Model visible;
    for (const LsmEntry& entry : sorted) {
      if (entry.sequence > snapshot) break;
      visible.erase(entry.key);
      if (entry.kind == EntryKind::value) visible[entry.key] = entry.value;
    }
    return visible;
  }
  bool seek(MergingCursor& cursor, std::string_view key) {
    return run_task(shard, cursor.seek(KeyTarget(as_bytes(key)))).has_value();
  }
  bool seek_to_last_before(MergingCursor& cursor, std::string_view key) {
    const KeyTarget target(as_bytes(key));
    return run_task(shard, cursor.seek_to_last_before(target)).has_value();
  }
};

core::Task<core::Result<Model>> read_rest(MergingCursor& cursor) {
  Model found;
  std::string last;
  while (cursor.valid()) {
    const std::string key(as_text(cursor.key()));
    CHECK((found.empty() || key > last));
    CHECK(core::equal(cursor.value(), cursor.value_bytes()));
    found[key] = as_text(cursor.value());
    last = key;
    SENTINEL_CO_CHECK(co_await cursor.next());
  }
  co_return found;
}

void check_search(Sources& sources, MergingCursor& cursor, const Model& model,
                  const std::string& key, const std::string& end) {
  const auto stop = end.empty() ? model.end() : model.lower_bound(end);
  const bool beyond = !end.empty() && key > end;
  const auto first = beyond ? stop : model.lower_bound(key);
  const KeyTarget target(as_bytes(key));
  REQUIRE(run_task(sources.shard, cursor.seek(target)).has_value());
  CHECK(run_task(sources.shard, read_rest(cursor)) == Model(first, stop));
  REQUIRE(run_task(sources.shard, cursor.seek_to_last_before(target)).has_value());
  REQUIRE(cursor.valid() == (first != model.begin()));
  if (cursor.valid()) {
    CHECK(run_task(sources.shard, read_rest(cursor)) == Model(std::prev(first), stop));
  }
}

void fill(Sources& sources, core::Random& random) {
  const std::size_t count = random.between(1, 6);
  std::uint64_t sequence = 1;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t value_bytes_max = random.chance(0.3) ? 4000 : 20;
    const LsmEntries source =
        test::random_entries(random, random.between(1, 60), sequence, value_bytes_max);
    sequence += source.size();
    if (random.chance(0.4)) {
      sources.add_memtable(source);
    } else {
      sources.add_table(source);
    }
  }
  // Newest first, as Db has them.
  std::ranges::reverse(sources.memtables);
}

}  // namespace

TEST_CASE("a merging cursor shows what a map shows, at each snapshot") {
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    CAPTURE(seed);
    core::Random random(seed);
    Sources sources;
    fill(sources, random);
    for (int round = 0; round < 3; ++round) {
      const std::uint64_t snapshot = random.below(sources.entries.size() + 2);
      const std::string end = random.chance(0.5) ? "k" + std::to_string(random.below(60)) : "";
      CAPTURE(snapshot);
      CAPTURE(end);
      const Model model = sources.model(snapshot);
      MergingCursor cursor = sources.cursor(snapshot, end, random.chance(0.5) ? 5000 : 0);
      for (int search = 0; search < 8; ++search) {
        const std::string key = "k" + std::to_string(random.below(60));
        CAPTURE(key);
        check_search(sources, cursor, model, key, end);
      }
      check_search(sources, cursor, model, "", end);
      check_search(sources, cursor, model, "z", end);
    }
  }
}

TEST_CASE("a tombstone hides older versions in older sources, and only at its snapshot") {
  Sources sources;
  sources.add_memtable({{.key = "a", .sequence = 3, .kind = EntryKind::tombstone, .value = ""}});
  sources.add_table({{.key = "a", .sequence = 2, .value = "two"}});
  sources.add_table(
      {{.key = "a", .sequence = 1, .value = "one"}, {.key = "b", .sequence = 4, .value = "four"}});
  MergingCursor now = sources.cursor(4);
  REQUIRE(sources.seek(now, ""));
  REQUIRE(now.valid());
  CHECK(as_text(now.key()) == "b");
  MergingCursor before = sources.cursor(2);
  REQUIRE(sources.seek(before, ""));
  REQUIRE(before.valid());
  CHECK(as_text(before.value()) == "two");
  MergingCursor empty = sources.cursor(0);
  REQUIRE(sources.seek(empty, ""));
  CHECK_FALSE(empty.valid());
}

TEST_CASE("a search takes any predicate that is monotone over the keys") {
  Sources sources;
  LsmEntries even;
  LsmEntries odd;
  for (std::uint32_t i = 0; i < 200; ++i) {
    core::ByteWriter key;
    key.u32(i);
    key.u32(i * 3);
    (i % 2 == 0 ? even : odd)
        .push_back({.key = std::string(as_text(key.view())), .sequence = i + 1, .value = "v"});
  }
  sources.add_memtable(even);
  sources.add_table(odd);
  MergingCursor cursor = sources.cursor(1000);
  for (std::uint32_t wanted = 0; wanted <= 597; ++wanted) {
    SeekTarget target;
    target.context = &wanted;
    target.before = [](const void* context, core::ByteSpan key) {
      return core::load_be<std::uint32_t>(key.data() + 4) <
             *static_cast<const std::uint32_t*>(context);
    };
    REQUIRE(run_task(sources.shard, cursor.seek(target)).has_value());
    REQUIRE(cursor.valid());
    CHECK(core::load_be<std::uint32_t>(cursor.key().data()) == (wanted + 2) / 3);
  }
}

TEST_CASE("a deleted tail is passed backwards without reading its blocks again and again") {
  Sources sources;
  LsmEntries values;
  LsmEntries tombstones;
  for (std::uint64_t i = 0; i < 3000; ++i) {
    const std::string key = std::to_string(10000 + i);
    values.push_back({.key = key, .sequence = i + 1, .value = std::string(60, 'v')});
    if (i == 0) continue;
    tombstones.push_back(
        {.key = key, .sequence = 5000 + i, .kind = EntryKind::tombstone, .value = ""});
  }
  sources.add_table(values);
  sources.add_memtable(tombstones);
  MergingCursor cursor = sources.cursor(10000);
  sources.ring.log.clear();
  REQUIRE(sources.seek_to_last_before(cursor, "z"));
  REQUIRE(cursor.valid());
  CHECK(as_text(cursor.key()) == "10000");
  // The table has eight blocks in three runs.
  CHECK(sources.ring.count(core::OpCode::read) <= 40);
}

TEST_CASE("a bounded cursor reads nothing of tables behind its end") {
  Sources sources;
  sources.add_table({{.key = "a1", .sequence = 1, .value = "v"}});
  sources.add_table({{.key = "b1", .sequence = 2, .value = "v"}});
  MergingCursor cursor = sources.cursor(10, "b");
  sources.ring.log.clear();
  REQUIRE(sources.seek(cursor, ""));
  CHECK(run_task(sources.shard, read_rest(cursor)) == Model{{"a1", "v"}});
  CHECK(sources.ring.count(core::OpCode::read) == 2);  // An index and a block.
}

TEST_CASE("a value outlives its cursor and its sources") {
  Bytes small;
  Bytes stored;
  {
    Sources sources;
    sources.add_memtable({{.key = "a", .sequence = 1, .value = "small"}});
    sources.add_table({{.key = "b", .sequence = 2, .value = "stored"}});
    MergingCursor cursor = sources.cursor(10);
    REQUIRE(sources.seek(cursor, "a"));
    small = cursor.value_bytes();
    REQUIRE(sources.seek(cursor, "b"));
    stored = cursor.value_bytes();
  }
  CHECK(small.text() == "small");
  CHECK(stored.text() == "stored");
}

TEST_CASE("damage in a table is an error of the merging cursor, which can search again") {
  Sources sources;
  const FileNumber number = sources.add_table({{.key = "a", .sequence = 1, .value = "value"}});
  auto& file = sources.ring.files.at("db/" + table_file_name(number));
  const std::size_t at = as_text(file).find("value");
  file[at] ^= std::byte{1};
  MergingCursor cursor = sources.cursor(10);
  const auto sought = run_task(sources.shard, cursor.seek(KeyTarget(as_bytes("a"))));
  REQUIRE_FALSE(sought.has_value());
  CHECK(sought.error().code == core::Errc::corruption);
  CHECK_FALSE(cursor.valid());
  file[at] ^= std::byte{1};
  REQUIRE(sources.seek(cursor, "a"));
  CHECK(cursor.valid());
}

}  // namespace sentinel::lsm
