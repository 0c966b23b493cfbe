#include "consensus/record_batch.h"

#include <algorithm>

#include "core/crc32c.h"

namespace sentinel::consensus {

namespace {

using core::ByteReader;
using core::ByteSpan;

// Codec, timestamp type, transactional, control. The next bit, delete horizon, is the cleaner's to
// set.
constexpr std::uint16_t kProducerAttributes = 0x003f;
constexpr std::uint16_t kCodecMask = 7;
constexpr std::uint16_t kLogAppendTimeBit = 8;
constexpr std::int16_t kZstdSince = 7;
/// Length, attributes, timestamp delta, offset delta, key length, value length, header count: one
/// byte each at least.
constexpr std::int64_t kRecordBytesMin = 7;

std::optional<ByteSpan> nullable(ByteReader& reader) {
  const std::int32_t length = reader.zigzag32();
  if (length < 0) {
    if (length != -1) reader.fail();
    return std::nullopt;
  }
  return reader.take(static_cast<std::size_t>(length));
}

/// Walks the headers of a record, its last part; `each` gets a RecordHeader. Sets failed() on
/// anything malformed.
template <typename Each>
void read_headers(ByteReader& body, Each each) {
  const std::int32_t count = body.zigzag32();
  if (count < 0) body.fail();
  for (std::int32_t i = 0; i < count && !body.failed(); ++i) {
    const auto key = nullable(body);
    if (!key.has_value()) body.fail();
    const auto value = nullable(body);
    if (!body.failed()) each(RecordHeader{.key = core::as_text(*key), .value = value});
  }
  if (body.remaining() != 0) body.fail();
}

/// Whether the uncompressed records are framed right and numbered from 0 without a gap.
bool records_are_sound(const RecordBatchView& batch) {
  ByteReader reader(batch.payload());
  for (std::int32_t i = 0; i < batch.record_count(); ++i) {
    const std::int32_t length = reader.zigzag32();
    if (length < 0) return false;
    ByteReader body(reader.take(static_cast<std::size_t>(length)));
    body.u8();
    body.zigzag64();
    const std::int32_t offset_delta = body.zigzag32();
    nullable(body);
    nullable(body);
    read_headers(body, [](const RecordHeader&) {});
    if (reader.failed() || body.failed() || offset_delta != i) return false;
  }
  return reader.remaining() == 0;
}

/// Inflates a compressed batch, so that nothing gets into a compacted log that can't be compacted.
Result<void> check_keys(const RecordBatchView& batch) {
  auto reader = RecordReader::open(batch);
  if (!reader) return std::unexpected(reader.error());
  for (;;) {
    const auto record = reader->next();
    if (!record) return std::unexpected(record.error());
    if (!record->has_value()) return {};
    if (!(*record)->key.has_value()) return std::unexpected(Errc::invalid_record);
  }
}

void stamp_crc(std::byte* batch, std::size_t size) {
  const ByteSpan covered(batch + batch_layout::attributes, size - batch_layout::attributes);
  core::store_be(batch + batch_layout::crc, core::crc32c(covered));
}

Result<void> check_codec(const RecordBatchView& batch, std::int16_t produce_version) {
  const std::uint16_t codec = batch.codec_bits();
  const bool known = codec <= static_cast<std::uint16_t>(Codec::zstd);
  const bool too_new =
      codec == static_cast<std::uint16_t>(Codec::zstd) && produce_version < kZstdSince;
  if (!known || too_new) return std::unexpected(Errc::unsupported_compression);
  return {};
}

Result<void> check_counts(const RecordBatchView& batch) {
  const std::int32_t count = batch.record_count();
  const bool sound = count > 0 && count <= kRecordsPerBatchMax &&
                     batch.last_offset_delta() == count - 1 && !batch.payload().empty();
  if (!sound) return std::unexpected(Errc::invalid_record);
  const bool compressed = batch.codec_bits() != 0;
  if (!compressed && static_cast<std::int64_t>(batch.payload().size()) < count * kRecordBytesMin) {
    return std::unexpected(Errc::invalid_record);
  }
  return {};
}

Result<void> check_attributes(const RecordBatchView& batch) {
  const bool known = (batch.attributes() & ~kProducerAttributes) == 0;
  const bool sequenced =
      !batch.is_idempotent() || (batch.base_sequence() >= 0 && batch.producer_epoch() >= 0);
  if (!known || batch.is_control() || !sequenced) return std::unexpected(Errc::invalid_record);
  if (batch.is_transactional()) return std::unexpected(Errc::transactions_unsupported);
  if (batch.is_log_append_time()) return std::unexpected(Errc::invalid_timestamp);
  return {};
}

}  // namespace

Result<RecordBatchView> RecordBatchView::parse(ByteSpan bytes) {
  // The magic stands at the same place in all formats, and an old one is worth a better answer than
  // "damaged".
  if (bytes.size() > batch_layout::magic &&
      static_cast<std::int8_t>(bytes[batch_layout::magic]) != kMagic) {
    return std::unexpected(Errc::invalid_record);
  }
  if (bytes.size() < kBatchHeaderBytes) return std::unexpected(Errc::corrupt_batch);
  const auto length = core::load_be<std::int32_t>(bytes.data() + batch_layout::batch_length);
  const std::int64_t size = std::int64_t{length} + static_cast<std::int64_t>(kBatchLengthOverhead);
  if (size < static_cast<std::int64_t>(kBatchHeaderBytes) ||
      size > static_cast<std::int64_t>(bytes.size())) {
    return std::unexpected(Errc::corrupt_batch);
  }
  return RecordBatchView(bytes.first(static_cast<std::size_t>(size)));
}

bool RecordBatchView::crc_matches() const {
  return core::crc32c(bytes_.subspan(batch_layout::attributes)) == crc();
}

Result<RecordBatchView> validate_for_produce(ByteSpan records, const ProduceChecks& checks) {
  if (records.empty()) return std::unexpected(Errc::invalid_record);
  const Result<RecordBatchView> parsed = RecordBatchView::parse(records);
  if (!parsed) return parsed;
  const RecordBatchView& batch = *parsed;
  // A second batch behind the first is a broken rule; bytes that are no batch are damage.
  const ByteSpan rest = records.subspan(batch.bytes().size());
  if (!rest.empty()) {
    return std::unexpected(RecordBatchView::parse(rest) ? Errc::invalid_record
                                                        : Errc::corrupt_batch);
  }
  if (batch.base_offset() != Offset(0)) return std::unexpected(Errc::invalid_record);
  if (static_cast<std::int64_t>(records.size()) > checks.batch_bytes_max)
    return std::unexpected(Errc::batch_too_large);
  if (!batch.crc_matches()) return std::unexpected(Errc::corrupt_batch);
  if (const auto counts = check_counts(batch); !counts) return std::unexpected(counts.error());
  if (const auto codec = check_codec(batch, checks.produce_version); !codec)
    return std::unexpected(codec.error());
  if (const auto attributes = check_attributes(batch); !attributes)
    return std::unexpected(attributes.error());
  if (batch.codec_bits() == 0 && !records_are_sound(batch))
    return std::unexpected(Errc::invalid_record);
  if (checks.keys_required) {
    if (const auto keys = check_keys(batch); !keys) return std::unexpected(keys.error());
  }
  return batch;
}

void stamp_base_offset(std::byte* batch, Offset offset) {
  core::store_be(batch + batch_layout::base_offset, offset.value());
}

void stamp_leader_epoch(std::byte* batch, std::int32_t epoch) {
  core::store_be(batch + batch_layout::leader_epoch, epoch);
}

void stamp_log_append_time(std::byte* batch, std::size_t size, std::int64_t now_ms) {
  const auto attributes = core::load_be<std::uint16_t>(batch + batch_layout::attributes);
  core::store_be(batch + batch_layout::attributes,
                 static_cast<std::uint16_t>(attributes | kLogAppendTimeBit));
  core::store_be(batch + batch_layout::max_timestamp, now_ms);
  stamp_crc(batch, size);
}

core::Bytes rebuild_batch(const RecordBatchView& batch, std::span<const Record> kept) {
  core::ByteWriter plain;
  std::int64_t max_timestamp = kept.empty() ? -1 : kept.front().timestamp_ms;
  for (const Record& record : kept) {
    plain.bytes(record.encoded);
    max_timestamp = std::max(max_timestamp, record.timestamp_ms);
  }
  const auto codec = kept.empty() ? Codec::none : static_cast<Codec>(batch.codec_bits());
  const core::Bytes packed = codec == Codec::none ? core::Bytes() : compress(codec, plain.view());
  const ByteSpan records = codec == Codec::none ? plain.view() : packed.view();
  core::Buffer buffer = core::Buffer::allocate(kBatchHeaderBytes + records.size());
  std::byte* out = buffer.data();
  std::memcpy(out, batch.bytes().data(), kBatchHeaderBytes);
  std::ranges::copy(records, out + kBatchHeaderBytes);
  core::store_be(out + batch_layout::batch_length,
                 core::narrow<std::int32_t>(buffer.capacity() - kBatchLengthOverhead));
  if (kept.empty())
    core::store_be(out + batch_layout::attributes,
                   static_cast<std::uint16_t>(batch.attributes() & ~kCodecMask));
  core::store_be(out + batch_layout::max_timestamp, max_timestamp);
  core::store_be(out + batch_layout::record_count, core::narrow<std::int32_t>(kept.size()));
  stamp_crc(out, buffer.capacity());
  return buffer.slice(0, buffer.capacity());
}

Result<RecordReader> RecordReader::open(const RecordBatchView& batch) {
  RecordReader reader(batch);
  ByteSpan records = batch.payload();
  if (batch.codec_bits() != 0) {
    if (batch.codec_bits() > static_cast<std::uint16_t>(Codec::zstd))
      return std::unexpected(Errc::unsupported_compression);
    auto inflated = decompress(static_cast<Codec>(batch.codec_bits()), records,
                               inflated_bytes_max(records.size()));
    if (!inflated) return std::unexpected(Errc::corrupt_batch);
    reader.inflated_ = std::move(*inflated);
    records = reader.inflated_.view();
  }
  reader.reader_ = ByteReader(records);
  return reader;
}

Result<std::optional<Record>> RecordReader::next() {
  if (read_ >= batch_.record_count()) {
    if (reader_.failed() || reader_.remaining() != 0) return std::unexpected(Errc::corrupt_batch);
    return std::nullopt;
  }
  const ByteSpan rest = reader_.rest();
  const std::int32_t length = reader_.zigzag32();
  if (length < 0) reader_.fail();
  ByteReader body(reader_.take(static_cast<std::size_t>(std::max(length, 0))));
  Record record = read(body);
  if (body.failed()) reader_.fail();
  if (reader_.failed()) return std::unexpected(Errc::corrupt_batch);
  ++read_;
  record.encoded = rest.first(rest.size() - reader_.remaining());
  return record;
}

Record RecordReader::read(ByteReader& body) {
  Record record;
  body.u8();  // Attributes: none are defined.
  record.timestamp_ms = RecordBatchView::wrapping_sum(batch_.base_timestamp(), body.zigzag64());
  if (batch_.is_log_append_time()) record.timestamp_ms = batch_.max_timestamp();
  // The cleaner leaves gaps, so deltas ascend but do not count.
  const std::int32_t delta = body.zigzag32();
  if (delta <= last_delta_ || delta > batch_.last_offset_delta()) body.fail();
  last_delta_ = delta;
  record.offset = Offset(RecordBatchView::wrapping_sum(batch_.base_offset().value(), delta));
  record.key = nullable(body);
  record.value = nullable(body);
  read_headers(body, [&](const RecordHeader& header) { record.headers.push_back(header); });
  return record;
}

Result<std::optional<FoundRecord>> find_timestamp(ByteSpan bytes, std::int64_t timestamp_ms,
                                                  Offset from) {
  const auto batch = RecordBatchView::parse(bytes);
  if (!batch) return std::unexpected(batch.error());
  if (batch->max_timestamp() < timestamp_ms) return std::nullopt;
  auto reader = RecordReader::open(*batch);
  if (!reader) return std::unexpected(reader.error());
  for (;;) {
    auto record = reader->next();
    if (!record) return std::unexpected(record.error());
    if (!record->has_value()) return std::nullopt;
    if ((*record)->timestamp_ms >= timestamp_ms && (*record)->offset >= from)
      return FoundRecord{(*record)->offset, (*record)->timestamp_ms};
  }
}

Result<std::int64_t> smallest_timestamp(const RecordBatchView& batch) {
  auto reader = RecordReader::open(batch);
  if (!reader) return std::unexpected(reader.error());
  std::int64_t smallest = batch.max_timestamp();
  for (;;) {
    const auto record = reader->next();
    if (!record) return std::unexpected(record.error());
    if (!record->has_value()) return smallest;
    smallest = std::min(smallest, (*record)->timestamp_ms);
  }
}

namespace {

std::size_t nullable_size(std::optional<ByteSpan> bytes) {
  if (!bytes.has_value()) return 1;
  return core::varint_size(core::zigzag(std::ssize(*bytes))) + bytes->size();
}

void put_nullable(core::ByteWriter& out, std::optional<ByteSpan> bytes) {
  out.zigzag64(bytes.has_value() ? std::ssize(*bytes) : -1);
  if (bytes.has_value()) out.bytes(*bytes);
}

}  // namespace

void RecordBatchBuilder::add(std::int64_t timestamp_ms, std::optional<ByteSpan> key,
                             std::optional<ByteSpan> value,
                             const std::vector<RecordHeader>& headers) {
  if (count_ == 0) base_timestamp_ = max_timestamp_ = timestamp_ms;
  max_timestamp_ = std::max(max_timestamp_, timestamp_ms);
  const std::uint64_t timestamp_delta = core::zigzag(static_cast<std::int64_t>(
      static_cast<std::uint64_t>(timestamp_ms) - static_cast<std::uint64_t>(base_timestamp_)));
  // The length stands first, so it is counted before anything is written.
  std::size_t length = 1 + core::varint_size(timestamp_delta) +
                       core::varint_size(core::zigzag(count_)) + nullable_size(key) +
                       nullable_size(value) + core::varint_size(core::zigzag(std::ssize(headers)));
  for (const RecordHeader& header : headers)
    length += nullable_size(core::as_bytes(header.key)) + nullable_size(header.value);
  records_.zigzag64(static_cast<std::int64_t>(length));
  records_.u8(0);
  records_.varint(timestamp_delta);
  records_.zigzag64(count_);
  put_nullable(records_, key);
  put_nullable(records_, value);
  records_.zigzag64(std::ssize(headers));
  for (const RecordHeader& header : headers) {
    put_nullable(records_, core::as_bytes(header.key));
    put_nullable(records_, header.value);
  }
  ++count_;
}

core::Bytes RecordBatchBuilder::finish() {
  SENTINEL_ASSERT(count_ > 0);
  const core::Bytes packed =
      codec_ == Codec::none ? core::Bytes() : compress(codec_, records_.view());
  const ByteSpan records = codec_ == Codec::none ? records_.view() : packed.view();
  core::Buffer buffer = core::Buffer::allocate(kBatchHeaderBytes + records.size());
  std::byte* batch = buffer.data();
  core::store_be(batch + batch_layout::base_offset, std::int64_t{0});
  core::store_be(batch + batch_layout::batch_length,
                 core::narrow<std::int32_t>(buffer.capacity() - kBatchLengthOverhead));
  core::store_be(batch + batch_layout::leader_epoch, std::int32_t{0});
  core::store_be(batch + batch_layout::magic, kMagic);
  core::store_be(batch + batch_layout::attributes,
                 static_cast<std::uint16_t>(static_cast<std::uint16_t>(codec_) & kCodecMask));
  core::store_be(batch + batch_layout::last_offset_delta, count_ - 1);
  core::store_be(batch + batch_layout::base_timestamp, base_timestamp_);
  core::store_be(batch + batch_layout::max_timestamp, max_timestamp_);
  core::store_be(batch + batch_layout::producer_id, producer_.id);
  core::store_be(batch + batch_layout::producer_epoch, producer_.epoch);
  core::store_be(batch + batch_layout::base_sequence, base_sequence_);
  core::store_be(batch + batch_layout::record_count, count_);
  std::memcpy(batch + kBatchHeaderBytes, records.data(), records.size());
  stamp_crc(batch, buffer.capacity());
  records_.clear();
  count_ = 0;
  return buffer.slice(0, buffer.capacity());
}

}  // namespace sentinel::consensus
