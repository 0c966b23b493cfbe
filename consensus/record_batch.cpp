#include "consensus/record_batch.h"

#include <algorithm>

#include "core/crc32c.h"

namespace sentinel::consensus {

namespace {

using core::ByteReader;
using core::ByteSpan;

constexpr std::uint16_t kKnownAttributes = 0x007f;
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

/// Reads one record; `body` holds exactly it. Sets failed() on anything malformed.
Record read_record(ByteReader& body, const RecordBatchView& batch, std::int32_t& offset_delta) {
  Record record;
  body.u8();  // Attributes: none are defined.
  record.timestamp_ms = batch.base_timestamp() + body.zigzag64();
  if (batch.is_log_append_time()) record.timestamp_ms = batch.max_timestamp();
  offset_delta = body.zigzag32();
  record.offset = Offset(batch.base_offset().value() + offset_delta);
  record.key = nullable(body);
  record.value = nullable(body);
  const std::int32_t header_count = body.zigzag32();
  if (header_count < 0 || static_cast<std::size_t>(header_count) > body.remaining()) body.fail();
  for (std::int32_t i = 0; i < header_count && !body.failed(); ++i) {
    RecordHeader header;
    const auto key = nullable(body);
    if (!key.has_value()) body.fail();
    header.key = core::as_text(key.value_or(ByteSpan()));
    header.value = nullable(body);
    record.headers.push_back(header);
  }
  if (body.remaining() != 0) body.fail();
  return record;
}

/// Whether the uncompressed records are framed right and numbered from 0 without a gap.
bool records_are_sound(const RecordBatchView& batch) {
  ByteReader reader(batch.payload());
  for (std::int32_t i = 0; i < batch.record_count(); ++i) {
    const std::int32_t length = reader.zigzag32();
    if (length < 0) return false;
    ByteReader body(reader.take(static_cast<std::size_t>(length)));
    std::int32_t offset_delta = -1;
    read_record(body, batch, offset_delta);
    if (reader.failed() || body.failed() || offset_delta != i) return false;
  }
  return reader.remaining() == 0;
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
  const bool sound = batch.base_offset() == Offset(0) && count > 0 &&
                     count <= kRecordsPerBatchMax && batch.last_offset_delta() == count - 1;
  if (!sound) return std::unexpected(Errc::invalid_record);
  const bool compressed = batch.codec_bits() != 0;
  if (!compressed && static_cast<std::int64_t>(batch.payload().size()) < count * kRecordBytesMin) {
    return std::unexpected(Errc::invalid_record);
  }
  return {};
}

Result<void> check_attributes(const RecordBatchView& batch) {
  if (batch.is_control() || (batch.attributes() & ~kKnownAttributes) != 0)
    return std::unexpected(Errc::invalid_record);
  if (batch.is_transactional()) return std::unexpected(Errc::transactions_unsupported);
  if (batch.is_log_append_time()) return std::unexpected(Errc::invalid_timestamp);
  if (batch.is_idempotent() && (batch.base_sequence() < 0 || batch.producer_epoch() < 0)) {
    return std::unexpected(Errc::invalid_record);
  }
  return {};
}

}  // namespace

std::string_view to_string(Errc error) {
  switch (error) {
    case Errc::not_leader: return "this broker does not lead the partition";
    case Errc::offset_out_of_range: return "the offset is outside the log";
    case Errc::corrupt_batch: return "the record batch is damaged: its length or checksum is wrong";
    case Errc::invalid_record: return "the record batch breaks a rule of the format";
    case Errc::batch_too_large:
      return "the record batch is larger than max.message.bytes of the topic";
    case Errc::unsupported_compression:
      return "the compression is not known to this version of Produce";
    case Errc::invalid_timestamp: return "the timestamp type is not the producer's to set";
    case Errc::transactions_unsupported: return "this release has no transactions";
    case Errc::out_of_order_sequence:
      return "the sequence number does not follow the last one of this producer";
    case Errc::invalid_producer_epoch: return "a newer instance of this producer has taken over";
    case Errc::unknown_topic_or_partition: return "there is no such topic or partition";
    case Errc::topic_already_exists: return "the topic exists already";
    case Errc::invalid_topic:
      return "a topic name has 1 to 249 characters of a-z A-Z 0-9 . _ - and is not . or ..";
    case Errc::invalid_partitions: return "the number of partitions is not between 1 and the limit";
    case Errc::invalid_replication_factor: return "there are not as many brokers";
    case Errc::storage_error: return "the stored data can't be read; see the broker's log";
    case Errc::timed_out: return "not done in time";
    case Errc::cancelled: return "cancelled";
    case Errc::closed: return "the partition is being closed";
    case Errc::overloaded: return "the broker is overloaded";
  }
  return "unknown error";
}

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
  const ByteSpan covered(batch + batch_layout::attributes, size - batch_layout::attributes);
  core::store_be(batch + batch_layout::crc, core::crc32c(covered));
}

