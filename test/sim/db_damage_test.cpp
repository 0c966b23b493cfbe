/// Rot: flipped bytes, cut, missing and foreign files. A store says which file is damaged, or
/// nothing is missing from it; it never goes on with less than it had.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "core/codec.h"
#include "lsm/block_log.h"
#include "test/support/budget.h"
#include "test/support/store_damage.h"

namespace sentinel {

using test::Contents;
using test::DiskImage;
using test::Recovered;
using test::Script;

namespace {

/// Either all is there, or the error names a file of the store.
void check_honest(const Recovered& recovered, const Contents& expected) {
  if (!recovered.error.has_value()) {
    CHECK(recovered.contents == expected);
    return;
  }
  CHECK_MESSAGE(recovered.error->find("/store/") != std::string::npos, *recovered.error);
}

/// Where a log ends.
struct LogEnd {
  std::uint32_t generation = 0;
  std::uint32_t write_number = 0;
  std::uint32_t block = 0;
};
LogEnd end_of(const std::string& log) {
  const core::ByteSpan bytes = core::as_bytes(log);
  LogEnd end{.generation = core::load_be<std::uint32_t>(bytes.data())};
  for (; (end.block + 1) * lsm::kLogBlockBytes <= bytes.size(); ++end.block) {
    lsm::BlockHeader header;
    const auto block = bytes.subspan(end.block * lsm::kLogBlockBytes, lsm::kLogBlockBytes);
    if (lsm::classify_block(block, end.generation, end.block, header) != lsm::BlockState::valid)
      break;
    end.write_number = header.write_number;
  }
  return end;
}

/// The log with one more write of three blocks, of which the first one has decayed and the second
/// one is missing.
std::optional<std::string> with_rotten_write(std::string log) {
  constexpr std::size_t kBlocks = 3;
  const LogEnd end = end_of(log);
  const std::size_t at = end.block * lsm::kLogBlockBytes;
  if (end.write_number == 0 || at + kBlocks * lsm::kLogBlockBytes > log.size()) return std::nullopt;
  std::vector<std::byte> memory(kBlocks * lsm::kLogBlockBytes);
  lsm::BlockEncoder encoder(memory);
  encoder.append(std::vector(kBlocks * lsm::kLogBlockPayloadBytes, std::byte{'x'}));
  encoder.finish(end.generation, end.write_number + 1, end.block);
  memory[1000] ^= std::byte{1};
  std::fill_n(memory.begin() + lsm::kLogBlockBytes, lsm::kLogBlockBytes, std::byte{0});
  log.replace(at, memory.size(), core::as_text(memory));
  return log;
}

}  // namespace

TEST_CASE("a flipped bit anywhere in the store is harmless or named, never a silent loss") {
  const Script script{.variant = 1, .batches = 30};
  const DiskImage disk = test::written(script);
  const Contents expected = test::contents_after(script, script.batches);
  REQUIRE(test::recover(disk, false).contents == expected);
  DiskImage unchanged;
  REQUIRE(test::find_problems(disk, unchanged).empty());
  core::Random random(7);
  std::uint64_t named = 0;
  std::uint64_t tried = 0;
  std::uint64_t in_tables = 0;
  std::uint64_t unused = 0;
  for (const std::string& path : test::files_of(disk)) {
    const std::string contents = *disk.get(path);
    const std::uint64_t step = contents.size() / test::budget(400, 20) + 1;
    for (std::uint64_t offset = random.below(step); offset < contents.size();
         offset += 1 + random.below(2 * step)) {
      CAPTURE(path);
      CAPTURE(offset);
      DiskImage damaged = disk;
      damaged.flip(path, offset, static_cast<std::uint8_t>(1u << random.below(8)));
      const Recovered recovered = test::recover(damaged, false);
      check_honest(recovered, expected);
      // The offline check finds what reading finds, and more: all of a table that is still used.
      // What dropped runs have left in a file is nobody's.
      DiskImage after;
      const bool found = !test::find_problems(damaged, after).empty();
      CHECK((found || !recovered.error.has_value()));
      in_tables += path.find("/table-") != std::string::npos ? 1 : 0;
      unused += !found && path.find("/table-") != std::string::npos ? 1 : 0;
      CHECK(after.hash() == damaged.hash());
      named += recovered.error.has_value() ? 1 : 0;
      ++tried;
    }
  }
  MESSAGE("flipped bits: " << tried << ", of them named as damage: " << named << ", in tables: "
                           << in_tables << ", of them in what dropped runs left: " << unused);
  CHECK(named > tried / 20);
  CHECK(unused < in_tables / 2);
}

TEST_CASE("rot in the last write is named, also where a part of the write is missing") {
  // It may have been synced and acknowledged: nothing behind it says so.
  const DiskImage disk = test::written(Script{.variant = 1, .batches = 30});
  int tried = 0;
  for (const std::string& path : test::files_of(disk)) {
    if (path.find("/wal-") == std::string::npos) continue;
    const auto log = with_rotten_write(*disk.get(path));
    if (!log.has_value()) continue;
    CAPTURE(path);
    DiskImage damaged = disk;
    damaged.put(path, *log);
    const Recovered recovered = test::recover(damaged, false);
    REQUIRE(recovered.error.has_value());
    CHECK_MESSAGE(recovered.error->find(path) != std::string::npos, *recovered.error);
    ++tried;
  }
  CHECK(tried > 0);
}

TEST_CASE("a file that is cut, missing or another's is named") {
  const Script script{.variant = 2, .batches = 30};
  const DiskImage disk = test::written(script);
  const Contents expected = test::contents_after(script, script.batches);
  const std::vector<std::string> paths = test::files_of(disk);
  for (const std::string& path : paths) {
    CAPTURE(path);
    const std::string contents = *disk.get(path);
    for (const std::size_t kept : {std::size_t{0}, contents.size() / 2, contents.size() - 1}) {
      CAPTURE(kept);
      DiskImage cut = disk;
      cut.put(path, contents.substr(0, kept));
      const Recovered recovered = test::recover(cut, false);
      check_honest(recovered, expected);
      // A log that waits to be used again may be cut without harm; nothing else may.
      const bool may_be_spare = path.find("/wal-") != std::string::npos;
      REQUIRE((may_be_spare || recovered.error.has_value()));
      if (recovered.error.has_value()) {
        CHECK(recovered.error->find(path) != std::string::npos);
        CHECK_MESSAGE(recovered.disk.hash() == cut.hash(), "a refused start changes nothing");
      }
    }
    for (const std::string& other : paths) {
      if (other == path || disk.get(other)->size() != contents.size()) continue;
      DiskImage swapped = disk;
      swapped.put(path, *disk.get(other));
      check_honest(test::recover(swapped, false), expected);
    }
  }
}

TEST_CASE("without its manifest a store does not start empty") {
  const DiskImage disk = test::written(Script{.variant = 0, .batches = 5});
  DiskImage bare = test::empty_disk();
  for (const std::string& path : test::files_of(disk)) {
    if (path.find("manifest") == std::string::npos) bare.put(path, *disk.get(path));
  }
  const Recovered recovered = test::recover(bare, false);
  REQUIRE(recovered.error.has_value());
  CHECK(recovered.error->find("manifest") != std::string::npos);
}

}  // namespace sentinel
