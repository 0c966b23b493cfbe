#pragma once
/// The Kafka dialect: one `fields` function describes a message, and its size, encoding, decoding
/// and text (net/kafka/wire_json.h) all derive from that description.
///
///   struct FetchTopic {
///     std::string_view topic;
///     std::vector<FetchPartition> partitions;
///
///     static void fields(auto& self, auto& wire) {
///       wire.field("Topic", self.topic, {.until = 12});
///       wire.field("Partitions", self.partitions);
///       wire.tagged(0, "Hint", self.hint, {.since = 15});
///     }
///   };
///
/// Names are those of Kafka's schemas. In flexible versions every struct ends with its tagged
/// fields; wire.tagged() may stand anywhere among the fields, but tags must rise. A tagged field
/// that holds its default is not sent. `wire.version` is there for what the options can't say.
///
/// Types: bool, integers and enums of 8 to 64 bits, double, core::Uuid, std::string_view,
/// core::Bytes, core::Chain (Kafka's "records"), std::vector of them, structs with `fields`, and
/// std::optional of all but the fixed-size ones where null is allowed.
///
/// Lifetime: decoding copies nothing. Strings point into the body, Bytes and Chains are slices of
/// it; so a decoded message is valid while somebody holds the body's core::Bytes. Encoding reads
/// the message's strings before it returns; record chains are spliced into the result, not copied.
///
/// Source: the Kafka protocol guide; KIP-482 for the flexible versions.

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include "core/bytes.h"
#include "core/result.h"
#include "net/kafka/api.h"
#include "net/kafka/body_decoder.h"
#include "net/kafka/body_encoder.h"
#include "net/kafka/field_spec.h"

namespace sentinel::net::kafka {

/// The error for bytes that are not what they claim to be.
core::Error malformed_error(ApiKey key, MessageKind kind, std::int16_t version);
/// The error for a version outside 0 to the table's maximum.
core::Error version_error(ApiKey key, std::int16_t version);
/// The error for a message that can't be sent: above 2 GiB, or with a string above 32767 bytes in a
/// version without compact strings.
core::Error too_large_error(ApiKey key, MessageKind kind, std::int16_t version);

/// Decodes the body of a request or response, without its header. All versions from 0 to the
/// table's maximum are understood, also those below min_served. Bytes after the message are
/// ignored: librdkafka sends some.
///
/// Returns   a message whose strings and records point into `body`.
/// Errors    corruption; unsupported for the version.
template <Message T>
core::Result<T> decode(const core::Bytes& body, std::int16_t version) {
  constexpr SupportedApi kApi = *find_api(T::kKey);
  if (version < 0 || version > kApi.max) return std::unexpected(version_error(T::kKey, version));
  T message;
  BodyDecoder decoder(body, version, kApi.flexible(version));
  decoder.get(message);
  if (decoder.failed()) return std::unexpected(malformed_error(T::kKey, T::kKind, version));
  return message;
}

struct RequestHeader {
  ApiKey key{};
  std::int16_t version = 0;
  std::int32_t correlation_id = 0;
  /// Points into the frame.
  std::optional<std::string_view> client_id;
};

/// Reads the header of a request frame (without the frame's size); the body begins at
/// in.consumed(). For a key that is not in the table nobody can know where the body begins: the
/// caller looks up key and version first.
///
/// Errors    corruption.
core::Result<RequestHeader> decode_request_header(core::ByteReader& in);

/// Reads the header of a response frame (without the frame's size) and returns the correlation id.
///
/// Errors    corruption.
core::Result<std::int32_t> decode_response_header(core::ByteReader& in, const SupportedApi& api,
                                                  std::int16_t version);

/// The header in front of a body: what encode_frame() puts into either sink.
struct RequestPrefix {
  const RequestHeader& header;
  bool flexible;

  template <typename Sink>
  void put(Sink& sink) const {
    sink.number(std::to_underlying(header.key));
    sink.number(header.version);
    sink.number(header.correlation_id);
    // Also in flexible versions the client id has the length of the old ones, so that any broker
    // can read it.
    BodyEncoder<Sink>(sink, header.version, false).put(header.client_id, true);
    if (flexible) sink.varint(0);
  }
};
struct ResponsePrefix {
  std::int32_t correlation_id;
  bool flexible;

  template <typename Sink>
  void put(Sink& sink) const {
    sink.number(correlation_id);
    if (flexible) sink.varint(0);
  }
};

template <Message T>
core::Result<core::Chain> encode_frame(const auto& prefix, const T& message, std::int16_t version) {
  constexpr SupportedApi kApi = *find_api(T::kKey);
  SENTINEL_ASSERT(version >= 0 && version <= kApi.max, "{} version {}", kApi.name, version);
  CountingSink size;
  prefix.put(size);
  BodyEncoder(size, version, kApi.flexible(version)).put(message);
  if (size.too_large()) return std::unexpected(too_large_error(T::kKey, T::kKind, version));

  StoringSink frame(sizeof(std::int32_t) + size.inline_bytes());
  frame.number(static_cast<std::int32_t>(size.total_bytes()));
  prefix.put(frame);
  BodyEncoder(frame, version, kApi.flexible(version)).put(message);
  return frame.finish();
}

/// The whole frame of a request: size, header and body, with record chains spliced in as they are.
///
/// Errors    too_large, when a string is longer than kStringBytesMax or the frame than 2 GiB.
template <Request T>
core::Result<core::Chain> encode_request(const T& request, std::int16_t version,
                                         std::int32_t correlation_id,
                                         std::optional<std::string_view> client_id) {
  const RequestHeader header{T::kKey, version, correlation_id, client_id};
  const RequestPrefix prefix{header, find_api(T::kKey)->flexible(version)};
  return encode_frame(prefix, request, version);
}

/// The whole frame of a response, like encode_request().
///
/// Errors    too_large.
template <Response T>
core::Result<core::Chain> encode_response(const T& response, std::int16_t version,
                                          std::int32_t correlation_id) {
  const ResponsePrefix prefix{correlation_id,
                              response_header_flexible(*find_api(T::kKey), version)};
  return encode_frame(prefix, response, version);
}

}  // namespace sentinel::net::kafka