Result<RecordReader> RecordReader::open(const RecordBatchView& batch) {
  RecordReader reader(batch);
  ByteSpan records = batch.payload();
  if (batch.codec_bits() != 0) {
    if (batch.codec_bits() > static_cast<std::uint16_t>(Codec::zstd))
      return std::unexpected(Errc::unsupported_compression);
    auto inflated = decompress(static_cast<Codec>(batch.codec_bits()), records);
    if (!inflated) return std::unexpected(Errc::corrupt_batch);
    reader.inflated_ = std::move(*inflated);
    records = reader.inflated_.view();
  }
  reader.reader_ = ByteReader(records);
  return reader;
}

Result<std::optional<Record>> RecordReader::next() {
  if (read_ >= batch_.record_count()) return std::nullopt;
  ++read_;
  const std::int32_t length = reader_.zigzag32();
  if (length < 0) reader_.fail();
  ByteReader body(reader_.take(static_cast<std::size_t>(std::max(length, 0))));
  std::int32_t offset_delta = 0;
  Record record = read_record(body, batch_, offset_delta);
  if (reader_.failed() || body.failed() || offset_delta < 0)
    return std::unexpected(Errc::corrupt_batch);
  return record;
}

Result<std::optional<FoundRecord>> find_timestamp(ByteSpan bytes, std::int64_t timestamp_ms) {
  const auto batch = RecordBatchView::parse(bytes);
  if (!batch) return std::unexpected(batch.error());
  if (batch->max_timestamp() < timestamp_ms) return std::nullopt;
  auto reader = RecordReader::open(*batch);
  if (!reader) return std::unexpected(reader.error());
  for (;;) {
    auto record = reader->next();
    if (!record) return std::unexpected(record.error());
    if (!record->has_value()) return std::nullopt;
    if ((*record)->timestamp_ms >= timestamp_ms)
      return FoundRecord{(*record)->offset, (*record)->timestamp_ms};
  }
}

void RecordBatchBuilder::add(std::int64_t timestamp_ms, std::optional<ByteSpan> key,
                             std::optional<ByteSpan> value,
                             const std::vector<RecordHeader>& headers) {
  if (count_ == 0) base_timestamp_ = max_timestamp_ = timestamp_ms;
  max_timestamp_ = std::max(max_timestamp_, timestamp_ms);
  core::ByteWriter body;
  const auto put_nullable = [&body](std::optional<ByteSpan> bytes) {
    body.zigzag64(bytes.has_value() ? static_cast<std::int64_t>(bytes->size()) : -1);
    if (bytes.has_value()) body.bytes(*bytes);
  };
  body.u8(0);
  body.zigzag64(timestamp_ms - base_timestamp_);
  body.zigzag64(count_);
  put_nullable(key);
  put_nullable(value);
  body.zigzag64(static_cast<std::int64_t>(headers.size()));
  for (const RecordHeader& header : headers) {
    put_nullable(core::as_bytes(header.key));
    put_nullable(header.value);
  }
  records_.zigzag64(static_cast<std::int64_t>(body.size()));
  records_.bytes(body.view());
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
  core::store_be(batch + batch_layout::leader_epoch, std::int32_t{-1});
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
  const ByteSpan covered(batch + batch_layout::attributes,
                         buffer.capacity() - batch_layout::attributes);
  core::store_be(batch + batch_layout::crc, core::crc32c(covered));
  records_.clear();
  count_ = 0;
  return buffer.slice(0, buffer.capacity());
}

}  // namespace sentinel::consensus
