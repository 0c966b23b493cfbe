#pragma once
/// Kafka's record batch, version 2: what producers send, the log stores and consumers receive, byte
/// for byte.
///
///   0 base offset (8) | 8 batch length (4, bytes behind it) | 12 partition leader epoch (4) | 16
///   magic = 2 (1) | 17 crc (4) 21 attributes (2) | 23 last offset delta (4) | 27 base timestamp
///   (8) | 35 max timestamp (8) | 43 producer id (8) 51 producer epoch (2) | 53 base sequence (4) |
///   57 record count (4) | 61 records, compressed as a whole when a codec is set
///
/// The crc is CRC-32C of everything from the attributes on, so base offset and leader epoch can be
/// stamped without a new checksum. Source: Kafka's message format documentation; KIP-98.

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "consensus/compression.h"
#include "consensus/types.h"
#include "core/bytes.h"

namespace sentinel::consensus {

namespace batch_layout {
inline constexpr std::size_t base_offset = 0;
inline constexpr std::size_t batch_length = 8;
inline constexpr std::size_t leader_epoch = 12;
inline constexpr std::size_t magic = 16;
inline constexpr std::size_t crc = 17;
inline constexpr std::size_t attributes = 21;
inline constexpr std::size_t last_offset_delta = 23;
inline constexpr std::size_t base_timestamp = 27;
inline constexpr std::size_t max_timestamp = 35;
inline constexpr std::size_t producer_id = 43;
inline constexpr std::size_t producer_epoch = 51;
inline constexpr std::size_t base_sequence = 53;
inline constexpr std::size_t record_count = 57;
inline constexpr std::size_t records = 61;
}  // namespace batch_layout

inline constexpr std::size_t kBatchHeaderBytes = batch_layout::records;
/// Bytes that the length field does not count.
inline constexpr std::size_t kBatchLengthOverhead = 12;
inline constexpr std::int8_t kMagic = 2;
/// Clients stop at 10,000 (librdkafka) or at 1 MiB before compression (Java); this bounds the work
/// that one small compressed batch can cause.
inline constexpr std::int32_t kRecordsPerBatchMax = 100'000;
inline constexpr std::int64_t kNoProducer = -1;

/// The header fields of one batch. A view: valid while the bytes are.
class RecordBatchView {
 public:
  /// Checks that `bytes` begin with a whole batch of magic 2; more may follow it.
  /// Errc::corrupt_batch or invalid_record.
  static Result<RecordBatchView> parse(core::ByteSpan bytes);

  [[nodiscard]] Offset base_offset() const {
    return Offset(field<std::int64_t>(batch_layout::base_offset));
  }
  [[nodiscard]] Offset end_offset() const {
    return Offset(wrapping_sum(wrapping_sum(base_offset().value(), last_offset_delta()), 1));
  }
  [[nodiscard]] std::int32_t leader_epoch() const {
    return field<std::int32_t>(batch_layout::leader_epoch);
  }
  [[nodiscard]] std::uint32_t crc() const { return field<std::uint32_t>(batch_layout::crc); }
  [[nodiscard]] std::uint16_t attributes() const {
    return field<std::uint16_t>(batch_layout::attributes);
  }
  [[nodiscard]] std::int32_t last_offset_delta() const {
    return field<std::int32_t>(batch_layout::last_offset_delta);
  }
  [[nodiscard]] std::int64_t base_timestamp() const {
    return field<std::int64_t>(batch_layout::base_timestamp);
  }
  [[nodiscard]] std::int64_t max_timestamp() const {
    return field<std::int64_t>(batch_layout::max_timestamp);
  }
  [[nodiscard]] std::int64_t producer_id() const {
    return field<std::int64_t>(batch_layout::producer_id);
  }
  [[nodiscard]] std::int16_t producer_epoch() const {
    return field<std::int16_t>(batch_layout::producer_epoch);
  }
  [[nodiscard]] std::int32_t base_sequence() const {
    return field<std::int32_t>(batch_layout::base_sequence);
  }
  [[nodiscard]] std::int32_t record_count() const {
    return field<std::int32_t>(batch_layout::record_count);
  }

  [[nodiscard]] std::uint16_t codec_bits() const { return attributes() & 7; }
  [[nodiscard]] bool is_log_append_time() const { return (attributes() & 8) != 0; }
  [[nodiscard]] bool is_transactional() const { return (attributes() & 16) != 0; }
  [[nodiscard]] bool is_control() const { return (attributes() & 32) != 0; }
  /// Only a batch with a producer id is idempotent; some clients send epoch and sequence 0 without
  /// one.
  [[nodiscard]] bool is_idempotent() const { return producer_id() >= 0; }

  /// This batch, header included.
  [[nodiscard]] core::ByteSpan bytes() const { return bytes_; }
  /// The records behind the header, as stored.
  [[nodiscard]] core::ByteSpan payload() const { return bytes_.subspan(kBatchHeaderBytes); }
  [[nodiscard]] bool crc_matches() const;

