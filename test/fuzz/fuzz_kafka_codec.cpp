/// Feeds bytes to the decoder of every Kafka message. What decodes must encode, decode again and
/// mean the same.
///
/// Input: API key (1 byte), version (1 byte, top bit set for a response), body.

#include <cstdint>
#include <cstdlib>
#include <span>

#include "net/kafka/wire.h"
#include "test/support/kafka_messages.h"

namespace sentinel {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

void check_round_trip(test::Recode recode, const net::kafka::SupportedApi& api,
                      net::kafka::MessageKind kind, std::int16_t version, const core::Bytes& body) {
  const auto first = recode(body, version, 7, "fuzz");
  if (!first) return;
  require(first->frame.has_value());
  const core::Bytes frame = first->frame->joined();
  core::ByteReader reader(frame);
  require(reader.u32() == reader.remaining());
  if (kind == net::kafka::MessageKind::request) {
    require(net::kafka::decode_request_header(reader).has_value());
  } else {
    require(net::kafka::decode_response_header(reader, api, version).has_value());
  }
  const auto second = recode(frame.slice_of(reader.rest()), version, 7, "fuzz");
  require(second.has_value());
  require(second->json == first->json);
  require(core::equal(second->frame->joined(), frame));
}

}  // namespace
}  // namespace sentinel

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sentinel;
  if (size < 2) return 0;
  const net::kafka::ApiKey key{data[0]};
  const auto version = static_cast<std::int16_t>(data[1] & 0x7f);
  const auto kind =
      data[1] >= 0x80 ? net::kafka::MessageKind::response : net::kafka::MessageKind::request;
  const core::Bytes body = core::Bytes::copy(std::as_bytes(std::span(data + 2, size - 2)));
  const test::Recode recode = test::find_recode(key, kind);
  if (recode != nullptr) {
    check_round_trip(recode, *net::kafka::find_api(key), kind, version, body);
  }
  return 0;
}
