#include "net/kafka/wire.h"

#include <doctest/doctest.h>

#include <initializer_list>

#include "net/kafka/messages/api_versions.h"
#include "net/kafka/messages/create_topics.h"
#include "net/kafka/messages/delete_topics.h"
#include "net/kafka/messages/fetch.h"
#include "net/kafka/messages/find_coordinator.h"
#include "net/kafka/messages/metadata.h"
#include "net/kafka/messages/produce.h"
#include "net/kafka/wire_json.h"

namespace sentinel::net::kafka {
namespace {

core::Bytes bytes(std::initializer_list<int> values) {
  std::string raw;
  for (const int value : values) raw += static_cast<char>(value);
  return core::Bytes::copy(raw);
}

/// A response's body as it is sent.
template <Response T>
core::Bytes body_of(const T& response, std::int16_t version) {
  const auto frame = encode_response(response, version, 0);
  REQUIRE(frame.has_value());
  const core::Bytes joined = frame->joined();
  const bool tags = response_header_flexible(*find_api(T::kKey), version);
  const std::size_t header_end = tags ? 9 : 8;
  return joined.slice(header_end, joined.size() - header_end);
}

/// A struct in a tagged field and an optional one, which no message of the first APIs has.
struct Inner {
  double ratio = 0.5;
  std::uint16_t port = 0;

  friend bool operator==(const Inner&, const Inner&) = default;

  static void fields(auto& self, auto& wire) {
    wire.field("Ratio", self.ratio);
    wire.field("Port", self.port);
  }
};

struct Outer {
  std::optional<Inner> inner;
  core::Bytes blob;
  std::optional<core::Bytes> maybe_blob;
  std::optional<std::vector<std::int32_t>> numbers;
  Inner tagged_inner;

