/// Feeds bytes to everything that reads record batches. Length and checksum are repaired first,
/// else hardly any input would get behind them.
///
/// Input: Produce version (1 byte), then the batch.

#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "consensus/record_batch.h"
#include "core/crc32c.h"

namespace sentinel {
namespace {

using namespace consensus;

void require(bool condition) {
  if (!condition) std::abort();
}

void repair(std::vector<std::byte>& batch) {
  if (batch.size() < kBatchHeaderBytes) return;
  core::store_be(batch.data() + batch_layout::batch_length,
                 static_cast<std::int32_t>(batch.size() - kBatchLengthOverhead));
  core::store_be(batch.data() + batch_layout::magic, kMagic);
  core::store_be(batch.data() + batch_layout::crc,
                 core::crc32c(core::ByteSpan(batch).subspan(batch_layout::attributes)));
}

/// Reads to the end or to the first error; whether there was none.
bool reads_through(const RecordBatchView& batch) {
  auto reader = RecordReader::open(batch);
  if (!reader) return false;
  for (std::int64_t count = 0;; ++count) {
    const auto record = reader->next();
    if (!record) {
      require(!reader->next().has_value());
      return false;
    }
    if (!record->has_value()) {
      require(count == std::max(batch.record_count(), 0));
      return true;
    }
  }
}

void check(std::vector<std::byte>& bytes, std::int16_t version) {
  const auto batch = RecordBatchView::parse(bytes);
  if (!batch) return;
  require(batch->bytes().size() <= bytes.size());
  const bool readable = reads_through(*batch);
  const auto found = find_timestamp(bytes, batch->base_timestamp());
  if (found && found->has_value()) require((*found)->timestamp_ms >= batch->base_timestamp());
  const auto valid =
      validate_for_produce(bytes, {.batch_bytes_max = 1 << 20, .produce_version = version});
  if (!valid) return;
  // What is accepted without a codec must be readable, whatever is stamped into it.
  if (valid->codec_bits() == 0) require(readable);
  stamp_base_offset(bytes.data(), Offset(INT64_MAX - 1));
  stamp_leader_epoch(bytes.data(), 3);
  require(RecordBatchView::parse(bytes)->crc_matches());
  stamp_log_append_time(bytes.data(), bytes.size(), 5);
  require(RecordBatchView::parse(bytes)->crc_matches());
  require(reads_through(*RecordBatchView::parse(bytes)) == readable);
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const auto version = static_cast<std::int16_t>(data[0] & 15);
  const auto bytes = std::as_bytes(std::span(data + 1, size - 1));
  std::vector<std::byte> batch(bytes.begin(), bytes.end());
  sentinel::check(batch, version);
  sentinel::repair(batch);
  sentinel::check(batch, version);
  return 0;
}
