/// ApiVersions: the table in net/kafka/api.h as the client may read it.

#include "net/kafka/messages/api_versions.h"

#include "net/kafka/context.h"

namespace sentinel::net::kafka {

core::Task<Reply> handle_api_versions(RequestContext context) {
  const auto request = decode_body<ApiVersionsRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  ApiVersionsResponse response;
  for (const SupportedApi& api : kSupportedApis) {
    response.api_keys.push_back({.api_key = static_cast<std::int16_t>(api.key),
                                 .min_version = api.min_advertised,
                                 .max_version = api.max});
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
