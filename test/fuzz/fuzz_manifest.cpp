/// Feeds damaged manifests to the reader. It refuses them, naming the file, or gives a file set
/// that fits together; reading changes nothing.
///
/// Input: mode (1 byte), then
///   mode even   a whole file
///   mode odd    edits of a good manifest: offset (4 bytes, modulo what is written), what to
///   combine
///               with the byte there (1 byte). With bit 1 of the mode the checksums of whole blocks
///               are then made right, so that what lies behind them is reached.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "lsm/manifest.h"
#include "test/support/log_blocks.h"
#include "test/support/memory_ring.h"
#include "test/support/run_task.h"

namespace sentinel {
namespace {

constexpr const char* kPath = "db/manifest-00000001.log";
const lsm::Manifest::Options kOptions{.directory = "db", .store_id = 7};

void require(bool condition) {
  if (!condition) std::abort();
}

lsm::VersionEdit flush(std::uint64_t file, std::uint64_t runs) {
  lsm::VersionEdit edit;
  edit.flushed_sequence = lsm::SequenceNumber(file * 10);
  edit.tables_added.push_back({.number = lsm::FileNumber(file), .size_bytes = 1 << 20});
  for (std::uint32_t i = 0; i < runs; ++i) {
    lsm::RunInfo run;
    run.id = {.file = lsm::FileNumber(file), .ordinal = i};
    run.smallest_key = "key-" + std::to_string(i) + "a";
    run.largest_key = "key-" + std::to_string(i) + "z";
    run.data_end = 4096 * (i + 1);
    run.entry_count = 5;
    edit.runs_added.push_back(std::move(run));
  }
  edit.wals_added.push_back({.number = lsm::FileNumber(file + 50), .size_bytes = 1 << 20});
  return edit;
}

core::Task<void> make(core::Shard* shard) {
  auto manifest = co_await lsm::Manifest::open(*shard, kOptions, true);
  require(manifest.has_value());
  const core::Status started = co_await (*manifest)->start();
  require(started.has_value());
  for (std::uint64_t file = 10; file < 14; ++file) {
    lsm::VersionEdit edit = flush(file, file - 9);
    if (file > 10) edit.runs_removed.push_back({.file = lsm::FileNumber(file - 1), .ordinal = 0});
    if (file > 11) edit.wals_removed.push_back(lsm::FileNumber(file + 48));
    if (file > 10) edit.wals_started.push_back(lsm::FileNumber(file + 49));
    const core::Status applied = co_await (*manifest)->apply(edit);
    require(applied.has_value());
  }
  co_await (*manifest)->close();
}

std::vector<std::byte> good_manifest() {
  test::MemoryRing ring;
  core::Shard shard(0, ring, 1);
  test::run_task(shard, make(&shard));
  std::vector<std::byte> file = ring.files.at(kPath);
  // A short file is read more often in a second. Its size stands in the header record.
  constexpr std::size_t kSizeAt =
      lsm::kLogTagBytes + lsm::kLogBlockHeaderBytes + lsm::kLogRecordHeaderBytes + 8 + 4 + 8;
  require(core::load_be<std::uint64_t>(file.data() + kSizeAt) == file.size());
  file.resize(std::size_t{8} * lsm::kLogBlockBytes);
  core::store_be(file.data() + kSizeAt, std::uint64_t{file.size()});
  test::make_block_checksums_right(file);
  return file;
}

void check_files(const lsm::FileSet& files) {
  std::map<lsm::FileNumber, std::uint32_t> runs;
  for (const auto& [id, run] : files.runs) {
    require(run->id == id && run->level < lsm::kLevels);
    ++runs[id.file];
  }
  for (const auto& [number, table] : files.tables) {
    require(table.info.number == number && table.runs == runs[number] && table.runs > 0);
  }
  require(runs.size() == files.tables.size());
}

core::Task<std::string> read(core::Shard* shard) {
  auto manifest = co_await lsm::Manifest::open(*shard, kOptions, false);
  if (!manifest) {
    const core::Error& error = manifest.error();
    require(error.code == core::Errc::corruption || error.code == core::Errc::newer_format ||
            error.code == core::Errc::unsupported);
    require(error.message.find(kPath) != std::string::npos);
    co_return error.message;
  }
  check_files((*manifest)->files());
  co_await (*manifest)->close();
  co_return "";
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;  // NOLINT(google-build-using-namespace)
  static const std::vector<std::byte> good = good_manifest();
  core::ByteReader input(std::as_bytes(std::span(data, size)));
  const std::uint8_t mode = input.u8();
  std::vector<std::byte> file = good;
  if ((mode & 1) == 0) {
    const core::ByteSpan whole = input.rest();
    file.assign(whole.begin(), whole.end());
  } else {
    while (input.remaining() >= 5) {
      const std::size_t at = input.u32() % file.size();
      file[at] ^= static_cast<std::byte>(input.u8());
    }
    if ((mode & 2) != 0) test::make_block_checksums_right(file);
  }
  test::MemoryRing ring;
  core::Shard shard(0, ring, 1);
  ring.files[kPath] = file;
  const std::string first = test::run_task(shard, read(&shard));
  require(ring.files.size() == 1 && ring.files.at(kPath) == file);
  require(test::run_task(shard, read(&shard)) == first);
  require(ring.open_handles() == 0);
  return 0;
}