 private:
  explicit RecordBatchView(core::ByteSpan bytes) : bytes_(bytes) {}
  /// Both may come from anywhere, so the sum may overflow; it then means nothing, and does no harm.
  static std::int64_t wrapping_sum(std::int64_t a, std::int64_t b) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(a) + static_cast<std::uint64_t>(b));
  }
  friend class RecordReader;
  template <typename T>
  [[nodiscard]] T field(std::size_t offset) const {
    return core::load_be<T>(bytes_.data() + offset);
  }
  core::ByteSpan bytes_;
};

struct ProduceChecks {
  std::int32_t batch_bytes_max = 0;
  std::int16_t produce_version = 0;  ///< zstd needs 7.
  bool keys_required = false;        ///< The topic is compacted: each record must have a key.
};

/// Everything that Kafka checks before it appends what a client sent for one partition; `records`
/// must be exactly one batch. Records of uncompressed batches are walked, compressed ones are taken
/// as they are, unless keys are required: who reads them checks them.
///
/// Errors, the first that applies, in Kafka's order: invalid_record (none, old magic, a second
/// batch, base offset), corrupt_batch (length), batch_too_large, corrupt_batch (checksum),
/// invalid_record (counts), unsupported_compression, invalid_record (control bit, unknown
/// attributes, a producer without sequence), transactions_unsupported, invalid_timestamp,
/// invalid_record (the records, a missing key). The one exception: Kafka refuses zstd below Produce
/// 7 before it looks at the checksum, here a flipped bit is damage, which the client retries.
Result<RecordBatchView> validate_for_produce(core::ByteSpan records, const ProduceChecks& checks);

void stamp_base_offset(std::byte* batch, Offset offset);
void stamp_leader_epoch(std::byte* batch, std::int32_t epoch);
/// Sets timestamp type and max timestamp; the only stamp that needs a new checksum.
void stamp_log_append_time(std::byte* batch, std::size_t size, std::int64_t now_ms);

struct RecordHeader {
  std::string_view key;
  std::optional<core::ByteSpan> value;
};

/// One record; views into the decompressed records.
struct Record {
  std::int64_t timestamp_ms = 0;
  Offset offset;
  std::optional<core::ByteSpan> key;
  std::optional<core::ByteSpan> value;
  std::vector<RecordHeader> headers;
  core::ByteSpan encoded;  ///< The record as it stands in the batch, its length included.
};

/// Walks the records of a batch, decompressing first when a codec is set. The records' views are
/// valid while the reader and the bytes of the batch are.
class RecordReader {
 public:
  /// Errc::corrupt_batch when decompression fails, or would give more than inflated_bytes_max().
  static Result<RecordReader> open(const RecordBatchView& batch);
  /// The next record, nothing behind the last one. Errc::corrupt_batch for a malformed record, for
  /// offsets that do not ascend inside the batch, and for bytes behind the last record; it stays.
  Result<std::optional<Record>> next();

 private:
  explicit RecordReader(const RecordBatchView& batch) : batch_(batch), reader_({}) {}
  /// Reads what is left of `body` as one record.
  Record read(core::ByteReader& body);

  RecordBatchView batch_;
  core::Bytes inflated_;
  core::ByteReader reader_;
  std::int32_t read_ = 0;
  std::int32_t last_delta_ = -1;
};

/// The batch with these of its records, in their order; offsets, timestamps, producer and codec
/// stay as they are. With none left it is a header that tells of its producer, without timestamp
/// and codec. Source: what Kafka's log cleaner leaves of a batch.
core::Bytes rebuild_batch(const RecordBatchView& batch, std::span<const Record> kept);

struct FoundRecord {
  Offset offset;
  std::int64_t timestamp_ms = -1;
};
/// The first record of the batch, at `from` or behind it, with a timestamp at or after
/// `timestamp_ms`. Asked for the batch's max_timestamp() it finds the first record that has it.
Result<std::optional<FoundRecord>> find_timestamp(core::ByteSpan batch, std::int64_t timestamp_ms,
                                                  Offset from = Offset(0));

/// Of all records; a compressed batch is inflated for it.
Result<std::int64_t> smallest_timestamp(const RecordBatchView& batch);

struct ProducerIdentity {
  std::int64_t id = kNoProducer;
  std::int16_t epoch = -1;
};

/// Builds one batch, for our own client and for tests.
class RecordBatchBuilder {
 public:
  explicit RecordBatchBuilder(Codec codec = Codec::none) : codec_(codec) {}

  void add(std::int64_t timestamp_ms, std::optional<core::ByteSpan> key,
           std::optional<core::ByteSpan> value, const std::vector<RecordHeader>& headers = {});
  void set_producer(ProducerIdentity producer, std::int32_t base_sequence) {
    producer_ = producer;
    base_sequence_ = base_sequence;
  }
  [[nodiscard]] std::int32_t record_count() const { return count_; }
  /// Size of the batch if it were finished now, before compression.
  [[nodiscard]] std::size_t size_bytes() const { return kBatchHeaderBytes + records_.size(); }
  /// The finished batch, with base offset 0. Leaves the builder empty for the next one.
  core::Bytes finish();

 private:
  const Codec codec_;
  core::ByteWriter records_;
  std::int32_t count_ = 0;
  std::int64_t base_timestamp_ = 0;
  std::int64_t max_timestamp_ = 0;
  ProducerIdentity producer_;
  std::int32_t base_sequence_ = -1;
};

}  // namespace sentinel::consensus
