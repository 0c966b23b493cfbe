#include "net/kafka/dispatch.h"

#include <fmt/format.h>

#include "net/kafka/messages/api_versions.h"

namespace sentinel::net::kafka {

namespace {

struct Route {
  ApiKey key;
  Handler handler;
};

// In the order of their keys, as kSupportedApis.
constexpr Route kRoutes[] = {
    {ApiKey::produce, &handle_produce},
    {ApiKey::fetch, &handle_fetch},
    {ApiKey::list_offsets, &handle_list_offsets},
    {ApiKey::metadata, &handle_metadata},
    {ApiKey::find_coordinator, &handle_find_coordinator},
    {ApiKey::api_versions, &handle_api_versions},
    {ApiKey::create_topics, &handle_create_topics},
    {ApiKey::delete_topics, &handle_delete_topics},
    {ApiKey::delete_records, &handle_delete_records},
    {ApiKey::init_producer_id, &handle_init_producer_id},
    {ApiKey::offset_for_leader_epoch, &handle_offset_for_leader_epoch},
    {ApiKey::create_partitions, &handle_create_partitions},
    {ApiKey::elect_leaders, &handle_elect_leaders},
    {ApiKey::alter_partition_reassignments, &handle_alter_partition_reassignments},
    {ApiKey::list_partition_reassignments, &handle_list_partition_reassignments},
    {ApiKey::unregister_broker, &handle_unregister_broker},
};

constexpr bool every_api_has_a_route() {
  if (std::size(kRoutes) != kSupportedApis.size()) return false;
  for (std::size_t i = 0; i < kSupportedApis.size(); ++i) {
    if (kRoutes[i].key != kSupportedApis[i].key) return false;
  }
  return true;
}
static_assert(every_api_has_a_route());

Handler handler_of(ApiKey key) {
  for (const Route& route : kRoutes) {
    if (route.key == key) return route.handler;
  }
  return nullptr;
}

/// KIP-511: a client that speaks a newer ApiVersions than this broker learns from a version 0 body
/// what to retry with.
Reply answer_newer_api_versions(const RequestContext& context, const SupportedApi& api) {
  ApiVersionsResponse response;
  response.error_code = ErrorCode::unsupported_version;
  response.api_keys.push_back({.api_key = static_cast<std::int16_t>(api.key),
                               .min_version = api.min_advertised,
                               .max_version = api.max});
  RequestContext in_version_0 = context;
  in_version_0.version = 0;
  return reply(in_version_0, response);
}

}  // namespace

core::Task<Reply> dispatch(RequestContext context, core::Bytes frame) {
  core::ByteReader reader(frame);
  auto header = decode_request_header(reader);
  if (!header) co_return Reply::close(header.error().message);
  context.key = header->key;
  context.version = header->version;
  context.correlation_id = header->correlation_id;
  const SupportedApi* api = find_api(context.key);
  if (api == nullptr) {
    co_return Reply::close(
        fmt::format("API key {} is not supported", static_cast<std::int16_t>(context.key)));
  }
  if (!api->serves(context.version)) {
    if (context.key == ApiKey::api_versions) co_return answer_newer_api_versions(context, *api);
    co_return Reply::close(fmt::format("{} version {} is not among the supported {} to {}",
                                       api->name, context.version, api->min_served, api->max));
  }
  context.body = frame.slice_of(reader.rest());
  co_return co_await handler_of(context.key)(std::move(context));
}

}  // namespace sentinel::net::kafka
