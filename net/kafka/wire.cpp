#include "net/kafka/wire.h"

#include <fmt/format.h>

namespace sentinel::net::kafka {
namespace {

std::string_view to_string(MessageKind kind) {
  return kind == MessageKind::request ? "request" : "response";
}

/// Skips a header's tagged fields; none is defined so far.
void skip_tags(core::ByteReader& in) {
  const std::uint32_t count = in.varint32();
  std::uint64_t tag_min = 0;
  for (std::uint32_t i = 0; i < count && !in.failed(); ++i) {
    const std::uint32_t tag = in.varint32();
    if (tag < tag_min) return in.fail();
    tag_min = std::uint64_t{tag} + 1;
    in.skip(in.varint32());
  }
}

}  // namespace

core::Error malformed_error(ApiKey key, MessageKind kind, std::int16_t version) {
  return {core::Errc::corruption,
          fmt::format("malformed {} {}, version {}", to_string(key), to_string(kind), version)};
}

core::Error version_error(ApiKey key, std::int16_t version) {
  return {core::Errc::unsupported,
          fmt::format("{} version {} is not supported", to_string(key), version)};
}

core::Error too_large_error(ApiKey key, MessageKind kind, std::int16_t version) {
  return {core::Errc::too_large, fmt::format("{} {} is too large for version {}", to_string(key),
                                             to_string(kind), version)};
}

core::Result<RequestHeader> decode_request_header(core::ByteReader& in) {
  RequestHeader header;
  header.key = ApiKey{in.i16()};
  header.version = in.i16();
  header.correlation_id = in.i32();
  const std::int16_t length = in.i16();
  if (length < -1) in.fail();
  if (length >= 0) header.client_id = in.text(static_cast<std::size_t>(length));
  const SupportedApi* api = find_api(header.key);
  if (api != nullptr && api->flexible(header.version)) skip_tags(in);
  if (in.failed()) return core::fail(core::Errc::corruption, "malformed request header");
  return header;
}

core::Result<std::int32_t> decode_response_header(core::ByteReader& in, const SupportedApi& api,
                                                  std::int16_t version) {
  const std::int32_t correlation_id = in.i32();
  if (response_header_flexible(api, version)) skip_tags(in);
  if (in.failed()) return core::fail(core::Errc::corruption, "malformed response header");
  return correlation_id;
}

}  // namespace sentinel::net::kafka
