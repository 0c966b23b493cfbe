/// Batches made by kafka-python (test/golden/make_record_batches.py) against our reader and
/// builder.

#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "consensus/record_batch.h"

namespace sentinel::consensus {

namespace {

using core::ByteSpan;

std::string from_hex(std::string_view hex) {
  REQUIRE(hex.size() % 2 == 0);
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

/// `-` for null, or `x` and hex digits.
std::optional<std::string> parse_nullable(std::string_view text) {
  if (text == "-") return std::nullopt;
  REQUIRE(text.starts_with('x'));
  return from_hex(text.substr(1));
}

std::optional<ByteSpan> view(const std::optional<std::string>& text) {
  if (!text.has_value()) return std::nullopt;
  return core::as_bytes(*text);
}

struct GoldenRecord {
  std::int64_t timestamp_ms = 0;
  std::optional<std::string> key;
  std::optional<std::string> value;
  std::vector<std::pair<std::string, std::optional<std::string>>> headers;
};

struct GoldenBatch {
  Codec codec = Codec::none;
  ProducerIdentity producer;
  std::int32_t base_sequence = -1;
  std::vector<GoldenRecord> records;
  std::string bytes;
};

GoldenRecord parse_record(std::istringstream& line) {
  GoldenRecord record;
  std::string key;
  std::string value;
  line >> record.timestamp_ms >> key >> value;
  record.key = parse_nullable(key);
  record.value = parse_nullable(value);
  for (std::string header; line >> header;) {
    const std::size_t equals = header.find('=');
    REQUIRE(equals != std::string::npos);
    record.headers.emplace_back(parse_nullable(std::string_view(header).substr(0, equals)).value(),
                                parse_nullable(std::string_view(header).substr(equals + 1)));
  }
  return record;
}

std::map<std::string, GoldenBatch> read_golden_batches() {
  std::ifstream file(SENTINEL_TEST_DATA "/golden/record_batches.txt");
  REQUIRE(file.good());
  std::map<std::string, GoldenBatch> batches;
  GoldenBatch* batch = nullptr;
  for (std::string text; std::getline(file, text);) {
    std::istringstream line(text);
    std::string word;
    line >> word;
    if (word == "batch") {
      std::string name;
      std::string codec;
      line >> name >> codec;
      batch = &batches[name];
      batch->codec = parse_codec(codec).value();
      line >> batch->producer.id >> batch->producer.epoch >> batch->base_sequence;
    } else if (word == "record") {
      REQUIRE(batch != nullptr);
      batch->records.push_back(parse_record(line));
    } else if (word == "bytes") {
      REQUIRE(batch != nullptr);
      line >> word;
      batch->bytes = from_hex(word);
    }
  }
  return batches;
}

void check_record(const Record& record, const GoldenRecord& golden) {
  CHECK(record.timestamp_ms == golden.timestamp_ms);
  REQUIRE(record.key.has_value() == golden.key.has_value());
  if (golden.key) CHECK(core::as_text(*record.key) == *golden.key);
  REQUIRE(record.value.has_value() == golden.value.has_value());
  if (golden.value) CHECK(core::as_text(*record.value) == *golden.value);
  REQUIRE(record.headers.size() == golden.headers.size());
  for (std::size_t i = 0; i < golden.headers.size(); ++i) {
    const auto& [key, value] = golden.headers[i];
    CHECK(record.headers[i].key == key);
    REQUIRE(record.headers[i].value.has_value() == value.has_value());
    if (value) CHECK(core::as_text(*record.headers[i].value) == *value);
  }
}

}  // namespace

TEST_CASE("batches of kafka-python pass our checks and read back with their values") {
  const auto batches = read_golden_batches();
  REQUIRE(batches.size() >= 12);
  for (const auto& [name, golden] : batches) {
    CAPTURE(name);
    const auto batch = validate_for_produce(core::as_bytes(golden.bytes),
                                            {.batch_bytes_max = 1 << 20, .produce_version = 9});
    REQUIRE(batch.has_value());
    CHECK(batch->codec_bits() == static_cast<std::uint16_t>(golden.codec));
    CHECK(batch->producer_id() == golden.producer.id);
    CHECK(batch->producer_epoch() == golden.producer.epoch);
    CHECK(batch->base_sequence() == golden.base_sequence);
    auto reader = RecordReader::open(*batch);
    REQUIRE(reader.has_value());
    for (std::size_t i = 0; i < golden.records.size(); ++i) {
      const auto record = reader->next();
      REQUIRE(record.has_value());
      REQUIRE(record->has_value());
      CHECK((*record)->offset == Offset(static_cast<std::int64_t>(i)));
      check_record(**record, golden.records[i]);
    }
    const auto end = reader->next();
    REQUIRE(end.has_value());
    CHECK_FALSE(end->has_value());
  }
}

TEST_CASE("our builder makes the same bytes as kafka-python from the same records") {
  for (const auto& [name, golden] : read_golden_batches()) {
    if (golden.codec != Codec::none) continue;
    CAPTURE(name);
    RecordBatchBuilder builder;
    builder.set_producer(golden.producer, golden.base_sequence);
    for (const GoldenRecord& record : golden.records) {
      std::vector<RecordHeader> headers;
      for (const auto& [key, value] : record.headers)
        headers.push_back({.key = key, .value = view(value)});
      builder.add(record.timestamp_ms, view(record.key), view(record.value), headers);
    }
    CHECK(core::equal(builder.finish(), core::as_bytes(golden.bytes)));
  }
}

}  // namespace sentinel::consensus
