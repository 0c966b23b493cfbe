/// Feeds damaged write-ahead logs to the log reader and the batch decoder. It ends the log or calls
/// it damaged; reading twice gives the same.
///
/// Input: mode (1 byte), then
///   mode even   a whole file of generation 3
///   mode odd    edits of a good log: offset (4 bytes, modulo the size), what to combine with the
///   byte there (1 byte). With bit 1 of
///               the mode the checksums of whole blocks are then made right, so that what lies
///               behind them is reached.

#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "lsm/log_reader.h"
#include "lsm/wal.h"
#include "test/support/log_blocks.h"
#include "test/support/memory_ring.h"
#include "test/support/run_task.h"

namespace sentinel {
namespace {

constexpr lsm::FileNumber kNumber{3};
constexpr std::uint32_t kGeneration = 3;
constexpr std::size_t kFileBlocks = 12;

void require(bool condition) {
  if (!condition) std::abort();
}

void append_record(core::ByteWriter& stream, std::uint8_t type, core::ByteSpan body) {
  stream.u32(static_cast<std::uint32_t>(body.size()));
  stream.u8(type);
  stream.bytes(body);
}

/// Three writes of batches, the second one several blocks long.
std::vector<std::byte> good_log() {
  std::vector<std::byte> file(kFileBlocks * lsm::kLogBlockBytes);
  std::size_t block = 0;
  std::uint64_t sequence = 1;
  for (std::uint32_t write = 1; write <= 3; ++write) {
    core::ByteWriter stream;
    for (int i = 0; i < 3; ++i) {
      lsm::WriteBatch batch;
      batch.put(core::as_bytes("key"), core::Bytes::copy(std::string(write == 2 ? 3000 : 20, 'v')));
      batch.remove(core::as_bytes("gone"));
      batch.set_first_sequence(lsm::SequenceNumber(sequence));
      sequence += batch.count();
      core::ByteWriter body;
      for (core::ByteSpan piece : batch.pieces()) body.bytes(piece);
      append_record(stream, lsm::kWalBatchRecord, body.view());
    }
    lsm::BlockEncoder encoder(std::span(file).subspan(block * lsm::kLogBlockBytes));
    require(encoder.append(stream.view()) == stream.size());
    encoder.finish(kGeneration, write, static_cast<std::uint32_t>(block));
    block += encoder.blocks();
  }
  return file;
}

struct Outcome {
  std::vector<std::string> records;
  std::string error;
  std::uint64_t torn_bytes = 0;
  bool operator==(const Outcome&) const = default;
};

core::Task<Outcome> read_log(core::Shard* shard, std::uint64_t size) {
  Outcome outcome;
  auto file = co_await core::File::open(*shard, "db/log", core::open_flags::read);
  require(file.has_value());
  {
    lsm::LogReader reader(*file, kNumber, size);
    for (;;) {
      auto record = co_await reader.next();
      if (!record) outcome.error = record.error().message;
      if (!record || !record->has_value()) break;
      outcome.records.emplace_back(core::as_text((*record)->body));
      const auto batch = lsm::WriteBatch::decode((*record)->body);
      if (batch) require(batch->body_bytes() == (*record)->body.size() && !batch->empty());
    }
    outcome.torn_bytes = reader.end().torn_bytes;
  }
  co_await file->close();
  co_return outcome;
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;  // NOLINT(google-build-using-namespace)
  static const std::vector<std::byte> good = good_log();
  core::ByteReader input(std::as_bytes(std::span(data, size)));
  const std::uint8_t mode = input.u8();
  std::vector<std::byte> file = good;
  if ((mode & 1) == 0) {
    const core::ByteSpan whole = input.rest();
    file.assign(whole.begin(), whole.end());
    file.resize(file.size() / lsm::kLogBlockBytes * lsm::kLogBlockBytes);
  } else {
    while (input.remaining() >= 5) {
      const std::size_t at = input.u32() % file.size();
      file[at] ^= static_cast<std::byte>(input.u8());
    }
    if ((mode & 2) != 0) test::make_block_checksums_right(file);
  }
  test::MemoryRing ring;
  core::Shard shard(0, ring, 1);
  ring.files["db/log"] = file;
  const auto first = test::run_task(shard, read_log(&shard, file.size()));
  const auto second = test::run_task(shard, read_log(&shard, file.size()));
  if (!(first == second)) std::abort();
  return 0;
}
