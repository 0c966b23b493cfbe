#include "net/kafka/api.h"

#include <algorithm>

namespace sentinel::net::kafka {

static_assert(std::ranges::is_sorted(kSupportedApis, {}, &SupportedApi::key));
static_assert(std::ranges::all_of(kSupportedApis, [](const SupportedApi& api) {
  return api.min_advertised <= api.min_served && api.min_served <= api.max;
}));

std::string_view to_string(ApiKey key) {
  const SupportedApi* api = find_api(key);
  return api == nullptr ? "unknown" : api->name;
}

}  // namespace sentinel::net::kafka
