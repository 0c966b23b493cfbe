// Every golden vector is decoded, compared with the values it was made from, encoded to the same
// bytes, and then cut and extended.

#include <doctest/doctest.h>
#include <fmt/format.h>

#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/kafka/wire.h"
#include "test/support/json.h"
#include "test/support/kafka_messages.h"

namespace sentinel::net::kafka {
namespace {

/// The tests' client id in all request headers of the vectors.
constexpr std::string_view kClientId = "golden";

int number(std::string_view text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  REQUIRE(error == std::errc{});
  return value;
}

core::Bytes from_hex(std::string_view text) {
  std::string raw;
  for (std::size_t i = 0; i + 1 < text.size(); i += 2) {
    unsigned value = 0;
    std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
    raw += static_cast<char>(value);
  }
  return core::Bytes::copy(raw);
}

struct Vector {
  ApiKey key{};
  std::int16_t version = 0;
  MessageKind kind = MessageKind::request;
  core::Bytes header;
  core::Bytes body;
  test::Json fields;
  std::string name;
};

Vector parse_vector(const std::string& line) {
  auto json = test::parse_json(line);
  REQUIRE(json.has_value());
  Vector vector;
  vector.key = ApiKey{static_cast<std::int16_t>(number(json->member("key")))};
  vector.version = static_cast<std::int16_t>(number(json->member("version")));
  const bool is_request = json->member("kind") == "request";
  vector.kind = is_request ? MessageKind::request : MessageKind::response;
  vector.header = from_hex(json->member("header"));
  vector.body = from_hex(json->member("body"));
  vector.fields = json->members["fields"];
  vector.name = fmt::format("{} {} {} {}", json->member("api"), json->member("kind"),
                            vector.version, json->member("sample"));
  return vector;
}

std::vector<Vector> read_vectors() {
  std::set<std::filesystem::path> files;
  for (const auto& entry :
       std::filesystem::directory_iterator(SENTINEL_TEST_DATA "/golden/kafka")) {
    if (entry.path().extension() == ".jsonl") files.insert(entry.path());
  }
  std::vector<Vector> vectors;
  for (const auto& path : files) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) vectors.push_back(parse_vector(line));
  }
  return vectors;
}

/// Calls check(vector, recode) for each vector.
void for_each_vector(auto check) {
  std::size_t count = 0;
  for (const Vector& vector : read_vectors()) {
    INFO(vector.name);
    const test::Recode recode = test::find_recode(vector.key, vector.kind);
    const bool known = recode != nullptr;
    REQUIRE(known);
    check(vector, recode);
    ++count;
  }
  CHECK(count > 500);
}

std::int32_t decode_header(const Vector& vector) {
  core::ByteReader reader(vector.header);
  std::int32_t correlation_id = 0;
  if (vector.kind == MessageKind::request) {
    const auto header = decode_request_header(reader);
    REQUIRE(header.has_value());
    CHECK(header->key == vector.key);
    CHECK(header->version == vector.version);
    CHECK(header->client_id == kClientId);
    correlation_id = header->correlation_id;
  } else {
    const auto header = decode_response_header(reader, *find_api(vector.key), vector.version);
    REQUIRE(header.has_value());
    correlation_id = *header;
  }
  CHECK(reader.remaining() == 0);
  return correlation_id;
}

core::Bytes frame_of(const Vector& vector) {
  core::ByteWriter frame;
  frame.u32(static_cast<std::uint32_t>(vector.header.size() + vector.body.size()));
  frame.bytes(vector.header);
  frame.bytes(vector.body);
  return frame.to_bytes();
}

}  // namespace

TEST_CASE("every golden vector decodes to its values and is encoded to the same bytes again") {
  for_each_vector([](const Vector& vector, test::Recode recode) {
    const auto recoded = recode(vector.body, vector.version, decode_header(vector), kClientId);
    REQUIRE(recoded.has_value());
    INFO(recoded->json);
    CHECK(test::parse_json(recoded->json) == vector.fields);
    REQUIRE(recoded->frame.has_value());
    CHECK(core::equal(recoded->frame->joined(), frame_of(vector)));
  });
}

TEST_CASE("a golden vector that is cut anywhere is refused") {
  for_each_vector([](const Vector& vector, test::Recode recode) {
    for (std::size_t length = 0; length < vector.body.size(); ++length) {
      // A copy of its own, so that the address sanitizer sees a read past the cut.
      const core::Bytes cut = core::Bytes::copy(vector.body.view().first(length));
      const auto recoded = recode(cut, vector.version, 0, kClientId);
      if (recoded) FAIL_CHECK("decoded although cut at byte ", length);
    }
  });
}

TEST_CASE("bytes after a golden vector do not change what it means") {
  for_each_vector([](const Vector& vector, test::Recode recode) {
    for (const std::string_view tail :
         {std::string_view("\x01\0\0", 3), std::string_view("\xff")}) {
      const core::Bytes extended =
          core::Bytes::copy(std::string(vector.body.text()) + std::string(tail));
      const auto recoded = recode(extended, vector.version, 0, kClientId);
      REQUIRE(recoded.has_value());
      CHECK(test::parse_json(recoded->json) == vector.fields);
    }
  });
}

TEST_CASE("a golden vector with a byte changed is refused, or means something that can be sent") {
  for_each_vector([](const Vector& vector, test::Recode recode) {
    std::string body(vector.body.text());
    // Every seventh byte, another one in each body: all of them would take too long for a unit
    // test.
    for (std::size_t i = body.size() % 7; i < body.size(); i += 7) {
      const char original = std::exchange(body[i], static_cast<char>(~body[i]));
      const auto recoded = recode(core::Bytes::copy(body), vector.version, 0, kClientId);
      body[i] = original;
      if (recoded && !recoded->frame) FAIL_CHECK("not encoded after a change of byte ", i);
    }
  });
}

}  // namespace sentinel::net::kafka
