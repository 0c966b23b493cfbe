#include "consensus/record_batch.h"

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "core/crc32c.h"

namespace sentinel::consensus {

namespace {

using core::Bytes;
using core::ByteSpan;

constexpr ProduceChecks kChecks{.batch_bytes_max = 1 << 20, .produce_version = 9};

std::vector<std::byte> to_vector(ByteSpan bytes) { return {bytes.begin(), bytes.end()}; }

/// Three records, 10 ms apart.
std::vector<std::byte> some_batch(Codec codec = Codec::none) {
  RecordBatchBuilder builder(codec);
  for (int i = 0; i < 3; ++i) {
    builder.add(1'000 + 10 * i, core::as_bytes("key"), core::as_bytes("value value value value"));
  }
  return to_vector(builder.finish());
}

/// Makes the checksum right again after a change.
void repair_crc(std::vector<std::byte>& batch) {
  core::store_be(batch.data() + batch_layout::crc,
                 core::crc32c(ByteSpan(batch).subspan(batch_layout::attributes)));
}

/// What validation says of `some_batch()` after one header field was set and the checksum repaired.
template <typename T>
Errc refusal(std::size_t offset, T value, ProduceChecks checks = kChecks) {
  std::vector<std::byte> batch = some_batch();
  core::store_be(batch.data() + offset, value);
  repair_crc(batch);
  const auto result = validate_for_produce(batch, checks);
  REQUIRE_FALSE(result.has_value());
  return result.error();
}

Errc refusal_of(ByteSpan batch, ProduceChecks checks = kChecks) {
  const auto result = validate_for_produce(batch, checks);
  REQUIRE_FALSE(result.has_value());
  return result.error();
}

/// A batch with these bytes as its records.
std::vector<std::byte> batch_around(ByteSpan records, std::int32_t count,
                                    std::uint16_t attributes = 0) {
  std::vector<std::byte> batch = some_batch();
  batch.resize(kBatchHeaderBytes);
  batch.insert(batch.end(), records.begin(), records.end());
  core::store_be(batch.data() + batch_layout::batch_length,
                 static_cast<std::int32_t>(batch.size() - kBatchLengthOverhead));
  core::store_be(batch.data() + batch_layout::attributes, attributes);
  core::store_be(batch.data() + batch_layout::last_offset_delta, count - 1);
  core::store_be(batch.data() + batch_layout::record_count, count);
  repair_crc(batch);
  return batch;
}

/// One record with every part as asked for, well-formed unless an argument is not.
void put_record(core::ByteWriter& out, std::int64_t offset_delta, std::int64_t header_count = 0,
                std::int64_t key_length = -1, std::int64_t length_error = 0) {
  core::ByteWriter body;
  body.u8(0);
  body.zigzag64(0);
  body.zigzag64(offset_delta);
  body.zigzag64(key_length);
  body.zigzag64(-1);
  body.zigzag64(header_count);
  out.zigzag64(static_cast<std::int64_t>(body.size()) + length_error);
  out.bytes(body.view());
}

/// All records, with the reader that keeps them alive.
struct Contents {
  RecordReader reader;
  std::vector<Record> records;
};

Result<Contents> read_all(const RecordBatchView& batch) {
  auto reader = RecordReader::open(batch);
  if (!reader) return std::unexpected(reader.error());
  Contents contents{.reader = std::move(*reader), .records = {}};
  for (;;) {
    auto record = contents.reader.next();
    if (!record) return std::unexpected(record.error());
    if (!record->has_value()) return contents;
    contents.records.push_back(std::move(**record));
  }
}

}  // namespace

TEST_CASE("a batch that a client built passes every check, with each codec") {
  for (const Codec codec : {Codec::none, Codec::gzip, Codec::snappy, Codec::lz4, Codec::zstd}) {
    const std::vector<std::byte> batch = some_batch(codec);
    const auto view = validate_for_produce(batch, kChecks);
    REQUIRE(view.has_value());
    CHECK(view->record_count() == 3);
    CHECK(view->base_timestamp() == 1'000);
    CHECK(view->max_timestamp() == 1'020);
    CHECK(view->codec_bits() == static_cast<std::uint16_t>(codec));
    CHECK_FALSE(view->is_idempotent());
  }
}

TEST_CASE("nothing, an old magic and a second batch are invalid records") {
  CHECK(refusal_of({}) == Errc::invalid_record);
  CHECK(refusal(batch_layout::magic, std::int8_t{1}) == Errc::invalid_record);
  CHECK(refusal(batch_layout::magic, std::int8_t{0}) == Errc::invalid_record);
  std::vector<std::byte> two = some_batch();
  const std::vector<std::byte> second = some_batch();
  two.insert(two.end(), second.begin(), second.end());
  CHECK(refusal_of(two) == Errc::invalid_record);
}

TEST_CASE("a batch cut anywhere is corrupt") {
  const std::vector<std::byte> batch = some_batch();
  for (std::size_t length = 1; length < batch.size(); ++length) {
    CHECK(refusal_of(ByteSpan(batch).first(length)) == Errc::corrupt_batch);
  }
}

TEST_CASE("a length that disagrees with the bytes is corrupt") {
  std::vector<std::byte> trailing = some_batch();
  trailing.push_back(std::byte{0});
  CHECK(refusal_of(trailing) == Errc::corrupt_batch);
  for (const std::int32_t length : {-1, 0, 48, INT32_MAX, INT32_MIN}) {
    CHECK(refusal(batch_layout::batch_length, length) == Errc::corrupt_batch);
  }
}

TEST_CASE("a flipped bit behind the length is noticed, except in the leader epoch") {
  std::vector<std::byte> batch = some_batch();
  for (std::size_t at = batch_layout::leader_epoch; at < batch.size(); ++at) {
    batch[at] ^= std::byte{0x10};
    const bool stamped = at < batch_layout::magic;
    CHECK(validate_for_produce(batch, kChecks).has_value() == stamped);
    batch[at] ^= std::byte{0x10};
  }
}

TEST_CASE("a batch as large as the limit passes, one byte more does not") {
  const std::vector<std::byte> batch = some_batch();
  const auto size = static_cast<std::int32_t>(batch.size());
  CHECK(validate_for_produce(batch, {.batch_bytes_max = size, .produce_version = 9}).has_value());
  CHECK(refusal_of(batch, {.batch_bytes_max = size - 1, .produce_version = 9}) ==
        Errc::batch_too_large);
}

TEST_CASE("of several faults the one that Kafka names is named") {
  std::vector<std::byte> batch = some_batch();
  batch.back() ^= std::byte{1};
  const ProduceChecks tiny{.batch_bytes_max = 10, .produce_version = 9};
  CHECK(refusal_of(batch, tiny) == Errc::batch_too_large);
  core::store_be(batch.data() + batch_layout::base_offset, std::int64_t{5});
  CHECK(refusal_of(batch, tiny) == Errc::invalid_record);
  // A flipped codec bit is damage, which the client may retry, not a codec.
  std::vector<std::byte> flipped = some_batch();
  flipped[batch_layout::attributes + 1] = std::byte{4};
  CHECK(refusal_of(flipped, {.batch_bytes_max = 1 << 20, .produce_version = 3}) ==
        Errc::corrupt_batch);
}

TEST_CASE("counts that disagree are invalid records") {
  CHECK(refusal(batch_layout::base_offset, std::int64_t{1}) == Errc::invalid_record);
  CHECK(refusal(batch_layout::base_offset, std::int64_t{-1}) == Errc::invalid_record);
  for (const std::int32_t count : {0, -1, 2, 4, INT32_MAX, INT32_MIN})
    CHECK(refusal(batch_layout::record_count, count) == Errc::invalid_record);
  for (const std::int32_t delta : {0, -1, 1, 3, INT32_MAX, INT32_MIN})
    CHECK(refusal(batch_layout::last_offset_delta, delta) == Errc::invalid_record);
  CHECK(refusal_of(batch_around(core::as_bytes("few bytes"), 2)) == Errc::invalid_record);
  CHECK(refusal_of(batch_around(core::as_bytes("packed"), kRecordsPerBatchMax + 1, 2)) ==
        Errc::invalid_record);
}

TEST_CASE("bits that are not a producer's to set are refused") {
  constexpr std::size_t kAt = batch_layout::attributes;
  CHECK(refusal(kAt, std::uint16_t{0x08}) == Errc::invalid_timestamp);
  CHECK(refusal(kAt, std::uint16_t{0x10}) == Errc::transactions_unsupported);
  CHECK(refusal(kAt, std::uint16_t{0x20}) == Errc::invalid_record);
  CHECK(refusal(kAt, std::uint16_t{0x30}) == Errc::invalid_record);
  for (unsigned bit = 6; bit < 16; ++bit) {
    CHECK(refusal(kAt, static_cast<std::uint16_t>(1u << bit)) == Errc::invalid_record);
  }
}

TEST_CASE("unknown codecs are refused, and zstd to clients of Produce below 7") {
  for (std::uint16_t codec = 5; codec < 8; ++codec) {
    CHECK(refusal(batch_layout::attributes, codec) == Errc::unsupported_compression);
  }
  const std::vector<std::byte> zstd = some_batch(Codec::zstd);
  const ProduceChecks v6{.batch_bytes_max = 1 << 20, .produce_version = 6};
  const ProduceChecks v7{.batch_bytes_max = 1 << 20, .produce_version = 7};
  CHECK(refusal_of(zstd, v6) == Errc::unsupported_compression);
  CHECK(validate_for_produce(zstd, v7).has_value());
  CHECK(validate_for_produce(some_batch(Codec::lz4), v6).has_value());
}

TEST_CASE("a producer id needs an epoch and a sequence, none needs neither") {
  const auto batch_of = [](ProducerIdentity producer, std::int32_t sequence) {
    RecordBatchBuilder builder;
    builder.set_producer(producer, sequence);
    builder.add(1, std::nullopt, core::as_bytes("v"));
    return builder.finish();
  };
  CHECK(validate_for_produce(batch_of({.id = 5, .epoch = 0}, 0), kChecks).has_value());
  CHECK(validate_for_produce(batch_of({.id = -1, .epoch = 0}, 0), kChecks).has_value());
  CHECK(refusal_of(batch_of({.id = 5, .epoch = 0}, -1)) == Errc::invalid_record);
  CHECK(refusal_of(batch_of({.id = 5, .epoch = -1}, 0)) == Errc::invalid_record);
}

TEST_CASE("records of an uncompressed batch are walked") {
  const auto verdict = [](auto&& fill, std::int32_t count) {
    core::ByteWriter records;
    fill(records);
    return validate_for_produce(batch_around(records.view(), count), kChecks).has_value();
  };
  using Out = core::ByteWriter&;
  CHECK(verdict([](Out out) { put_record(out, 0); }, 1));
  CHECK(verdict([](Out out) { put_record(out, 0), put_record(out, 1); }, 2));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 1); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0), put_record(out, 2); }, 2));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0), put_record(out, 0); }, 2));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0), put_record(out, 1); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0), out.u8(0); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, 0, -1, 1); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, 0, -1, -1), out.u64(0); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, 1); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, -1); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, INT32_MAX); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, 0, -2); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, 0, INT32_MAX); }, 1));
  CHECK_FALSE(verdict([](Out out) { put_record(out, 0, 0, std::int64_t{1} << 40); }, 1));
  CHECK_FALSE(verdict([](Out out) { out.zigzag64(-5), out.u64(0); }, 1));
}

