/// Feeds damaged tables to the reader of SSTables. It refuses them or yields sorted entries.
///
/// Input: mode (1 byte), then
///   mode even   a whole file
///   mode odd    length of a key (1 byte), the key to search, and edits of a good table: offset
///               (4 bytes, modulo the size), what to combine with the byte there (1 byte). With bit
///               1 of the mode they reach the index and what follows it only. All checksums are
///               then made right, so that what lies behind them is reached.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "core/codec.h"
#include "test/support/lsm_entries.h"

namespace sentinel {
namespace {

constexpr std::uint64_t kStore = 1;
constexpr lsm::FileNumber kNumber{1};
const lsm::TableFile::Options kOptions{.directory = "db", .store_id = kStore, .cache = nullptr};
constexpr const char* kPath = "db/table-00000001.sst";

void require(bool condition) {
  if (!condition) std::abort();
}

/// A good table of three blocks, one of them with several restarts.
struct Template {
  lsm::NewTable made;
  std::vector<std::byte> file;
  std::vector<lsm::TableHandle> parts;
  std::size_t footer = 0;
};

test::LsmEntries template_entries() {
  test::LsmEntries entries;
  for (std::uint64_t i = 0; i < 64; ++i) {
    entries.push_back({.key = "key" + std::to_string(1000 + i / 2),
                       .sequence = 200 - i,
                       .kind = i % 5 == 0 ? lsm::EntryKind::tombstone : lsm::EntryKind::value,
                       .value = i % 25 == 24 ? std::string(33000, 'v') : "v"});
  }
  return entries;
}

std::vector<lsm::TableHandle> parts_of(core::Shard& shard, const Template& good) {
  core::ByteReader reader(std::span(good.file).subspan(good.footer));
  reader.skip(8 + 4 + 8 + 8);
  core::FieldReader fields(reader);
  std::vector<lsm::TableHandle> parts(1);
  fields(parts[0]);
  parts.push_back(good.made.runs.front().index);
  auto table = test::run_task(shard, lsm::TableFile::open(shard, kOptions, good.made.info));
  require(table.has_value());
  const auto content = test::run_task(shard, (*table)->read_block(parts.back()));
  require(content.has_value());
  lsm::BlockCursor index(*content);
  for (index.seek_to_first(); index.valid(); index.next()) {
    const auto handle = core::decode_fields<lsm::TableHandle>(index.value());
    require(handle.has_value());
    parts.push_back(*handle);
  }
  test::run_task(shard, (*table)->close());
  return parts;
}

Template make_template() {
  test::MemoryRing ring;
  core::Shard shard(0, ring, 1);
  const test::LsmEntries entries = template_entries();
  auto made = test::run_task(shard, test::write_table_task(shard, kNumber, kStore, entries));
  require(made.has_value() && made->runs.size() == 1);
  Template good{.made = *made, .file = ring.files.at(kPath), .parts = {}, .footer = 0};
  good.footer = good.file.size() - lsm::kTableFooterBytes;
  good.parts = parts_of(shard, good);
  return good;
}

void make_checksums_right(const Template& good, std::vector<std::byte>& file) {
  for (const lsm::TableHandle& part : good.parts) {
    const auto content = std::span(file).subspan(part.offset, part.length);
    core::store_be(file.data() + part.offset + part.length,
                   lsm::table_part_crc(content, part.offset, kNumber));
  }
  const std::size_t covered = lsm::kTableFooterBytes - lsm::kTableCrcBytes;
  core::store_be(file.data() + good.footer + covered,
                 core::crc32c(std::span(file).subspan(good.footer, covered)));
}

/// Damaged; or, where a checksum holds over another format's number, of a later or earlier release.
void check_error(const core::Error& error) {
  require(error.code == core::Errc::corruption || error.code == core::Errc::newer_format ||
          error.code == core::Errc::unsupported);
  require(error.message.find(kPath) != std::string::npos);
}

core::Task<void> check_rest(lsm::RunCursor& cursor) {
  const auto found = co_await test::read_rest(cursor);
  if (!found) check_error(found.error());
  if (found) require(std::is_sorted(found->begin(), found->end()));
}

core::Task<void> check_run(const lsm::Run& run, core::ByteSpan key, lsm::ReadOptions options) {
  lsm::RunCursor cursor(run, options);
  const lsm::KeyTarget start{core::ByteSpan()};
  core::Status sought = co_await cursor.seek(start);
  if (!sought) check_error(sought.error());
  co_await check_rest(cursor);
  const lsm::KeyTarget target(key);
  sought = co_await cursor.seek(target);
  if (!sought) check_error(sought.error());
  require(!cursor.valid() || !target.is_before(cursor.key()));
  sought = co_await cursor.seek_to_last_before(target);
  if (!sought) check_error(sought.error());
  require(!cursor.valid() || target.is_before(cursor.key()));
  co_await check_rest(cursor);
}

core::Task<void> check_table(core::Shard& shard, lsm::NewTable made, core::Bytes key) {
  lsm::ReadAhead ahead(shard, {.bytes_max = std::size_t{4} << 20, .window_bytes = 40'000});
  lsm::TableFile::Options options = kOptions;
  options.read_ahead = &ahead;
  auto table = co_await lsm::TableFile::open(shard, options, made.info);
  if (!table) {
    check_error(table.error());
    co_await ahead.close();
    co_return;
  }
  const auto properties = co_await (*table)->read_properties();
  if (!properties) check_error(properties.error());
  for (const lsm::Run& run : test::runs_of(made, **table)) {
    co_await check_run(run, key, {});
    co_await check_run(run, key, {.read_ahead_bytes = 40'000});
    co_await check_run(run, key, {.read_ahead_bytes = 40'000, .keep_ahead = true});
  }
  co_await (*table)->close();
  co_await ahead.close();
}

void check_file(const lsm::NewTable& made, std::vector<std::byte> file, core::ByteSpan key) {
  test::MemoryRing ring;
  core::Shard shard(0, ring, 1);
  ring.files[kPath] = std::move(file);
  test::run_task(shard, check_table(shard, made, core::Bytes::copy(key)));
  require(ring.open_handles() == 0);
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;
  static const Template good = make_template();
  core::ByteReader input(std::as_bytes(std::span(data, size)));
  const std::uint8_t mode = input.u8();
  if (mode % 2 == 0) {
    const core::ByteSpan file = input.rest();
    lsm::NewTable made = good.made;
    made.info.size_bytes = file.size();
    check_file(made, std::vector<std::byte>(file.begin(), file.end()), core::as_bytes("key"));
    return 0;
  }
  const std::uint8_t key_length = input.u8();
  const core::ByteSpan key = input.take(key_length);
  std::vector<std::byte> file = good.file;
  const std::size_t first = (mode & 2) != 0 ? static_cast<std::size_t>(good.parts[1].offset) : 0;
  while (input.remaining() >= 5) {
    const std::size_t offset = first + input.u32() % (file.size() - first);
    file[offset] ^= static_cast<std::byte>(input.u8());
  }
  make_checksums_right(good, file);
  check_file(good.made, std::move(file), key);
  return 0;
}