  static void fields(auto& self, auto& wire) {
    wire.field("Inner", self.inner, {.nullable_since = 1});
    wire.field("Blob", self.blob);
    wire.field("MaybeBlob", self.maybe_blob);
    wire.field("Numbers", self.numbers, {.nullable_since = 2});
    wire.tagged(3, "TaggedInner", self.tagged_inner, {.since = 1});
  }
};

core::Bytes encode_outer(const Outer& outer, std::int16_t version, bool flexible) {
  CountingSink size;
  BodyEncoder(size, version, flexible).put(outer);
  StoringSink sink(size.inline_bytes());
  BodyEncoder(sink, version, flexible).put(outer);
  return sink.finish().joined();
}

std::optional<Outer> decode_outer(const core::Bytes& body, std::int16_t version, bool flexible) {
  Outer outer;
  BodyDecoder decoder(body, version, flexible);
  decoder.get(outer);
  if (decoder.failed()) return std::nullopt;
  return outer;
}

}  // namespace

TEST_CASE("the metadata request of librdkafka with stray bytes asks for all topics") {
  // It writes a null array of four zero bytes where one belongs, then true, false (and one false
  // more up to version 10), no tags.
  const auto version_12 = decode<MetadataRequest>(bytes({0, 0, 0, 0, 1, 0, 0}), 12);
  REQUIRE(version_12.has_value());
  CHECK(version_12->wants_all_topics(12));
  CHECK_FALSE(version_12->allow_auto_topic_creation);

  const auto version_9 = decode<MetadataRequest>(bytes({0, 0, 0, 0, 1, 0, 0, 0}), 9);
  REQUIRE(version_9.has_value());
  CHECK(version_9->wants_all_topics(9));
}

TEST_CASE("an empty topic list means all topics in metadata version 0 and none from version 1") {
  const auto version_0 = decode<MetadataRequest>(bytes({0, 0, 0, 0}), 0);
  REQUIRE(version_0.has_value());
  CHECK(version_0->wants_all_topics(0));
  const auto version_1 = decode<MetadataRequest>(bytes({0, 0, 0, 0}), 1);
  REQUIRE(version_1.has_value());
  CHECK_FALSE(version_1->wants_all_topics(1));
}

TEST_CASE("metadata version 13 adds an error code behind the topics") {
  MetadataResponse response;
  response.error_code = ErrorCode::rebootstrap_required;
  const core::Bytes version_12 = body_of(response, 12);
  const core::Bytes version_13 = body_of(response, 13);
  CHECK(version_13.size() == version_12.size() + 2);
  CHECK(core::equal(version_13, bytes({0, 0, 0, 0, 1, 0, 255, 255, 255, 255, 1, 0, 129, 0})));
}

TEST_CASE("unknown tagged fields are skipped, known ones beside them are read") {
  // Tags 1 (the features' epoch, 5) and 9 (unknown, two bytes) after: no error, no keys, no
  // throttle.
  const core::Bytes body = bytes({0, 0, 1,    0,   0, 0, 0,              //
                                  2, 1, 8,    0,   0, 0, 0, 0, 0, 0, 5,  //
                                  9, 2, 0xaa, 0xbb});
  const auto response = decode<ApiVersionsResponse>(body, 3);
  REQUIRE(response.has_value());
  CHECK(response->finalized_features_epoch == 5);
}

TEST_CASE("tagged fields out of order, twice, of a wrong size or past the end are refused") {
  const auto decodes = [](std::initializer_list<int> tags) {
    std::string body(7, '\0');
    body[2] = 1;
    for (const int byte : tags) body += static_cast<char>(byte);
    return decode<ApiVersionsResponse>(core::Bytes::copy(body), 3).has_value();
  };
  CHECK(decodes({2, 8, 0, 9, 0}));
  CHECK_FALSE(decodes({2, 9, 0, 8, 0}));
  CHECK_FALSE(decodes({2, 8, 0, 8, 0}));
  CHECK(decodes({1, 3, 1, 1}));
  CHECK_FALSE(decodes({1, 3, 2, 1, 0}));
  CHECK_FALSE(decodes({1, 3, 0}));
  CHECK_FALSE(decodes({1, 9, 3, 0, 0}));
  CHECK_FALSE(decodes({3, 8, 0, 9, 0}));
}

TEST_CASE("a tagged field is not sent in versions that do not have it") {
  FetchResponse response;
  response.node_endpoints.push_back({.node_id = 1, .host = "a", .port = 9092, .rack = {}});
  const auto version_15 = decode<FetchResponse>(body_of(response, 15), 15);
  const core::Bytes body = body_of(response, 16);
  const auto version_16 = decode<FetchResponse>(body, 16);
  REQUIRE(version_15.has_value());
  REQUIRE(version_16.has_value());
  CHECK(version_15->node_endpoints.empty());
  REQUIRE(version_16->node_endpoints.size() == 1);
  CHECK(version_16->node_endpoints[0].host == "a");
}

TEST_CASE("the header of an ApiVersions response never has tagged fields, that of others has") {
  const auto api_versions = encode_response(ApiVersionsResponse{}, 3, 0x01020304);
  REQUIRE(api_versions.has_value());
  CHECK(core::equal(api_versions->joined(), bytes({0, 0, 0, 12, 1, 2, 3, 4,  //
                                                   0, 0, 1, 0, 0, 0, 0, 0})));
  const auto metadata = encode_response(FindCoordinatorResponse{}, 4, 0x01020304);
  REQUIRE(metadata.has_value());
  CHECK(core::equal(metadata->joined(), bytes({0, 0, 0, 11, 1, 2, 3, 4, 0,  //
                                               0, 0, 0, 0, 1, 0})));
}

TEST_CASE("null is refused before the version that allows it, and written as empty") {
  CHECK_FALSE(decode<MetadataRequest>(bytes({255, 255, 255, 255}), 0).has_value());
  CHECK(decode<MetadataRequest>(bytes({255, 255, 255, 255}), 1).has_value());

  const auto version_0 = encode_request(MetadataRequest{}, 0, 1, std::nullopt);
  REQUIRE(version_0.has_value());
  const core::Bytes frame = version_0->joined();
  CHECK(core::equal(frame.slice(frame.size() - 4, 4), bytes({0, 0, 0, 0})));

  DeleteTopicsResponse response;
  response.topics.emplace_back();
  const core::Bytes version_1 = body_of(response, 1);
  CHECK(core::equal(version_1, bytes({0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0})));
}

TEST_CASE("null for what is never null is refused") {
  // CreateTopics: topics is null; a topic's name is null.
  CHECK_FALSE(decode<CreateTopicsRequest>(bytes({255, 255, 255, 255, 0, 0, 0, 0, 0}), 4));
  CHECK_FALSE(decode<CreateTopicsRequest>(bytes({0, 0, 0, 0, 0, 0, 0}), 5));
  CHECK_FALSE(decode<DeleteTopicsRequest>(bytes({0, 0, 0, 1, 255, 255, 0, 0, 0, 0}), 1));
}

TEST_CASE("counts and lengths that the bytes can't hold are refused before anything is allocated") {
  // Were they believed, the process would ask for 80 GB and more.
  CHECK_FALSE(decode<MetadataRequest>(bytes({0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0}), 1));
  CHECK_FALSE(decode<MetadataRequest>(bytes({0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0}), 9));
  CHECK_FALSE(decode<DeleteTopicsRequest>(bytes({0, 0, 0, 1, 0x7f, 0xff, 0, 0, 0, 0}), 1));
  CHECK_FALSE(decode<MetadataRequest>(bytes({0x80, 0, 0, 0}), 1));
  CHECK_FALSE(decode<DeleteTopicsRequest>(bytes({0, 0, 0, 1, 0x80, 0, 0, 0, 0, 0}), 1));
}

TEST_CASE(
    "arrays much larger in memory than on the wire are refused, those of real clients are not") {
  const auto decodes = [](std::size_t count, std::size_t name_bytes) {
    core::ByteWriter body;
    body.varint(count + 1);
    for (std::size_t i = 0; i < count; ++i) {
      body.varint(name_bytes + 1);
      body.text(std::string(name_bytes, 'a'));
      body.u8(0);
    }
    for (int i = 0; i < 4; ++i) body.u8(0);
    return decode<MetadataRequest>(body.to_bytes(), 9).has_value();
  };
  CHECK(decodes(20'000, 1));
  CHECK(decodes(200'000, 8));
  CHECK_FALSE(decodes(200'000, 0));
}

TEST_CASE("a varint that does not fit 32 bits is refused") {
  CHECK_FALSE(decode<MetadataRequest>(bytes({0x80, 0x80, 0x80, 0x80, 0x10, 0, 0, 0}), 9));
  CHECK_FALSE(decode<MetadataRequest>(
      bytes({0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01}), 9));
  CHECK_FALSE(decode<MetadataRequest>(bytes({0x80}), 9));
}

TEST_CASE("a bool that is neither 0 nor 1 is refused") {
  CHECK(decode<CreateTopicsRequest>(bytes({0, 0, 0, 0, 0, 0, 0, 0, 1}), 1));
  CHECK_FALSE(decode<CreateTopicsRequest>(bytes({0, 0, 0, 0, 0, 0, 0, 0, 2}), 1));
}

TEST_CASE("a version outside the table is refused") {
  CHECK(decode<MetadataRequest>(bytes({0, 0, 0, 0}), 14).error().code == core::Errc::unsupported);
  CHECK(decode<MetadataRequest>(bytes({0, 0, 0, 0}), -1).error().code == core::Errc::unsupported);
}

TEST_CASE("strings above the limit of the protocol are neither read nor sent") {
  const std::string longest(kStringBytesMax, 'x');
  const std::string longer(kStringBytesMax + 1, 'x');
  for (const std::int16_t version : {std::int16_t{2}, std::int16_t{3}}) {
    FindCoordinatorRequest request;
    request.key = longest;
    CHECK(encode_request(request, version, 1, "c").has_value());
    request.key = longer;
    const auto refused = encode_request(request, version, 1, "c");
    REQUIRE_FALSE(refused.has_value());
    CHECK(refused.error().code == core::Errc::too_large);
  }
  core::ByteWriter body;
  body.varint(longer.size() + 1);
  body.text(longer);
  body.u16(0);
  CHECK_FALSE(decode<FindCoordinatorRequest>(body.to_bytes(), 3));
}

TEST_CASE("records are spliced into a frame and sliced out of it without a copy") {
  const core::Bytes first = core::Bytes::copy("first batch");
  const core::Bytes second = core::Bytes::copy("second");
  FetchResponse response;
  FetchTopicResponse& topic = response.topics.emplace_back();
  topic.topic = "t";
  topic.partitions.resize(3);
  topic.partitions[0].records->append(first);
  topic.partitions[0].records->append(second);
  topic.partitions[2].records->append(second);
  const auto frame = encode_response(response, 11, 1);
  REQUIRE(frame.has_value());

  int shared = 0;
  for (const core::Bytes& part : frame->parts()) {
    if (part.data() == first.data() || part.data() == second.data()) ++shared;
  }
  CHECK(shared == 3);

  const core::Bytes joined = frame->joined();
  CHECK(core::load_be<std::int32_t>(joined.data()) + 4 == static_cast<int>(joined.size()));
  const auto decoded = decode<FetchResponse>(joined.slice(8, joined.size() - 8), 11);
  REQUIRE(decoded.has_value());
  const auto& partitions = decoded->topics.at(0).partitions;
  REQUIRE(partitions.size() == 3);
  REQUIRE(partitions[0].records->parts().size() == 1);
  const core::Bytes& slice = partitions[0].records->parts()[0];
  CHECK(slice.text() == "first batchsecond");
  CHECK((slice.data() > joined.data() && slice.data() < joined.data() + joined.size()));
  CHECK(partitions[1].records.has_value());
  CHECK(partitions[1].records->empty());
}

TEST_CASE("a fetched partition without records says empty, not null") {
  FetchResponse response;
  response.topics.emplace_back().partitions.emplace_back();
  const core::Bytes body = body_of(response, 4);
  CHECK(core::equal(body.slice(body.size() - 4, 4), bytes({0, 0, 0, 0})));
}

TEST_CASE("a request header is read with its tags, and the body begins behind it") {
  const core::Bytes frame = bytes({0, 3, 0, 9, 0, 0, 0, 7, 0, 1, 'c', 1, 5, 2, 8, 8, /*body*/ 42});
  core::ByteReader reader(frame);
  const auto header = decode_request_header(reader);
  REQUIRE(header.has_value());
  CHECK(header->key == ApiKey::metadata);
  CHECK(header->version == 9);
  CHECK(header->correlation_id == 7);
  CHECK(header->client_id == "c");
  CHECK(reader.u8() == 42);
}

TEST_CASE("a request header may have a null client id, but no other negative length") {
  const auto decodes = [](int high, int low) {
    const core::Bytes frame = bytes({0, 3, 0, 1, 0, 0, 0, 7, high, low});
    core::ByteReader reader(frame);
    return decode_request_header(reader);
  };
  REQUIRE(decodes(255, 255).has_value());
  CHECK_FALSE(decodes(255, 255)->client_id.has_value());
  CHECK_FALSE(decodes(255, 254).has_value());
  CHECK_FALSE(decodes(0, 1).has_value());
}

TEST_CASE("a request header that is cut anywhere is refused") {
  const core::Bytes frame = bytes({0, 3, 0, 9, 0, 0, 0, 7, 0, 1, 'c', 1, 5, 2, 8, 8});
  for (std::size_t length = 0; length < frame.size(); ++length) {
    core::ByteReader reader(frame.view().first(length));
    CHECK_FALSE(decode_request_header(reader).has_value());
  }
}

TEST_CASE("null structs, bytes, doubles and tagged structs keep their values") {
  const Outer full{.inner = Inner{.ratio = -1e300, .port = 65535},
                   .blob = core::Bytes::copy("blob"),
                   .maybe_blob = core::Bytes{},
                   .numbers = std::vector<std::int32_t>{-1, 1},
                   .tagged_inner = {.ratio = 2.25, .port = 1}};
  for (const bool flexible : {false, true}) {
    for (const Outer& outer : {full, Outer{}}) {
      const core::Bytes body = encode_outer(outer, 2, flexible);
      const auto decoded = decode_outer(body, 2, flexible);
      REQUIRE(decoded.has_value());
      CHECK(decoded->inner == outer.inner);
      CHECK(decoded->blob.text() == outer.blob.text());
      CHECK(decoded->maybe_blob.has_value() == outer.maybe_blob.has_value());
      CHECK(decoded->numbers == outer.numbers);
      CHECK(decoded->tagged_inner == (flexible ? outer.tagged_inner : Inner{}));
    }
  }
  // Before version 1 the struct is not optional, and has no byte that says so.
  CHECK(encode_outer(full, 0, false).size() + 1 == encode_outer(full, 1, false).size());
  const core::Bytes plain = encode_outer(Outer{}, 0, false);
  const auto decoded = decode_outer(plain, 0, false);
  REQUIRE(decoded.has_value());
  CHECK(decoded->inner == Inner{});
}

TEST_CASE("a log line shows sizes instead of payloads") {
  ProduceRequest request;
  request.topics.push_back({.name = "a\"b\n", .partitions = {}});
  request.topics[0].partitions.push_back(
      {.index = 3, .records = core::Chain(core::Bytes::copy("secret"))});
  CHECK(to_json(request, 3) ==
        R"({"TransactionalId":null,"Acks":-1,"TimeoutMs":0,"TopicData":[{"Name":"a\"b\u000a",)"
        R"("PartitionData":[{"Index":3,"Records":"<6 bytes>"}]}]})");
}

TEST_CASE("error codes and API keys have Kafka's names") {
  CHECK(to_string(ErrorCode::unknown_server_error) == "UNKNOWN_SERVER_ERROR");
  CHECK(to_string(ErrorCode::none) == "NONE");
  CHECK(to_string(ErrorCode::not_leader_or_follower) == "NOT_LEADER_OR_FOLLOWER");
  CHECK(to_string(ErrorCode::unknown_topic_id) == "UNKNOWN_TOPIC_ID");
  CHECK(to_string(ErrorCode::share_session_limit_reached) == "SHARE_SESSION_LIMIT_REACHED");
  CHECK(to_string(ErrorCode{-2}) == "UNDEFINED_ERROR_CODE");
  CHECK(to_string(ErrorCode{134}) == "UNDEFINED_ERROR_CODE");
  CHECK(to_string(ApiKey::offset_for_leader_epoch) == "OffsetForLeaderEpoch");
  CHECK(to_string(ApiKey{4}) == "unknown");
}

TEST_CASE("produce is advertised from version 0 but served from 3") {
  const SupportedApi& produce = *find_api(ApiKey::produce);
  CHECK(produce.min_advertised == 0);
  CHECK_FALSE(produce.serves(2));
  CHECK(produce.serves(3));
  CHECK(produce.serves(12));
  CHECK_FALSE(produce.serves(13));
}

}  // namespace sentinel::net::kafka