TEST_CASE("records of a compressed batch are taken as they are, and found out when read") {
  const std::vector<std::byte> batch = batch_around(core::as_bytes("not gzip at all"), 4, 1);
  const auto view = validate_for_produce(batch, kChecks);
  REQUIRE(view.has_value());
  CHECK(RecordReader::open(*view).error() == Errc::corrupt_batch);
}

TEST_CASE("stamping offset and leader epoch keeps the checksum right") {
  std::vector<std::byte> batch = some_batch();
  stamp_base_offset(batch.data(), Offset(1'234'567'890'123));
  stamp_leader_epoch(batch.data(), 42);
  const auto view = RecordBatchView::parse(batch);
  REQUIRE(view.has_value());
  CHECK(view->crc_matches());
  CHECK(view->base_offset() == Offset(1'234'567'890'123));
  CHECK(view->end_offset() == Offset(1'234'567'890'126));
  CHECK(view->leader_epoch() == 42);
  const auto contents = read_all(*view);
  REQUIRE(contents.has_value());
  CHECK(contents->records.at(2).offset == Offset(1'234'567'890'125));
}

TEST_CASE("with the broker's time all records have the time of the append") {
  std::vector<std::byte> batch = some_batch(Codec::lz4);
  stamp_log_append_time(batch.data(), batch.size(), 9'000);
  const auto view = RecordBatchView::parse(batch);
  REQUIRE(view.has_value());
  CHECK(view->crc_matches());
  CHECK(view->is_log_append_time());
  CHECK(view->codec_bits() == static_cast<std::uint16_t>(Codec::lz4));
  const auto contents = read_all(*view);
  REQUIRE(contents.has_value());
  for (const Record& record : contents->records) CHECK(record.timestamp_ms == 9'000);
  CHECK(find_timestamp(batch, 8'999)->value().offset == Offset(0));
  CHECK_FALSE(find_timestamp(batch, 9'001)->has_value());
}

TEST_CASE("what the builder was given is read back, with each codec") {
  const std::string large(100'000, 'x');
  for (const Codec codec : {Codec::none, Codec::gzip, Codec::snappy, Codec::lz4, Codec::zstd}) {
    RecordBatchBuilder builder(codec);
    builder.set_producer({.id = 77, .epoch = 3}, 100);
    builder.add(5'000, std::nullopt, core::as_bytes(large));
    builder.add(4'000, core::as_bytes(""), std::nullopt,
                {{.key = "a", .value = core::as_bytes("1")}, {.key = "", .value = std::nullopt}});
    CHECK(builder.record_count() == 2);
    const std::size_t announced = builder.size_bytes();
    const Bytes batch = builder.finish();
    CHECK(builder.record_count() == 0);
    if (codec == Codec::none) CHECK(batch.size() == announced);
    const auto view = validate_for_produce(batch, kChecks);
    REQUIRE(view.has_value());
    CHECK(view->producer_id() == 77);
    CHECK(view->producer_epoch() == 3);
    CHECK(view->base_sequence() == 100);
    CHECK(view->max_timestamp() == 5'000);
    const auto contents = read_all(*view);
    REQUIRE(contents.has_value());
    REQUIRE(contents->records.size() == 2);
    CHECK_FALSE(contents->records.at(0).key.has_value());
    CHECK(core::as_text(contents->records.at(0).value.value()) == large);
    CHECK(contents->records.at(1).timestamp_ms == 4'000);
    CHECK(contents->records.at(1).key.value().empty());
    CHECK_FALSE(contents->records.at(1).value.has_value());
    REQUIRE(contents->records.at(1).headers.size() == 2);
    CHECK(core::as_text(contents->records.at(1).headers[0].value.value()) == "1");
    CHECK_FALSE(contents->records.at(1).headers[1].value.has_value());
  }
}

TEST_CASE("timestamps at the ends of 64 bits survive") {
  RecordBatchBuilder builder;
  builder.add(INT64_MIN, std::nullopt, std::nullopt);
  builder.add(INT64_MAX, std::nullopt, std::nullopt);
  const Bytes batch = builder.finish();
  const auto contents = read_all(*RecordBatchView::parse(batch));
  REQUIRE(contents.has_value());
  CHECK(contents->records.at(0).timestamp_ms == INT64_MIN);
  CHECK(contents->records.at(1).timestamp_ms == INT64_MAX);
}

TEST_CASE("the first record at or after a timestamp is found, out of order or not") {
  for (const Codec codec : {Codec::none, Codec::zstd}) {
    RecordBatchBuilder builder(codec);
    for (const std::int64_t timestamp : {100, 50, 300, 200})
      builder.add(timestamp, std::nullopt, core::as_bytes("v"));
    std::vector<std::byte> batch = to_vector(builder.finish());
    stamp_base_offset(batch.data(), Offset(40));
    const auto found = [&batch](std::int64_t timestamp) {
      return find_timestamp(batch, timestamp)->value();
    };
    CHECK(found(0).offset == Offset(40));
    CHECK(found(100).offset == Offset(40));
    CHECK(found(101).offset == Offset(42));
    CHECK(found(101).timestamp_ms == 300);
    CHECK(found(RecordBatchView::parse(batch)->max_timestamp()).offset == Offset(42));
    CHECK_FALSE(find_timestamp(batch, 301)->has_value());
  }
}

TEST_CASE("a reader takes the gaps that the cleaner leaves, but no offset that goes back") {
  const auto deltas_read = [](std::initializer_list<std::int64_t> deltas, std::int32_t last) {
    core::ByteWriter records;
    for (const std::int64_t delta : deltas) put_record(records, delta);
    std::vector<std::byte> batch = batch_around(records.view(), static_cast<int>(deltas.size()));
    core::store_be(batch.data() + batch_layout::last_offset_delta, last);
    return read_all(*RecordBatchView::parse(batch)).has_value();
  };
  CHECK(deltas_read({0, 1, 2}, 2));
  CHECK(deltas_read({3, 7}, 9));
  CHECK_FALSE(deltas_read({1, 1}, 9));
  CHECK_FALSE(deltas_read({2, 1}, 9));
  CHECK_FALSE(deltas_read({-1}, 9));
  CHECK_FALSE(deltas_read({10}, 9));
}

TEST_CASE("a reader stays failed, and sees bytes behind the last record") {
  core::ByteWriter records;
  put_record(records, 0);
  put_record(records, 1);
  std::vector<std::byte> batch = batch_around(records.view(), 1);
  auto reader = RecordReader::open(*RecordBatchView::parse(batch));
  CHECK(reader->next()->has_value());
  CHECK(reader->next().error() == Errc::corrupt_batch);
  batch = batch_around(records.view(), 3);
  reader = RecordReader::open(*RecordBatchView::parse(batch));
  CHECK(reader->next()->has_value());
  CHECK(reader->next()->has_value());
  CHECK(reader->next().error() == Errc::corrupt_batch);
  CHECK(reader->next().error() == Errc::corrupt_batch);
}

TEST_CASE("a batch that inflates beyond the bound is corrupt") {
  const std::vector<std::byte> zeros(kInflatedBytesFree + 1);
  for (const Codec codec : {Codec::gzip, Codec::lz4, Codec::zstd}) {
    const Bytes packed = compress(codec, zeros);
    REQUIRE(packed.size() < kInflatedBytesFree / kInflationRatioMax);
    const std::vector<std::byte> batch = batch_around(packed, 1, static_cast<std::uint16_t>(codec));
    CHECK(RecordReader::open(*RecordBatchView::parse(batch)).error() == Errc::corrupt_batch);
  }
}

TEST_CASE("every outcome has a sentence of its own") {
  std::vector<std::string_view> seen;
  for (int i = 0; i <= static_cast<int>(Errc::overloaded); ++i) {
    const std::string_view text = to_string(static_cast<Errc>(i));
    CHECK_FALSE(text.empty());
    CHECK(std::ranges::find(seen, text) == seen.end());
    seen.push_back(text);
  }
}

}  // namespace sentinel::consensus
