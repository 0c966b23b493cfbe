/// FindCoordinator and InitProducerId.

#include "net/kafka/context.h"
#include "net/kafka/controller_gate.h"
#include "net/kafka/error_mapping.h"
#include "net/kafka/messages/find_coordinator.h"
#include "net/kafka/messages/init_producer_id.h"

namespace sentinel::net::kafka {

namespace {

constexpr std::int8_t kGroupKey = 0;
constexpr std::int8_t kTransactionKey = 1;

// The API itself has to be there: clients take lz4 support from its presence.
constexpr std::string_view kNoGroups =
    "this release has no consumer groups; assign partitions to the consumer instead";
constexpr std::string_view kNoTransactions =
    "this release has no transactions; use an idempotent producer";

struct Refusal {
  ErrorCode error;
  std::string_view message;
};

/// A group's coordinator is "not available" and not refused for good: librdkafka asks for one also
/// when partitions are assigned by hand, and would hand a final refusal to the application.
Refusal refusal_of(std::int8_t key_type) {
  if (key_type == kGroupKey) return {ErrorCode::coordinator_not_available, kNoGroups};
  if (key_type == kTransactionKey)
    return {ErrorCode::transactional_id_authorization_failed, kNoTransactions};
  return {ErrorCode::invalid_request, "unknown key type"};
}

}  // namespace

core::Task<Reply> handle_find_coordinator(RequestContext context) {
  auto request = decode_body<FindCoordinatorRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  const Refusal refusal = refusal_of(request->key_type);
  FindCoordinatorResponse response;
  response.error_code = refusal.error;
  response.error_message = refusal.message;
  response.node_id = -1;
  response.port = -1;
  for (std::string_view key : request->coordinator_keys) {
    response.coordinators.push_back({.key = key,
                                     .node_id = -1,
                                     .host = {},
                                     .port = -1,
                                     .error_code = refusal.error,
                                     .error_message = refusal.message});
  }
  co_return reply(context, response);
}

core::Task<Reply> handle_init_producer_id(RequestContext context) {
  auto request = decode_body<InitProducerIdRequest>(context);
  if (!request) co_return Reply::close(request.error().message);
  InitProducerIdResponse response;
  if (request->transactional_id.has_value()) {
    response.error_code = ErrorCode::transactional_id_authorization_failed;
    co_return reply(context, response);
  }
  // Without a transactional id a producer that asks again gets a new identity, whatever it had
  // before.
  auto id = co_await context.config.controller->new_producer_id(context.shard());
  if (id) {
    response.producer_id = id->value();
    response.producer_epoch = 0;
  } else {
    response.error_code = to_error_code(id.error());
  }
  co_return reply(context, response);
}

}  // namespace sentinel::net::kafka
